//! Passkeys. Input: client data; after the separator, authenticator data with its length in two bytes before it; and a
//! public key.
//!
//! What a registration says is what is read from it, whoever reads it; and without the private key nobody makes an
//! assertion that is accepted.

use authd::webauthn::{Assertion, Challenge, Credential, PublicKey, Registration, RelyingParty};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

const CHALLENGE: Challenge = *b"0123456789abcdef0123456789abcdef";
/// SHA-256 of the relying party's id.
const RP_ID_HASH: [u8; 32] = [
    0xc2, 0x04, 0xc8, 0x54, 0xff, 0xe5, 0xf3, 0x5a, 0x3b, 0x85, 0x20, 0x8b, 0xd9, 0x89, 0xc6, 0x0d, 0x1c, 0x56, 0xd5,
    0x6c, 0xfd, 0x9a, 0x6e, 0x2f, 0x58, 0xf2, 0x8b, 0x96, 0xd1, 0x7e, 0x07, 0x33,
];

pub fn check(input: &[u8]) {
    let mut halves = input.splitn(2, |byte| *byte == 0xff);
    let (client_data, rest) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
    let Some((length, rest)) = rest.split_first_chunk() else { return };
    let length = usize::from(u16::from_be_bytes(*length));
    let Some((authenticator_data, public_key)) = rest.split_at_checked(length) else { return };
    let id_length =
        authenticator_data.get(53..55).map_or(0, |bytes| usize::from(bytes[0]) << 8 | usize::from(bytes[1]));
    let credential_id = authenticator_data.get(55..55 + id_length).unwrap_or_default();
    let party = RelyingParty::of("https://auth.example.com").expect("it may have passkeys");
    let made = Registration { credential_id, client_data, authenticator_data, public_key };
    let Ok(registered) = party.verify_registration(&CHALLENGE, &made) else { return };

    let said: Map<String, Value> = serde_json::from_slice(client_data).expect("another reader takes it for an object");
    let challenge = said["challenge"].as_str().and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok());
    assert_eq!(challenge.as_deref(), Some(CHALLENGE.as_slice()));
    assert!(said["type"] == "webauthn.create" && said["origin"] == "https://auth.example.com", "{said:?}");
    assert!(said.get("crossOrigin").is_none_or(|is| *is == false) && !said.contains_key("topOrigin"), "{said:?}");

    let (flags, backup) = (authenticator_data[32], registered.backup());
    assert_eq!(authenticator_data[..32], RP_ID_HASH);
    assert_eq!(flags & 0b0100_0101, 0b0100_0101, "present, verified, with a credential");
    assert_eq!((backup.is_eligible, backup.is_backed_up), (flags & 8 != 0, flags & 16 != 0));
    assert!(backup.is_eligible || !backup.is_backed_up);
    assert_eq!(registered.counter().to_be_bytes(), authenticator_data[33..37]);
    let key = PublicKey::from_spki(registered.key().algorithm(), public_key).expect("a key reads back");
    assert_eq!(key.spki(), registered.key().spki());

    let (_, signature) = authenticator_data.split_at(55 + id_length);
    let assertion = Assertion { credential_id, client_data, authenticator_data, signature, user_handle: None };
    let credential = Credential {
        id: credential_id,
        user_handle: b"user",
        key: &key,
        counter: 0,
        is_backup_eligible: backup.is_eligible,
    };
    assert!(party.verify_assertion(&CHALLENGE, &credential, &assertion).is_err(), "nobody has signed it");
}
