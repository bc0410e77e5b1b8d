//! Each rule, by a response that is signed and breaks this rule only.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::testing::{
    ATTESTED, Authenticator, EXTENSIONS, Response, SYNCED, attested, authenticator_data, client_data,
};
use super::*;

const CHALLENGE: Challenge = *b"0123456789abcdef0123456789abcdef";
const ID: &[u8] = b"credential";
const USER: &[u8] = b"user";

fn party() -> RelyingParty {
    RelyingParty::of("https://auth.example.com").unwrap()
}

fn register(response: &Response) -> Result<Registered, Fault> {
    party().verify_registration(&CHALLENGE, &response.registration())
}

/// Verifies an assertion by a key that was registered with this counter.
fn assert(authenticator: &Authenticator, counter: u32, response: &Response) -> Result<Asserted, Fault> {
    let key = PublicKey::from_cose(&authenticator.cose()).unwrap();
    let credential = Credential { id: ID, user_handle: USER, key: &key, counter, is_backup_eligible: true };
    party().verify_assertion(&CHALLENGE, &credential, &response.assertion())
}

fn authenticator() -> Authenticator {
    Authenticator::new(Algorithm::Es256, ID, USER)
}

#[test]
fn a_key_of_each_algorithm_registers_and_signs_in() {
    for algorithm in Algorithm::ALL {
        let mut authenticator = Authenticator::new(algorithm, ID, USER);
        let registered = register(&authenticator.create(&party(), &CHALLENGE)).unwrap();
        assert_eq!(registered.key().algorithm(), algorithm);
        assert_eq!(registered.key().spki(), authenticator.spki(), "{algorithm:?}");
        assert_eq!((registered.counter(), registered.backup().is_backed_up), (0, true));
        assert_eq!(Algorithm::of(algorithm.number()), Some(algorithm));
        authenticator.counter = 1;
        let asserted = assert(&authenticator, 0, &authenticator.get(&party(), &CHALLENGE)).unwrap();
        assert_eq!((asserted.counter(), asserted.is_backed_up()), (1, true));
    }
    assert_eq!(Algorithm::of(-37), None);
}

