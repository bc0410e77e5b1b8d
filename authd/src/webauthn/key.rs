//! Public keys of credentials: of a list of algorithms, and in one spelling.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};

use super::Fault;

/// The algorithms of signatures, as browsers number them (IANA, COSE Algorithms).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSA PKCS#1 v1.5 with SHA-256, of 2048 to 4096 bits.
    Rs256,
}

impl Algorithm {
    /// In the order in which an authenticator is to choose.
    pub const ALL: [Self; 3] = [Self::Es256, Self::EdDsa, Self::Rs256];

    /// The number of the algorithm.
    pub const fn number(self) -> i32 {
        match self {
            Self::Es256 => -7,
            Self::EdDsa => -8,
            Self::Rs256 => -257,
        }
    }

    /// The algorithm of a number.
    pub fn of(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.number() == number)
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Es256 => &ECDSA_P256_SHA256_ASN1,
            Self::EdDsa => &ED25519,
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        }
    }
}

/// The public key of a credential, with its algorithm.
#[derive(Clone, Debug)]
pub struct PublicKey {
    algorithm: Algorithm,
    key: ParsedPublicKey,
}

// A COSE_Key of a credential is in CTAP2 canonical CBOR, without optional parameters (§6.5.1): its bytes are fixed up to
// the numbers of the key. So it is compared, not parsed. The maps are {1: kty, 3: alg, -1: crv, -2: x, -3: y}.
const COSE_ES256_X: &[u8] = b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20";
const COSE_ES256_Y: &[u8] = b"\x22\x58\x20";
const COSE_EDDSA_X: &[u8] = b"\xa4\x01\x01\x03\x27\x20\x06\x21\x58\x20";
/// {1: kty, 3: alg, -1: n, -2: e}, up to the length of n.
const COSE_RS256_N: &[u8] = b"\xa4\x01\x03\x03\x39\x01\x00\x20\x59";
/// The exponent: 65537.
const COSE_RS256_E: &[u8] = b"\x21\x43\x01\x00\x01";

/// SubjectPublicKeyInfo (RFC 5480, RFC 8410), up to the key.
const SPKI_ES256: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04";
const SPKI_EDDSA: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
/// The identifier of rsaEncryption (RFC 8017, §A.1), a whole element.
const SPKI_RS256: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";

/// Bytes of the number n of an RSA key.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

impl PublicKey {
    /// Reads the key of a registration.
    pub fn from_cose(cose: &[u8]) -> Result<Self, Fault> {
        let (algorithm, spki) = spki(cose).ok_or(Fault::PublicKey)?;
        Self::from_spki(algorithm, &spki)
    }

    /// Reads a key that was stored.
    pub fn from_spki(algorithm: Algorithm, spki: &[u8]) -> Result<Self, Fault> {
        let key = ParsedPublicKey::new(algorithm.verification(), spki).map_err(|_| Fault::PublicKey)?;
        Ok(Self { algorithm, key })
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key as SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> &[u8] {
        self.key.as_ref()
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Fault> {
        self.key.verify_sig(message, signature).map_err(|_| Fault::Signature)
    }
}

/// The algorithm of a COSE_Key, and the key as SubjectPublicKeyInfo.
fn spki(cose: &[u8]) -> Option<(Algorithm, Vec<u8>)> {
    if let Some(rest) = cose.strip_prefix(COSE_ES256_X) {
        let (x, rest) = rest.split_at_checked(32)?;
        let y = rest.strip_prefix(COSE_ES256_Y).filter(|y| y.len() == 32)?;
        Some((Algorithm::Es256, [SPKI_ES256, x, y].concat()))
    } else if let Some(x) = cose.strip_prefix(COSE_EDDSA_X) {
        (x.len() == 32).then(|| (Algorithm::EdDsa, [SPKI_EDDSA, x].concat()))
    } else {
        let (&length, rest) = cose.strip_prefix(COSE_RS256_N)?.split_first_chunk()?;
        let n = rest.split_at_checked(usize::from(u16::from_be_bytes(length)))?.0;
        // Without leading zeros, and of 2048 bits at least.
        let is_long_enough = RSA_BYTES.contains(&n.len()) && n[0] > if n.len() == 256 { 0x7f } else { 0 };
        if !is_long_enough || rest[n.len()..] != *COSE_RS256_E {
            return None;
        }
        let numbers = [integer(n), integer(&COSE_RS256_E[2..])].concat();
        let key = element(0x03, &[&[0], element(0x30, &numbers).as_slice()].concat());
        Some((Algorithm::Rs256, element(0x30, &[SPKI_RS256, &key].concat())))
    }
}

/// An INTEGER in DER of an unsigned number without leading zeros.
fn integer(number: &[u8]) -> Vec<u8> {
    let sign: &[u8] = if number[0] > 0x7f { &[0] } else { &[] };
    element(0x02, &[sign, number].concat())
}

/// An element in DER, of less than 64 KiB.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let header = match content.len() {
        0..=0x7f => vec![tag, low],
        0x80..=0xff => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [header.as_slice(), content].concat()
}
