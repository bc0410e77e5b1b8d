//! An authenticator and its browser, for tests. What they send can be changed before it is signed.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::{Algorithm, Assertion, Challenge, Registration, RelyingParty};

/// UP, UV, BE and BS.
pub const SYNCED: u8 = 0b1_1101;
pub const ATTESTED: u8 = 1 << 6;
pub const EXTENSIONS: u8 = 1 << 7;

enum Pair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

pub struct Authenticator {
    pair: Pair,
    pub credential_id: Vec<u8>,
    pub user_handle: Vec<u8>,
    pub flags: u8,
    pub counter: u32,
}

/// A response to be sent, or to be changed before it is.
#[derive(Clone)]
pub struct Response {
    pub credential_id: Vec<u8>,
    pub client_data: Vec<u8>,
    pub authenticator_data: Vec<u8>,
    pub public_key: Vec<u8>,
    pub signature: Vec<u8>,
    pub user_handle: Option<Vec<u8>>,
}

impl Response {
    pub fn registration(&self) -> Registration<'_> {
        Registration {
            credential_id: &self.credential_id,
            client_data: &self.client_data,
            authenticator_data: &self.authenticator_data,
            public_key: &self.public_key,
        }
    }

    pub fn assertion(&self) -> Assertion<'_> {
        Assertion {
            credential_id: &self.credential_id,
            client_data: &self.client_data,
            authenticator_data: &self.authenticator_data,
            signature: &self.signature,
            user_handle: self.user_handle.as_deref(),
        }
    }
}

/// Client data of a ceremony, with further members.
pub fn client_data(ceremony: &str, challenge: &Challenge, origin: &str, more: &str) -> Vec<u8> {
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(challenge);
    format!(r#"{{"type":"webauthn.{ceremony}","challenge":"{challenge}","origin":"{origin}"{more}}}"#).into_bytes()
}

pub fn authenticator_data(rp_id: &str, flags: u8, counter: u32, rest: &[u8]) -> Vec<u8> {
    [Sha256::digest(rp_id.as_bytes()).as_slice(), &[flags], &counter.to_be_bytes(), rest].concat()
}

/// The attested credential data (§6.5.1).
pub fn attested(credential_id: &[u8], cose: &[u8]) -> Vec<u8> {
    let length = u16::try_from(credential_id.len()).unwrap();
    [&[7; 16], length.to_be_bytes().as_slice(), credential_id, cose].concat()
}

impl Authenticator {
    pub fn new(algorithm: Algorithm, credential_id: &[u8], user_handle: &[u8]) -> Self {
        let pair = match algorithm {
            Algorithm::Es256 => Pair::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()),
            Algorithm::EdDsa => Pair::EdDsa(Ed25519KeyPair::generate().unwrap()),
            Algorithm::Rs256 => Pair::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
        };
        let (credential_id, user_handle) = (credential_id.to_vec(), user_handle.to_vec());
        Self { pair, credential_id, user_handle, flags: SYNCED, counter: 0 }
    }

    /// The key as an authenticator writes it.
    pub fn cose(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Es256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                [b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20", x, b"\x22\x58\x20", y].concat()
            }
            Pair::EdDsa(pair) => [b"\xa4\x01\x01\x03\x27\x20\x06\x21\x58\x20", pair.public_key().as_ref()].concat(),
            Pair::Rs256(pair) => {
                let n = pair.public_key().modulus();
                let n = n.big_endian_without_leading_zero();
                let length = u16::try_from(n.len()).unwrap().to_be_bytes();
                [b"\xa4\x01\x03\x03\x39\x01\x00\x20\x59", &length[..], n, b"\x21\x43\x01\x00\x01"].concat()
            }
        }
    }

    /// The key as a browser writes it.
    pub fn spki(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Es256(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Pair::EdDsa(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Pair::Rs256(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
        }
    }

    pub fn sign(&self, response: &mut Response) {
        let hash = Sha256::digest(&response.client_data);
        let message = [response.authenticator_data.as_slice(), &hash].concat();
        let random = SystemRandom::new();
        response.signature = match &self.pair {
            Pair::Es256(pair) => pair.sign(&random, &message).unwrap().as_ref().to_vec(),
            Pair::EdDsa(pair) => pair.sign(&message).as_ref().to_vec(),
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, &message, &mut signature).unwrap();
                signature
            }
        };
    }

    /// The answer to `navigator.credentials.create()`.
    pub fn create(&self, party: &RelyingParty, challenge: &Challenge) -> Response {
        let attested = attested(&self.credential_id, &self.cose());
        Response {
            client_data: client_data("create", challenge, party.origin(), r#","crossOrigin":false"#),
            authenticator_data: authenticator_data(party.id(), self.flags | ATTESTED, self.counter, &attested),
            public_key: self.spki(),
            ..self.unsigned()
        }
    }

    /// The answer to `navigator.credentials.get()`.
    pub fn get(&self, party: &RelyingParty, challenge: &Challenge) -> Response {
        let mut response = Response {
            client_data: client_data("get", challenge, party.origin(), r#","crossOrigin":false"#),
            authenticator_data: authenticator_data(party.id(), self.flags, self.counter, &[]),
            ..self.unsigned()
        };
        self.sign(&mut response);
        response
    }

    fn unsigned(&self) -> Response {
        Response {
            credential_id: self.credential_id.clone(),
            client_data: Vec::new(),
            authenticator_data: Vec::new(),
            public_key: Vec::new(),
            signature: Vec::new(),
            user_handle: Some(self.user_handle.clone()),
        }
    }
}
