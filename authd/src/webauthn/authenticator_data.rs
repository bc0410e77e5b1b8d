//! Authenticator data (§6.1): what the authenticator says, and signs at an assertion.

use super::{Backup, MAX_AUTHENTICATOR_DATA, MAX_CREDENTIAL_ID};

// The flags. Bits 1 and 5 are reserved for future use: they have no meaning that could be judged.
const USER_PRESENT: u8 = 1;
const USER_VERIFIED: u8 = 1 << 2;
const BACKUP_ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const ATTESTED: u8 = 1 << 6;
const EXTENSIONS: u8 = 1 << 7;

/// How deep the values of an extension may be nested (CTAP 2.1, §8).
const MAX_DEPTH: u8 = 4;

#[derive(Debug)]
pub(super) struct AuthenticatorData<'a> {
    pub rp_id_hash: &'a [u8],
    pub is_user_present: bool,
    pub is_user_verified: bool,
    pub backup: Backup,
    pub counter: u32,
    pub attested: Option<Attested<'a>>,
}

/// The credential of a registration (§6.5.1).
#[derive(Debug)]
pub(super) struct Attested<'a> {
    pub credential_id: &'a [u8],
    /// A COSE_Key.
    pub key: &'a [u8],
}

impl<'a> AuthenticatorData<'a> {
    /// Reads all bytes: none may be left.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > MAX_AUTHENTICATOR_DATA {
            return None;
        }
        let (rp_id_hash, rest) = bytes.split_at_checked(32)?;
        let (&[flags, a, b, c, d], mut rest) = rest.split_first_chunk()?;
        let has = |flag: u8| flags & flag != 0;
        let attested = if has(ATTESTED) {
            let (_aaguid, after) = rest.split_at_checked(16)?;
            let (&length, after) = after.split_first_chunk()?;
            let length = usize::from(u16::from_be_bytes(length));
            let (credential_id, after) = after.split_at_checked(length)?;
            if !(1..=MAX_CREDENTIAL_ID).contains(&length) {
                return None;
            }
            rest = skip_map(after)?;
            Some(Attested { credential_id, key: &after[..after.len() - rest.len()] })
        } else {
            None
        };
        // We ask for no extension, and judge none.
        if has(EXTENSIONS) {
            rest = skip_map(rest)?;
        }
        rest.is_empty().then_some(Self {
            rp_id_hash,
            is_user_present: has(USER_PRESENT),
            is_user_verified: has(USER_VERIFIED),
            backup: Backup { is_eligible: has(BACKUP_ELIGIBLE), is_backed_up: has(BACKED_UP) },
            counter: u32::from_be_bytes([a, b, c, d]),
            attested,
        })
    }
}

/// What follows a map in CBOR (RFC 8949).
fn skip_map(bytes: &[u8]) -> Option<&[u8]> {
    let is_map = bytes.first()? >> 5 == 5;
    skip(bytes, 0).filter(|_| is_map)
}

/// What follows a value in CBOR of the form that authenticators write (CTAP 2.1, §8): lengths are definite, there are no
/// tags, and the depth is bounded. An item takes at least a byte, so the length of the input bounds the work.
fn skip(bytes: &[u8], depth: u8) -> Option<&[u8]> {
    let (first, rest) = bytes.split_first()?;
    let (major, additional) = (first >> 5, first & 0x1f);
    let (value, mut rest) = match additional {
        0..=23 => (u64::from(additional), rest),
        24..=27 => {
            let (argument, rest) = rest.split_at_checked(1 << (additional - 24))?;
            (argument.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)), rest)
        }
        _ => return None,
    };
    let items = match major {
        // Integers, and simple values and floating-point numbers.
        0 | 1 | 7 => 0,
        // Strings of bytes and of text.
        2 | 3 => {
            rest = rest.split_at_checked(usize::try_from(value).ok()?)?.1;
            0
        }
        4 => value,
        5 => value.checked_mul(2)?,
        _ => return None,
    };
    if items > 0 && depth == MAX_DEPTH {
        return None;
    }
    for _ in 0..items {
        rest = skip(rest, depth + 1)?;
    }
    Some(rest)
}