/// Client data that is signed and refused.
fn client_data_faults(ceremony: &str) -> Vec<(Vec<u8>, Fault)> {
    let other = if ceremony == "get" { "create" } else { "get" };
    let origin = "https://auth.example.com";
    let of = |more: &str| client_data(ceremony, &CHALLENGE, origin, more);
    let at = |origin: &str| client_data(ceremony, &CHALLENGE, origin, "");
    let text = String::from_utf8(of("")).unwrap();
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(CHALLENGE);
    let with = |from: &str, to: &str| text.replacen(from, to, 1).into_bytes();
    vec![
        (client_data(other, &CHALLENGE, origin, ""), Fault::Ceremony),
        (client_data(ceremony, &[0; 32], origin, ""), Fault::Challenge),
        (with(&challenge, &format!("{challenge}=")), Fault::Challenge),
        (with(&challenge, ""), Fault::Challenge),
        (at("https://auth.example.com/"), Fault::Origin),
        (at("https://auth.example.com:443"), Fault::Origin),
        (at("https://Auth.example.com"), Fault::Origin),
        (at("http://auth.example.com"), Fault::Origin),
        (at("https://evil.auth.example.com"), Fault::Origin),
        (at("https://auth.example.com.evil.com"), Fault::Origin),
        (at("https://example.com"), Fault::Origin),
        (at(""), Fault::Origin),
        (of(r#","crossOrigin":true"#), Fault::CrossOrigin),
        (of(r#","topOrigin":"https://auth.example.com""#), Fault::CrossOrigin),
        (of(r#","topOrigin":null"#), Fault::CrossOrigin),
        (of(r#","crossOrigin":null"#), Fault::ClientData),
        (of(r#","crossOrigin":"true""#), Fault::ClientData),
        (of(r#","crossOrigin":false,"crossOrigin":true"#), Fault::ClientData),
        (of(r#","other":"\ud800""#), Fault::ClientData),
        (of(r#","type":"webauthn.get""#), Fault::ClientData),
        (of(r#","origin":"https://auth.example.com""#), Fault::ClientData),
        (of(&format!(r#","challenge":"{challenge}""#)), Fault::ClientData),
        (of(&format!(r#","other":"{}""#, "x".repeat(MAX_CLIENT_DATA))), Fault::ClientData),
        (format!(r#"["webauthn.{ceremony}","{challenge}","{origin}",false,null]"#).into_bytes(), Fault::ClientData),
        (format!(" {text}").into_bytes(), Fault::ClientData),
        (format!("\u{feff}{text}").into_bytes(), Fault::ClientData),
        (format!("{text}{text}").into_bytes(), Fault::ClientData),
        (text.as_bytes()[..text.len() - 1].to_vec(), Fault::ClientData),
        (b"{}".to_vec(), Fault::ClientData),
        (Vec::new(), Fault::ClientData),
    ]
}

#[test]
fn client_data_of_another_ceremony_challenge_origin_or_frame_is_refused() {
    let authenticator = authenticator();
    for (client_data, fault) in client_data_faults("create") {
        let shown = String::from_utf8_lossy(&client_data).into_owned();
        let response = Response { client_data, ..authenticator.create(&party(), &CHALLENGE) };
        assert_eq!(register(&response).unwrap_err(), fault, "{shown:.200}");
    }
    for (client_data, fault) in client_data_faults("get") {
        let shown = String::from_utf8_lossy(&client_data).into_owned();
        let mut response = Response { client_data, ..authenticator.get(&party(), &CHALLENGE) };
        authenticator.sign(&mut response);
        assert_eq!(assert(&authenticator, 0, &response).unwrap_err(), fault, "{shown:.200}");
    }
    // Members that a browser adds are not judged.
    let more = r#","crossOrigin":false,"other_keys_can_be_added_here":{"a":[1]}"#;
    let client_data = client_data("get", &CHALLENGE, "https://auth.example.com", more);
    let mut response = Response { client_data, ..authenticator.get(&party(), &CHALLENGE) };
    authenticator.sign(&mut response);
    assert(&authenticator, 0, &response).unwrap();
}

/// Authenticator data that is signed and refused, with what follows the counter in good ones.
fn authenticator_data_faults(flags: u8, rest: &[u8]) -> Vec<(Vec<u8>, Fault)> {
    let id = "auth.example.com";
    let of = |flags: u8| authenticator_data(id, flags, 0, rest);
    let extended = |extensions: &[u8]| authenticator_data(id, flags | EXTENSIONS, 0, &[rest, extensions].concat());
    let good = of(flags);
    vec![
        (authenticator_data("example.com", flags, 0, rest), Fault::RelyingParty),
        (authenticator_data("https://auth.example.com", flags, 0, rest), Fault::RelyingParty),
        (authenticator_data("evil.com", flags, 0, rest), Fault::RelyingParty),
        (of(flags & !1), Fault::UserPresence),
        (of(flags & !(1 << 2)), Fault::UserVerification),
        (of(flags & !(1 << 3)), Fault::Backup),
        (of(flags | EXTENSIONS), Fault::AuthenticatorData),
        (of(flags ^ ATTESTED), Fault::AuthenticatorData),
        (extended(b"\xa0\x00"), Fault::AuthenticatorData),
        (extended(b"\xa1\x61a"), Fault::AuthenticatorData),
        (extended(b"\x80"), Fault::AuthenticatorData),
        (extended(b"\xbf"), Fault::AuthenticatorData),
        (extended(b"\xa1\x61a\xbf\xff"), Fault::AuthenticatorData),
        (extended(b"\xa1\x61a\x81\x81\x81\x81\x00"), Fault::AuthenticatorData),
        (extended(b"\xa1\x61a\xc0\x00"), Fault::AuthenticatorData),
        (extended(b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff"), Fault::AuthenticatorData),
        (extended(b"\xa1\x61a\x5b\xff\xff\xff\xff\xff\xff\xff\xff"), Fault::AuthenticatorData),
        (extended(&[b"\xa1\x61a\x59\x10\x00".as_slice(), &[0; 4096]].concat()), Fault::AuthenticatorData),
        ([good.as_slice(), &[0]].concat(), Fault::AuthenticatorData),
        (good[..good.len() - 1].to_vec(), Fault::AuthenticatorData),
        (good[..36].to_vec(), Fault::AuthenticatorData),
        (Vec::new(), Fault::AuthenticatorData),
    ]
}

#[test]
fn authenticator_data_of_another_party_or_without_the_person_is_refused() {
    let authenticator = authenticator();
    let attested = attested(ID, &authenticator.cose());
    for (index, (data, fault)) in authenticator_data_faults(SYNCED | ATTESTED, &attested).into_iter().enumerate() {
        let response = Response { authenticator_data: data, ..authenticator.create(&party(), &CHALLENGE) };
        assert_eq!(register(&response).unwrap_err(), fault, "registration {index}");
    }
    for (index, (data, fault)) in authenticator_data_faults(SYNCED, &[]).into_iter().enumerate() {
        let mut response = Response { authenticator_data: data, ..authenticator.get(&party(), &CHALLENGE) };
        authenticator.sign(&mut response);
        assert_eq!(assert(&authenticator, 0, &response).unwrap_err(), fault, "assertion {index}");
    }
    // Extensions that are maps in the form of authenticators are not judged.
    for extensions in [b"\xa0".as_slice(), b"\xa1\x6bhmac-secret\xf5", b"\xa2\x61a\x83\x01\x20\xf9\x00\x00\x61b\xa0"] {
        let data = authenticator_data("auth.example.com", SYNCED | EXTENSIONS, 0, extensions);
        let mut response = Response { authenticator_data: data, ..authenticator.get(&party(), &CHALLENGE) };
        authenticator.sign(&mut response);
        assert(&authenticator, 0, &response).unwrap();
    }
}

#[test]
fn an_assertion_must_bring_the_attested_credential_of_no_registration() {
    let authenticator = authenticator();
    let attested = attested(ID, &authenticator.cose());
    let data = authenticator_data("auth.example.com", SYNCED | ATTESTED, 0, &attested);
    let mut response = Response { authenticator_data: data, ..authenticator.get(&party(), &CHALLENGE) };
    authenticator.sign(&mut response);
    assert_eq!(assert(&authenticator, 0, &response).unwrap_err(), Fault::AuthenticatorData);
    let data = authenticator_data("auth.example.com", SYNCED, 0, &[]);
    let response = Response { authenticator_data: data, ..authenticator.create(&party(), &CHALLENGE) };
    assert_eq!(register(&response).unwrap_err(), Fault::AuthenticatorData);
}

#[test]
fn a_registration_names_the_credential_and_the_key_that_the_authenticator_made() {
    let authenticator = authenticator();
    let good = authenticator.create(&party(), &CHALLENGE);
    let refused = |response: Response| register(&response).unwrap_err();
    assert_eq!(refused(Response { credential_id: b"credentiaL".to_vec(), ..good.clone() }), Fault::Credential);
    let other = Authenticator::new(Algorithm::Es256, ID, USER).spki();
    assert_eq!(refused(Response { public_key: other, ..good.clone() }), Fault::PublicKey);
    assert_eq!(refused(Response { public_key: Vec::new(), ..good.clone() }), Fault::PublicKey);
    for (length, fault) in [(0, true), (1, false), (MAX_CREDENTIAL_ID, false), (MAX_CREDENTIAL_ID + 1, true)] {
        let id = vec![1; length];
        let data = attested(&id, &authenticator.cose());
        let authenticator_data = authenticator_data("auth.example.com", SYNCED | ATTESTED, 0, &data);
        let response = Response { credential_id: id, authenticator_data, ..good.clone() };
        assert_eq!(register(&response).err(), fault.then_some(Fault::AuthenticatorData), "{length}");
    }
}

#[test]
fn a_key_has_an_algorithm_of_the_list_and_one_spelling() {
    let cose = |algorithm| Authenticator::new(algorithm, ID, USER).cose();
    let (ec, ed, rsa) = (cose(Algorithm::Es256), cose(Algorithm::EdDsa), cose(Algorithm::Rs256));
    let with = |cose: &[u8], at: usize, byte: u8| {
        let mut cose = cose.to_vec();
        cose[at] = byte;
        cose
    };
    // The length is in bytes 9 and 10, and the number follows.
    let rsa_of = |n: &[u8]| {
        let length = u16::try_from(n.len()).unwrap().to_be_bytes();
        [&rsa[..9], &length, n, &rsa[rsa.len() - 5..]].concat()
    };
    let n = &rsa[11..267];
    let not_on_the_curve = with(&ec, ec.len() - 1, ec[ec.len() - 1] ^ 1);
    for (what, cose) in [
        ("ES384", with(&ec, 4, 0x38)),
        ("P-384", with(&ec, 6, 2)),
        ("another kind", with(&ec, 2, 3)),
        ("a point beside the curve", not_on_the_curve),
        ("a short y", ec[..ec.len() - 1].to_vec()),
        ("something behind", [ec.as_slice(), &[0]].concat()),
        ("another order", [b"\xa5\x03\x26\x01\x02".as_slice(), &ec[5..]].concat()),
        ("Ed448", with(&ed, 6, 7)),
        ("a short x", ed[..ed.len() - 1].to_vec()),
        ("RS1", with(&rsa, 6, 0xff)),
        ("RSA with 2040 bits", rsa_of(&n[1..])),
        ("RSA with 2047 bits", rsa_of(&with(n, 0, 0x7f))),
        ("RSA with a leading zero", rsa_of(&[&[0], n].concat())),
        ("RSA with 4104 bits", rsa_of(&[0xff; 513])),
        ("RSA without a number", rsa_of(&[])),
        ("another exponent", with(&rsa, rsa.len() - 1, 3)),
        ("nothing", Vec::new()),
        ("an empty map", vec![0xa0]),
    ] {
        assert_eq!(PublicKey::from_cose(&cose).err(), Some(Fault::PublicKey), "{what}");
    }
    for good in [&ec, &ed, &rsa, &rsa_of(&[n, n].concat())] {
        PublicKey::from_cose(good).unwrap();
    }
}

#[test]
fn a_signature_is_that_of_the_key_over_these_bytes() {
    for algorithm in Algorithm::ALL {
        let authenticator = Authenticator::new(algorithm, ID, USER);
        let good = authenticator.get(&party(), &CHALLENGE);
        assert(&authenticator, 0, &good).unwrap();
        let other = Authenticator::new(algorithm, ID, USER).get(&party(), &CHALLENGE);
        let mut flipped = good.signature.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for signature in [other.signature, flipped, Vec::new(), vec![0; 64], vec![0; 256]] {
            let response = Response { signature, ..good.clone() };
            assert_eq!(assert(&authenticator, 0, &response).unwrap_err(), Fault::Signature, "{algorithm:?}");
        }
        let counted = authenticator_data("auth.example.com", SYNCED, 9, &[]);
        let more = client_data("get", &CHALLENGE, "https://auth.example.com", "");
        for unsigned in
            [Response { authenticator_data: counted, ..good.clone() }, Response { client_data: more, ..good.clone() }]
        {
            assert_eq!(assert(&authenticator, 0, &unsigned).unwrap_err(), Fault::Signature, "{algorithm:?}");
        }
    }
}

#[test]
fn an_assertion_is_that_of_the_credential_and_of_its_owner() {
    let authenticator = authenticator();
    let good = authenticator.get(&party(), &CHALLENGE);
    let other = Response { credential_id: b"other".to_vec(), ..good.clone() };
    assert_eq!(assert(&authenticator, 0, &other).unwrap_err(), Fault::Credential);
    let other = Response { user_handle: Some(b"other".to_vec()), ..good.clone() };
    assert_eq!(assert(&authenticator, 0, &other).unwrap_err(), Fault::User);
    // An authenticator that was told which credential to use may leave it out.
    assert(&authenticator, 0, &Response { user_handle: None, ..good }).unwrap();
}

#[test]
fn whether_a_credential_may_be_backed_up_never_changes() {
    let mut authenticator = authenticator();
    authenticator.flags = 0b101;
    let response = authenticator.get(&party(), &CHALLENGE);
    assert_eq!(assert(&authenticator, 0, &response).unwrap_err(), Fault::Backup);
    authenticator.flags = SYNCED & !(1 << 4);
    let asserted = assert(&authenticator, 0, &authenticator.get(&party(), &CHALLENGE)).unwrap();
    assert!(!asserted.is_backed_up(), "whether it is backed up may");
}

#[test]
fn the_counter_grows_unless_there_is_none() {
    for (stored, sent, good) in [
        (0, 0, true),
        (0, 1, true),
        (1, 2, true),
        (1, u32::MAX, true),
        (1, 1, false),
        (2, 1, false),
        (1, 0, false),
        (u32::MAX, 0, false),
        (u32::MAX, u32::MAX, false),
    ] {
        let mut authenticator = authenticator();
        authenticator.counter = sent;
        let asserted = assert(&authenticator, stored, &authenticator.get(&party(), &CHALLENGE));
        assert_eq!(asserted.err(), (!good).then_some(Fault::Counter), "{stored} {sent}");
    }
}

#[test]
fn the_relying_party_is_that_of_the_public_url() {
    for (url, id, origin) in [
        ("https://auth.example.com", "auth.example.com", "https://auth.example.com"),
        ("https://Auth.Example.com:443/path", "auth.example.com", "https://auth.example.com"),
        ("https://auth.example.com:8443", "auth.example.com", "https://auth.example.com:8443"),
        ("http://localhost:8080", "localhost", "http://localhost:8080"),
        ("http://localhost:80", "localhost", "http://localhost"),
        ("http://id.localhost:1", "id.localhost", "http://id.localhost:1"),
    ] {
        let party = RelyingParty::of(url).unwrap();
        assert_eq!((party.id(), party.origin()), (id, origin), "{url}");
    }
    for url in ["http://auth.example.com", "https://127.0.0.1", "http://[::1]:8080", "https://10.0.0.1:1", "nonsense"] {
        assert_eq!(RelyingParty::of(url), None, "{url}");
    }
}
