//! The device's refresh token: `adr_` and base64url of key id (16 bytes), session id (16), generation (4, big-endian)
//! and HMAC-SHA-256 over the last two (32).
//!
//! It is derived, so nothing of it is stored, and a lost answer can be repeated. A forged one is refused without a
//! look-up.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use shared::id::SessionId;
use shared::problem::Code;
use shared::secret::Secret;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::model::Presented;
use crate::error::{Error, Result};
use crate::keys::{KeyError, KeyRing, Purpose};

const PREFIX: &str = "adr_";
const LENGTH: usize = 16 + 16 + 4 + 32;

/// Derives the token of one generation of a session.
pub fn issue(keys: &KeyRing, session: SessionId, generation: u32) -> Result<Secret> {
    let parts: [&[u8]; 2] = [session.0.as_bytes(), &generation.to_be_bytes()];
    let (key_id, mac) = keys.mac(Purpose::Device, None, &parts).map_err(Error::internal)?;
    let key_id: Uuid = key_id.parse().map_err(Error::internal)?;
    let bytes = [key_id.as_bytes().as_slice(), parts[0], parts[1], mac.as_slice()].concat();
    Ok(Secret::new(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))))
}

/// Verifies a token that this key ring issued, and returns its content.
pub fn verify(keys: &KeyRing, token: &Secret) -> Result<Presented> {
    let refused = || Error::new(Code::InvalidToken, "this refresh token was not issued by this authd; sign in again");
    let encoded = token.expose().trim().strip_prefix(PREFIX).filter(|encoded| encoded.len() <= 2 * LENGTH);
    let bytes = encoded.and_then(|encoded| BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()).ok_or_else(refused)?;
    let bytes: [u8; LENGTH] = bytes.try_into().map_err(|_| refused())?;
    let (key_id, rest) = bytes.split_first_chunk::<16>().ok_or_else(refused)?;
    let (session, rest) = rest.split_first_chunk::<16>().ok_or_else(refused)?;
    let (generation, given) = rest.split_first_chunk::<4>().ok_or_else(refused)?;
    let key_id = Uuid::from_bytes(*key_id).to_string();
    let mac = match keys.mac(Purpose::Device, Some(&key_id), &[session, generation]) {
        Ok((_, mac)) => mac,
        Err(KeyError::Unknown(_)) => return Err(refused()),
        Err(error) => return Err(Error::internal(error)),
    };
    if !bool::from(mac.as_slice().ct_eq(given)) {
        return Err(refused());
    }
    Ok(Presented { session: SessionId(Uuid::from_bytes(*session)), generation: u32::from_be_bytes(*generation) })
}
