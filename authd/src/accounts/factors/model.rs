//! The rules of TOTP and of recovery codes: no I/O, no clock.

use aws_lc_rs::hmac;
use sha2::{Digest, Sha256};
use shared::id::UserId;
use shared::secret::Secret;
use shared::wire::percent_encode;
use subtle::ConstantTimeEq;

use crate::env::{MINUTE, Millis, SECOND, SKEW};

/// Bytes of a secret: as many as SHA-1 has (RFC 4226 §4, R6).
pub const SECRET: usize = 20;
/// What authenticator apps know without exception: SHA-1, six digits, 30 seconds.
const DIGITS: usize = 6;
const PERIOD: Millis = 30 * SECOND;
/// Steps before and after the current one whose codes are accepted (RFC 6238 §5.2).
const TOLERANCE: i64 = 1;
/// How long a new secret waits for its first code.
pub const PENDING: Millis = 10 * MINUTE;

/// The number of recovery codes.
pub const RECOVERY_CODES: usize = 10;
/// Signs of a recovery code, five bits each: 120 bits. From 112 on a plain hash is enough (NIST SP 800-63B §3.1.2.2).
pub const RECOVERY_SIGNS: usize = 24;
const GROUP: usize = 4;
/// Without I, L, O and U, which are read as other signs.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// More than the longest way to type a recovery code.
const LONGEST: usize = 64;

/// The time step of a moment (RFC 6238 §4.2).
pub fn step(now: Millis) -> i64 {
    now.div_euclid(PERIOD)
}

/// The last step that can have been accepted until now; a later one was stored by a wrong clock, and is void.
pub fn latest_step(now: Millis) -> i64 {
    step(now + SKEW) + TOLERANCE
}

/// Parses a code: six ASCII digits and nothing else, so that a code has one spelling.
pub fn parse_code(text: &str) -> Option<u32> {
    let is_code = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_code)
}

/// The step whose code this is, if it is within the tolerance and after the last accepted one. Each step is computed,
/// and compared in constant time. Of two steps with one code it is the later one, so that the code is not accepted again.
pub fn find_step(secret: &[u8], code: u32, now: Millis, last: i64) -> Option<i64> {
    let last = if last > latest_step(now) { i64::MIN } else { last };
    let mut found = None;
    for step in step(now) - TOLERANCE..=step(now) + TOLERANCE {
        let is_its_code: bool = value(secret, step).ct_eq(&code).into();
        if is_its_code && step > last {
            found = Some(step);
        }
    }
    found
}

/// HOTP (RFC 4226 §5.3) of a step.
fn value(secret: &[u8], step: i64) -> u32 {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let mac = hmac::sign(&key, &step.to_be_bytes());
    let mac = mac.as_ref();
    let offset = usize::from(mac[mac.len() - 1] & 0xf);
    let bytes: [u8; 4] = std::array::from_fn(|index| mac[offset + index]);
    (u32::from_be_bytes(bytes) & 0x7fff_ffff) % 1_000_000
}

/// The code of a step, as an app shows it.
#[cfg(test)]
pub fn code(secret: &[u8], step: i64) -> String {
    format!("{:0DIGITS$}", value(secret, step))
}

/// A secret in base32 (RFC 4648 §6), which apps take as text. 20 bytes need no padding.
pub fn base32(secret: &[u8; SECRET]) -> Secret {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::with_capacity(SECRET * 8 / 5);
    for block in secret.chunks(5) {
        let bits = block.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        let signs = (0..8).rev().map(|sign| ALPHABET[usize::try_from(bits >> (5 * sign) & 31).unwrap_or_default()]);
        text.extend(signs.map(char::from));
    }
    Secret::new(text)
}

/// The URI that apps read from a QR code. Issuer and account are percent-encoded, spaces too: some apps show a plus.
pub fn uri(issuer: &str, account: &str, secret: &Secret) -> Secret {
    let (issuer, account, secret) = (percent_encode(issuer), percent_encode(account), secret.expose());
    let parameters =
        format!("secret={secret}&issuer={issuer}&algorithm=SHA1&digits={DIGITS}&period={}", PERIOD / SECOND);
    Secret::new(format!("otpauth://totp/{issuer}:{account}?{parameters}"))
}

/// A recovery code of random bytes, in groups that are easy to read.
pub fn recovery_code(random: &[u8; RECOVERY_SIGNS]) -> Secret {
    let signs: Vec<u8> = random.iter().map(|byte| ALPHABET[usize::from(byte & 31)]).collect();
    let groups: Vec<_> = signs.chunks(GROUP).map(String::from_utf8_lossy).collect();
    Secret::new(groups.join("-"))
}

