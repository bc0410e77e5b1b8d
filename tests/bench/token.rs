//! Tokens by number: every token of a run can be made again from its kind and index, so that neither the generator nor
//! the seeding keeps a list, and a million of them cost the generator no memory.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// authd's default `TOKEN_PREFIX`.
pub const PREFIX: &str = "amp_live_";
/// Bytes of a token: the prefix and 43 characters.
pub const LEN: usize = PREFIX.len() + 43;

/// What is the matter with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Valid,
    Expired,
    Revoked,
    /// Well formed, but nobody minted it.
    Unknown,
    /// Its checksum is wrong.
    Malformed,
}

/// Writes token number `index` of this kind into `out`, which is [`LEN`] bytes.
pub fn write(kind: Kind, index: u64, out: &mut [u8]) {
    let mut state = ((kind as u64) << 56) ^ index;
    let mut secret = [0; 32];
    for eight in secret.chunks_exact_mut(8) {
        eight.copy_from_slice(&next(&mut state).to_be_bytes());
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(PREFIX.as_bytes());
    crc.update(&secret[..28]);
    let mut checksum = crc.finalize();
    if kind == Kind::Malformed {
        checksum ^= 1;
    }
    secret[28..].copy_from_slice(&checksum.to_be_bytes());
    out[..PREFIX.len()].copy_from_slice(PREFIX.as_bytes());
    URL_SAFE_NO_PAD.encode_slice(secret, &mut out[PREFIX.len()..]).expect("43 characters hold 32 bytes");
}

/// SplitMix64: fast, evenly spread, reproducible. These tokens guard nothing.
pub fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(kind: Kind, index: u64) -> String {
        let mut out = [0; LEN];
        write(kind, index, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn checksum_fits(token: &str) -> bool {
        let bytes = URL_SAFE_NO_PAD.decode(&token[PREFIX.len()..]).unwrap();
        crc32fast::hash(&[PREFIX.as_bytes(), &bytes[..28]].concat()).to_be_bytes() == bytes[28..]
    }

    #[test]
    fn only_malformed_tokens_have_a_wrong_checksum() {
        for kind in [Kind::Valid, Kind::Expired, Kind::Revoked, Kind::Unknown] {
            assert!(checksum_fits(&token(kind, 7)), "{kind:?}");
        }
        assert!(!checksum_fits(&token(Kind::Malformed, 7)));
    }

    #[test]
    fn tokens_are_reproducible_and_distinct() {
        assert_eq!(token(Kind::Valid, 3), token(Kind::Valid, 3));
        assert_ne!(token(Kind::Valid, 3), token(Kind::Valid, 4));
        assert_ne!(token(Kind::Valid, 3), token(Kind::Unknown, 3));
    }
}
