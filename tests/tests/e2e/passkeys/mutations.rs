//! Assertions that are mutated, in an order that a seed gives: what the verifiers of passkeys have to agree on.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

pub const RP_ID: &str = "auth.example.com";
pub const ORIGIN: &str = "https://auth.example.com";
pub const CHALLENGE: [u8; 32] = *b"0123456789abcdef0123456789abcdef";
pub const CREDENTIAL_ID: &[u8] = b"credential";
pub const USER_HANDLE: &[u8] = b"user";

const PRESENT: u8 = 1;
const VERIFIED: u8 = 1 << 2;
const ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
pub const ATTESTED: u8 = 1 << 6;
pub const EXTENSIONS: u8 = 1 << 7;
const GOOD: u8 = PRESENT | VERIFIED | ELIGIBLE | BACKED_UP;

/// The key of an authenticator.
#[derive(Debug)]
pub enum Key {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

impl Key {
    /// One of each algorithm.
    pub fn all() -> [Self; 3] {
        [
            Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key")),
            Self::EdDsa(Ed25519KeyPair::generate().expect("a key")),
            Self::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key")),
        ]
    }

    /// The public key as an authenticator writes it: a COSE_Key.
    pub fn cose(&self) -> Vec<u8> {
        match self {
            Self::Es256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                [b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20", x, b"\x22\x58\x20", y].concat()
            }
            Self::EdDsa(pair) => [b"\xa4\x01\x01\x03\x27\x20\x06\x21\x58\x20", pair.public_key().as_ref()].concat(),
            Self::Rs256(pair) => {
                let n = pair.public_key().modulus();
                let n = n.big_endian_without_leading_zero();
                [b"\xa4\x01\x03\x03\x39\x01\x00\x20\x59\x01\x00", n, b"\x21\x43\x01\x00\x01"].concat()
            }
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Es256(pair) => pair.sign(&random, message).expect("a signature").as_ref().to_vec(),
            Self::EdDsa(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("a signature");
                signature
            }
        }
    }
}

/// An assertion, and the state of its credential.
#[derive(Clone, Debug)]
pub struct Assertion {
    /// What was done to it.
    pub mutation: &'static str,
    pub client_data: Vec<u8>,
    pub authenticator_data: Vec<u8>,
    pub signature: Vec<u8>,
    pub user_handle: Vec<u8>,
    /// The counter that was stored at the last sign-in.
    pub stored_counter: u32,
}

/// SplitMix64: the same numbers from the same seed.
#[derive(Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below this one.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or_default()
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    fn flip(&mut self, bytes: &mut [u8]) {
        let at = self.below(bytes.len());
        bytes[at] ^= 1 << self.below(8);
    }
}

