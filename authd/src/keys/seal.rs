//! AES-256-GCM with a context: a value sealed for one context cannot be opened for another.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::KeyError;
use crate::env::Env;

/// 256 bits, wiped when dropped.
pub(super) type Secret = Zeroizing<[u8; 32]>;

fn cipher(key: &Secret) -> Result<LessSafeKey, KeyError> {
    // "Less safe" because the caller chooses nonces: ours are random, and a key seals far fewer than 2^32 values.
    UnboundKey::new(&AES_256_GCM, key.as_slice()).map(LessSafeKey::new).map_err(|_| KeyError::Broken)
}

/// Nonce, ciphertext and tag.
pub(super) fn seal(key: &Secret, context: &[u8], plaintext: &[u8], env: &Env) -> Result<Vec<u8>, KeyError> {
    let nonce = env.bytes::<NONCE_LEN>();
    let mut text = Zeroizing::new(plaintext.to_vec());
    let nonce_of_cipher = Nonce::assume_unique_for_key(nonce);
    let tag = cipher(key)?.seal_in_place_separate_tag(nonce_of_cipher, Aad::from(context), &mut text);
    let tag = tag.map_err(|_| KeyError::Broken)?;
    Ok([&nonce, text.as_slice(), tag.as_ref()].concat())
}

/// The plaintext of a result of [`seal`], if key and context are the same.
pub fn open(key: &Secret, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(KeyError::Broken)?;
    let mut text = Zeroizing::new(text.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let opened = cipher(key)?.open_in_place(nonce, Aad::from(context), &mut text);
    let length = opened.map_err(|_| KeyError::Broken)?.len();
    text.truncate(length);
    Ok(text)
}