/// The stored hash of a recovery code, in upper or lower case, with or without hyphens and spaces; `None` for what cannot
/// be one. The user is a part of it, so that nobody can try one guess against the codes of all.
pub fn recovery_hash(user: UserId, text: &str) -> Option<[u8; 32]> {
    let bytes = text.bytes().filter(|byte| !matches!(byte, b'-' | b' '));
    let signs = bytes.map(|byte| match byte.to_ascii_uppercase() {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        byte => byte,
    });
    let mut hash = Sha256::new_with_prefix(user.0.as_bytes());
    let mut count = 0;
    for sign in signs {
        if !ALPHABET.contains(&sign) {
            return None;
        }
        hash.update([sign]);
        count += 1;
    }
    (text.len() <= LONGEST && count == RECOVERY_SIGNS).then(|| hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B: its codes have eight digits, of which ours are the last six.
    #[test]
    fn codes_are_those_of_rfc_6238() {
        let secret = b"12345678901234567890";
        for (seconds, eight) in [
            (59, 94_287_082),
            (1_111_111_109, 7_081_804),
            (1_111_111_111, 14_050_471),
            (1_234_567_890, 89_005_924),
            (2_000_000_000, 69_279_037),
            (20_000_000_000, 65_353_130),
        ] {
            assert_eq!(value(secret, step(seconds * SECOND)), eight % 1_000_000, "{seconds}");
        }
    }

    #[test]
    fn a_code_is_good_for_one_step_on_either_side_and_only_after_the_last() {
        let (secret, now) = (b"12345678901234567890", 1_800_000_000_000);
        let current = step(now);
        let find = |offset: i64, last: i64| find_step(secret, value(secret, current + offset), now, last);
        for (offset, is_good) in [(-2, false), (-1, true), (0, true), (1, true), (2, false)] {
            assert_eq!(find(offset, 0), is_good.then_some(current + offset), "{offset}");
        }
        assert_eq!(find(0, current), None, "it was used");
        assert_eq!(find(-1, current), None, "a later one was used");
        assert_eq!(find(1, current), Some(current + 1));
        // Two minutes ahead, as a clock within the skew can store; and what only a wrong clock can.
        assert_eq!(find(1, current + 3), None);
        assert_eq!(find(0, current + 4), Some(current));
    }

    #[test]
    fn a_code_is_six_ascii_digits() {
        assert_eq!(parse_code("012345"), Some(12_345));
        for text in
            ["", "12345", "1234567", " 123456", "123456 ", "123 456", "+12345", "-12345", "１２３４５６", "12345a"]
        {
            assert_eq!(parse_code(text), None, "{text:?}");
        }
    }

    /// RFC 4648 §10 has no text of 20 bytes; this is what the authors of RFC 6238 use, in base32.
    #[test]
    fn a_secret_is_told_in_base32() {
        assert_eq!(base32(b"12345678901234567890").expose(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert_eq!(base32(&[0xff; 20]).expose(), "7".repeat(32));
    }

    #[test]
    fn a_uri_is_percent_encoded() {
        let uri = uri("auth.example.com", "Zo\u{eb} A&B:?", &"ABC".into());
        let expected = "otpauth://totp/auth.example.com:Zo%C3%AB%20A%26B%3A%3F?secret=ABC&issuer=auth.example.com&\
                        algorithm=SHA1&digits=6&period=30";
        assert_eq!(uri.expose(), expected);
    }

    #[test]
    fn an_issuer_is_the_host_of_the_public_url() {
        for (url, issuer) in [
            ("https://auth.example.com/x", "auth.example.com"),
            ("http://127.0.0.1:8080", "127.0.0.1"),
            ("http://[::1]:8080", "authd"),
            ("", "authd"),
        ] {
            assert_eq!(super::super::issuer(url), issuer);
        }
    }

    #[test]
    fn a_recovery_code_has_one_hash_in_all_its_spellings() {
        let user = UserId(uuid::Uuid::from_u128(1));
        let code = recovery_code(&std::array::from_fn(|index| u8::try_from(index).unwrap_or_default()));
        assert_eq!(code.expose(), "0123-4567-89AB-CDEF-GHJK-MNPQ");
        let hash = recovery_hash(user, code.expose()).expect("it is one");
        for spelling in ["0123456789abcdefghjkmnpq", "o123 4567 89AB CDEF GHJK MNPQ", "OI23-4567-89AB-CDEF-GHJK-MNPQ "]
        {
            assert_eq!(recovery_hash(user, spelling), Some(hash), "{spelling}");
        }
        for text in ["", "0123-4567", "0123-4567-89AB-CDEF-GHJK-MNPU", "123456", &"0".repeat(25), &"-".repeat(80)] {
            assert_eq!(recovery_hash(user, text), None, "{text}");
        }
        let long = format!("{}{}", code.expose(), " ".repeat(LONGEST));
        assert_eq!(recovery_hash(user, &long), None);
        assert_ne!(
            recovery_hash(UserId(uuid::Uuid::from_u128(2)), code.expose()),
            Some(hash),
            "the user is a part of it"
        );
    }
}