fn client_data(kind: &str, challenge: &str, origin: &str, more: &str) -> Vec<u8> {
    format!(r#"{{"type":"{kind}","challenge":"{challenge}","origin":"{origin}"{more}}}"#).into_bytes()
}

fn authenticator_data(rp_id: &str, flags: u8, counter: u32, rest: &[u8]) -> Vec<u8> {
    [Sha256::digest(rp_id).as_slice(), &[flags], &counter.to_be_bytes(), rest].concat()
}

/// The mutation that adds a byte to the signature.
pub const LONGER_SIGNATURE: &str = "a longer signature";

const ORIGINS: [&str; 8] = [
    "http://auth.example.com",
    "https://auth.example.com/",
    "https://auth.example.com:443",
    "https://auth.example.com.evil.example",
    "https://evil.example",
    "https://AUTH.example.com",
    "null",
    "",
];
const MORE: [&str; 4] =
    ["", r#","crossOrigin":false"#, r#","crossOrigin":false,"other":{"a":[1,null]}"#, r#","extra":"\u00e9""#];
const FRAMES: [&str; 5] = [
    r#","crossOrigin":true"#,
    r#","crossOrigin":true,"topOrigin":"https://evil.example""#,
    r#","crossOrigin":false,"topOrigin":"https://evil.example""#,
    r#","topOrigin":"https://evil.example""#,
    r#","crossOrigin":true,"topOrigin":"https://auth.example.com""#,
];
const COUNTERS: [u32; 5] = [0, 1, 2, 1000, u32::MAX];
/// Maps in canonical CBOR, and what is none.
const GOOD_EXTENSIONS: [&[u8]; 3] = [b"\xa0", b"\xa1\x6bhmac-secret\xf5", b"\xa2\x61a\x82\x01\x20\x61b\x43abc"];
const BAD_EXTENSIONS: [&[u8]; 6] = [b"", b"\xa1", b"\xa1\x61a", b"\xa0\x00", b"\x01", b"\xa1\x61a\x1c"];

/// One assertion of this key, mutated in one way.
pub fn mutated(numbers: &mut Numbers, key: &Key) -> Assertion {
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(CHALLENGE);
    let more = numbers.of(&MORE);
    let good_client_data = client_data("webauthn.get", &challenge, ORIGIN, more);
    let mut made = Assertion {
        mutation: "none",
        client_data: good_client_data,
        authenticator_data: authenticator_data(RP_ID, GOOD, 0, &[]),
        signature: Vec::new(),
        user_handle: USER_HANDLE.to_vec(),
        stored_counter: 0,
    };
    let kind = numbers.below(16);
    // What is mutated before the authenticator signs.
    match kind {
        0 => {
            let stored = u32::try_from(numbers.below(1 << 31)).unwrap_or_default();
            let grown = u32::try_from(numbers.below(1 << 30)).unwrap_or_default();
            made.stored_counter = stored;
            let extensions = numbers.of(&GOOD_EXTENSIONS);
            let flags = numbers.of(&[GOOD, GOOD & !BACKED_UP]);
            made.authenticator_data = authenticator_data(
                RP_ID,
                flags | EXTENSIONS,
                stored.saturating_add(grown).saturating_add(1),
                extensions,
            );
        }
        1 => {
            made.mutation = "type";
            let kind = numbers.of(&["webauthn.create", "webauthn.Get", "payment.get", ""]);
            made.client_data = client_data(kind, &challenge, ORIGIN, more);
        }
        2 => {
            made.mutation = "challenge";
            let other = BASE64_URL_SAFE_NO_PAD.encode([numbers.byte(); 32]);
            let challenge =
                [other, challenge[1..].to_owned(), format!("{challenge}="), String::new(), format!("{challenge}AA")];
            made.client_data = client_data("webauthn.get", &numbers.of(&challenge), ORIGIN, more);
        }
        3 => {
            made.mutation = "origin";
            made.client_data = client_data("webauthn.get", &challenge, numbers.of(&ORIGINS), more);
        }
        4 => {
            made.mutation = "frame";
            made.client_data = client_data("webauthn.get", &challenge, ORIGIN, numbers.of(&FRAMES));
        }
        5 => {
            made.mutation = "relying party";
            let rp_id = numbers.of(&["example.com", "evil.example", ORIGIN, ""]);
            made.authenticator_data = authenticator_data(rp_id, GOOD, 0, &[]);
        }
        6 => {
            made.mutation = "flags";
            made.authenticator_data = authenticator_data(RP_ID, numbers.byte(), 0, &[]);
        }
        7 => {
            made.mutation = "flags one by one";
            made.authenticator_data = authenticator_data(RP_ID, GOOD ^ (1 << numbers.below(8)), 0, &[]);
        }
        8 => {
            made.mutation = "counter";
            made.stored_counter = numbers.of(&COUNTERS);
            made.authenticator_data = authenticator_data(RP_ID, GOOD, numbers.of(&COUNTERS), &[]);
        }
        9 => {
            made.mutation = "extensions";
            let extensions = numbers.of(&BAD_EXTENSIONS);
            made.authenticator_data = authenticator_data(RP_ID, GOOD | EXTENSIONS, 0, extensions);
        }
        10 => {
            made.mutation = "length";
            let length = numbers.below(48);
            made.authenticator_data.resize(length, 0);
        }
        11 => {
            made.mutation = "attested";
            let id = u16::try_from(CREDENTIAL_ID.len()).unwrap_or_default().to_be_bytes();
            let attested = [&[0; 16], id.as_slice(), CREDENTIAL_ID, &key.cose()].concat();
            let cut = numbers.of(&[attested.len(), attested.len() - 1, 17]);
            made.authenticator_data = authenticator_data(RP_ID, GOOD | ATTESTED, 0, &attested[..cut]);
        }
        12 => {
            made.mutation = "client data, signed";
            numbers.flip(&mut made.client_data);
        }
        _ => {}
    }
    let message = [made.authenticator_data.as_slice(), &Sha256::digest(&made.client_data)].concat();
    made.signature = key.sign(&message);
    // What is mutated on the way.
    match kind {
        13 => {
            made.mutation = "client data or authenticator data";
            let part = numbers.of(&[true, false]);
            numbers.flip(if part { &mut made.client_data } else { &mut made.authenticator_data });
        }
        14 => {
            made.mutation = mutate_signature(numbers, &mut made.signature);
        }
        15 => {
            made.mutation = "user handle";
            made.user_handle = vec![numbers.byte(); 8];
        }
        _ => {}
    }
    made
}

/// Another number, or another length. Bits of the frame of an ECDSA signature stay: each library has its own idea of what
/// of BER is still DER.
fn mutate_signature(numbers: &mut Numbers, signature: &mut Vec<u8>) -> &'static str {
    match numbers.below(5) {
        0 => signature.truncate(signature.len() / 2),
        1 => signature.clear(),
        2 => {
            signature.push(0);
            return LONGER_SIGNATURE;
        }
        3 => signature.iter_mut().skip(8).for_each(|byte| *byte ^= 0x55),
        _ => {
            // The last bytes are those of the last number.
            let end = signature.len() - 16;
            numbers.flip(&mut signature[end..]);
        }
    }
    "signature"
}
