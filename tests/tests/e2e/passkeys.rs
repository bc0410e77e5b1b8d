//! The verifier of passkeys agrees with two others on assertions that are mutated in every way.

mod mutations;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Output;
use std::time::Duration;

use authd::webauthn::{self, Credential, Fault, PublicKey, RelyingParty};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tests::rig;

use self::mutations::{
    ATTESTED, Assertion, CHALLENGE, CREDENTIAL_ID, EXTENSIONS, Key, LONGER_SIGNATURE, Numbers, ORIGIN, RP_ID,
    USER_HANDLE, mutated,
};

const COUNT: usize = 10_000;
const SEED: u64 = 0x5eed;
/// 10,000 signatures, on a machine that does much else.
const MINUTES: Duration = Duration::from_mins(5);

const SIMPLE: &str = "@simplewebauthn/server";
const FIDO2: &str = "fido2";

/// What a peer accepts and authd refuses, and why that is no defect of either.
const DIFFERENCES: [(&str, &str, &str); 13] = [
    (SIMPLE, "frame", "a frame of another origin is accepted where topOrigin does not say which"),
    (SIMPLE, "backup", "whether backup eligibility is that of the registration is left to the caller"),
    (SIMPLE, "attested", "a credential in an assertion is read and ignored"),
    (SIMPLE, "user", "the user handle is left to the caller"),
    (SIMPLE, "encoding", "client data that is not UTF-8 is read with replacement characters"),
    (SIMPLE, "longer", "what follows the numbers of an ECDSA signature is ignored"),
    (FIDO2, "frame", "frames are left to the caller"),
    (FIDO2, "backup", "the flags of backup are left to the caller"),
    (FIDO2, "attested", "a credential in an assertion is read and ignored"),
    (FIDO2, "user", "the user handle is left to the caller"),
    (FIDO2, "counter", "the counter is left to the caller"),
    (FIDO2, "challenge", "the challenge is compared as bytes: padding is accepted"),
    (FIDO2, "extensions", "extensions may be any value of CBOR"),
];

/// The name of the difference that may be the reason why authd refuses what a peer accepts.
fn difference(made: &Assertion, fault: Fault) -> Option<&'static str> {
    let flags = made.authenticator_data.get(32).copied().unwrap_or_default();
    match fault {
        Fault::CrossOrigin => Some("frame"),
        Fault::Backup => Some("backup"),
        Fault::User => Some("user"),
        Fault::Counter => Some("counter"),
        Fault::AuthenticatorData if flags & ATTESTED != 0 => Some("attested"),
        Fault::AuthenticatorData if flags & EXTENSIONS != 0 => Some("extensions"),
        Fault::Challenge => Some("challenge"),
        Fault::ClientData if std::str::from_utf8(&made.client_data).is_err() => Some("encoding"),
        Fault::Signature if made.mutation == LONGER_SIGNATURE => Some("longer"),
        _ => None,
    }
}

fn ours(key: &PublicKey, made: &Assertion) -> Result<(), Fault> {
    let party = RelyingParty::of(ORIGIN).expect("it may have passkeys");
    let credential = Credential {
        id: CREDENTIAL_ID,
        user_handle: USER_HANDLE,
        key,
        counter: made.stored_counter,
        is_backup_eligible: true,
    };
    let assertion = webauthn::Assertion {
        credential_id: CREDENTIAL_ID,
        client_data: &made.client_data,
        authenticator_data: &made.authenticator_data,
        signature: &made.signature,
        user_handle: Some(&made.user_handle),
    };
    party.verify_assertion(&CHALLENGE, &credential, &assertion).map(|_| ())
}

/// An assertion as the peers read it.
fn line(cose: &[u8], made: &Assertion) -> String {
    let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let line = json!({
        "rp_id": RP_ID,
        "origin": ORIGIN,
        "challenge": text(&CHALLENGE),
        "credential_id": text(CREDENTIAL_ID),
        "public_key": text(cose),
        "counter": made.stored_counter,
        "client_data": text(&made.client_data),
        "authenticator_data": text(&made.authenticator_data),
        "signature": text(&made.signature),
        "user_handle": text(&made.user_handle),
    });
    format!("{line}\n")
}

fn verdicts(output: Output) -> Vec<Value> {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let verdicts: Vec<Value> =
        output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(verdicts.len(), COUNT, "{error}");
    verdicts
}

#[test]
fn two_other_verifiers_agree_on_ten_thousand_mutated_assertions() {
    let mut numbers = Numbers(SEED);
    let keys = Key::all();
    let public = keys.each_ref().map(|key| PublicKey::from_cose(&key.cose()).expect("the key is of the list"));
    let cases: Vec<(usize, Assertion)> = (0..COUNT)
        .map(|_| {
            let key = numbers.below(keys.len());
            (key, mutated(&mut numbers, &keys[key]))
        })
        .collect();
    let lines: String = cases.iter().map(|(key, made)| line(&keys[*key].cose(), made)).collect();
    let peers = [(SIMPLE, "passkeys.mjs"), (FIDO2, "passkeys.py")]
        .map(|(peer, script)| (peer, rig::script(script).stdin(lines.clone()).start_piped()));

    let ours: Vec<Result<(), Fault>> = cases.iter().map(|(key, made)| ours(&public[*key], made)).collect();
    let mut mutations: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for ((_, made), verdict) in cases.iter().zip(&ours) {
        let (accepted, refused) = mutations.entry(made.mutation).or_default();
        *(if verdict.is_ok() { accepted } else { refused }) += 1;
    }
    println!("accepted and refused, by mutation: {mutations:?}");
    assert!(mutations["none"].0 > COUNT / 20 && mutations["none"].1 == 0);

    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    for (peer, running) in peers {
        for (((_, made), ours), theirs) in cases.iter().zip(&ours).zip(verdicts(running.finish(MINUTES))) {
            if ours.is_ok() == (theirs["verified"] == true) {
                continue;
            }
            let named = ours.err().and_then(|fault| difference(made, fault));
            let named = DIFFERENCES.iter().find(|(of, name, _)| *of == peer && Some(*name) == named);
            match named {
                Some((peer, name, _)) => drop(seen.insert((*peer, *name))),
                None => wrong.push(format!("{peer}: {theirs}, ours: {ours:?}, of {made:?}")),
            }
        }
    }
    let shown: Vec<_> = wrong.iter().take(10).collect();
    assert!(wrong.is_empty(), "{} verdicts differ, such as {shown:#?}", wrong.len());
    let listed: BTreeSet<_> = DIFFERENCES.iter().map(|(peer, name, _)| (*peer, *name)).collect();
    assert_eq!(seen, listed, "a difference that is not met any more is to be removed");
}
