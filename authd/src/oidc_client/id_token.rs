//! Checks of an ID token's claims (OpenID Connect Core §3.1.3.7, RFC 8725), and the identity in it.
//!
//! Pure: the signature was checked before, the time is an argument.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use super::Config;
use crate::env::{Millis, SECOND};

/// The allowed difference between the provider's clock and ours.
const LEEWAY: Millis = 60 * SECOND;
const MAX_GROUPS: usize = 500;
const MAX_CLAIM: usize = 1024;

/// The identity of the person who signed in, built only from a verified token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub issuer: String,
    pub subject: String,
    pub email: Option<String>,
    /// Whether the provider has verified the address; without that it may be anybody's.
    pub email_verified: bool,
    pub name: Option<String>,
    /// What the provider calls the person, only to show it: people may choose it. Never what looks like an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    pub groups: Vec<String>,
    /// Why the claim of groups was of no use; the person then counts as in no group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups_fault: Option<String>,
    /// When the person last authenticated at the provider.
    pub auth_time: Option<Millis>,
}

impl Identity {
    /// The name of the person in lists and pages: a verified address, else the user name, else the subject.
    pub fn display(&self) -> &str {
        let email = self.email.as_deref().filter(|_| self.email_verified);
        email.or(self.username.as_deref()).unwrap_or(&self.subject)
    }
}

/// Checks the claims of a token whose signature is valid. `nonce` is authd's for this login; a refreshed token need not
/// have one. The error says which claim is wrong, never its value.
pub fn check(
    provider: &Config,
    claims: &Map<String, Value>,
    nonce: Option<&str>,
    now: Millis,
) -> Result<(Identity, Millis), String> {
    let text = |name: &str| claim(claims, name).and_then(Value::as_str).filter(|text| text.len() <= MAX_CLAIM);
    if text("iss") != Some(&provider.issuer) {
        return Err("iss is not the configured issuer".into());
    }
    check_audience(claims, &provider.client_id)?;
    let expires_at = time(claims, "exp")?.ok_or("exp is missing")?;
    if expires_at + LEEWAY <= now {
        return Err("exp is past".into());
    }
    for name in ["nbf", "iat"] {
        if time(claims, name)?.is_some_and(|at| at > now + LEEWAY) {
            return Err(format!("{name} is in the future"));
        }
    }
    if provider.require_token_use && text("token_use") != Some("id") {
        return Err("token_use is not id".into());
    }
    if let Some(nonce) = nonce {
        let given = text("nonce").ok_or("nonce is missing")?;
        if !bool::from(given.as_bytes().ct_eq(nonce.as_bytes())) {
            return Err("nonce is of another login".into());
        }
    }
    let subject = text("sub").filter(|subject| !subject.is_empty()).ok_or("sub is missing")?;
    let (groups, groups_fault) = match groups(claim(claims, &provider.groups_claim)) {
        Ok(groups) => (groups, None),
        Err(fault) => (Vec::new(), Some(format!("the claim {} {fault}", provider.groups_claim))),
    };
    let email_verified = match claim(claims, "email_verified") {
        Some(Value::Bool(verified)) => *verified,
        // Cognito sends a string in some answers.
        Some(Value::String(verified)) => verified == "true",
        _ => false,
    };
    let username = ["preferred_username", "cognito:username"].into_iter().find_map(text);
    let username =
        username.filter(|name| shared::names::check_visible(name, shared::names::MAX).is_ok() && !name.contains('@'));
    let identity = Identity {
        issuer: provider.issuer.clone(),
        subject: subject.to_owned(),
        email: text("email").map(str::to_owned),
        email_verified,
        name: text("name").map(str::to_owned),
        username: username.map(str::to_owned),
        groups,
        groups_fault,
        auth_time: time(claims, "auth_time")?,
    };
    Ok((identity, expires_at))
}

/// A claim; null is absent.
fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).filter(|value| !value.is_null())
}

/// `aud` must be our client; if it names others too, `azp` must be our client.
fn check_audience(claims: &Map<String, Value>, client_id: &str) -> Result<(), String> {
    let several = match claim(claims, "aud") {
        Some(Value::String(audience)) if audience == client_id => false,
        Some(Value::Array(audiences)) if audiences.iter().any(|audience| audience == client_id) => audiences.len() > 1,
        _ => return Err("aud does not name our client id".into()),
    };
    match claim(claims, "azp") {
        Some(party) if party == client_id => Ok(()),
        Some(_) => Err("azp is another client".into()),
        None if several => Err("aud names several clients and azp is missing".into()),
        None => Ok(()),
    }
}

/// A NumericDate (RFC 7519 §2), in milliseconds.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<Millis>, String> {
    /// The year 9999: later dates are invalid and would overflow.
    const LAST: Millis = 253_402_300_799;
    let Some(value) = claim(claims, name) else { return Ok(None) };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a fraction of a second does not matter, and the range is checked"
    )]
    let seconds = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64));
    match seconds {
        Some(seconds) if (0..=LAST).contains(&seconds) => Ok(Some(seconds * SECOND)),
        _ => Err(format!("{name} is not a time")),
    }
}

/// A list of names; a single name counts as a list of one. The error completes a sentence about the claim.
fn groups(claim: Option<&Value>) -> Result<Vec<String>, String> {
    let names = match claim {
        None => &[],
        Some(Value::Array(names)) => names.as_slice(),
        Some(name) => std::slice::from_ref(name),
    };
    if names.len() > MAX_GROUPS {
        return Err(format!("has more than {MAX_GROUPS} groups"));
    }
    let name = |name: &Value| name.as_str().filter(|name| name.len() <= MAX_CLAIM).map(str::to_owned);
    names.iter().map(|value| name(value).ok_or_else(|| "is not a list of names".to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Millis = 1_800_000_000_000;

    fn provider() -> Config {
        Config {
            issuer: "https://id.example/pool".into(),
            client_id: "us".into(),
            groups_claim: "cognito:groups".into(),
            require_token_use: true,
            ..Config::default()
        }
    }

    fn claims() -> Map<String, Value> {
        let claims = json!({
            "iss": "https://id.example/pool", "aud": "us", "sub": "s-1", "exp": 1_800_000_600, "iat": 1_800_000_000, "nonce": "n",
            "token_use": "id", "email": "a@example.test", "email_verified": true, "cognito:groups": ["dev"], "auth_time": 1_799_999_990,
        });
        claims.as_object().unwrap().clone()
    }

    #[test]
    fn a_good_token_names_the_person() {
        let (identity, expires_at) = check(&provider(), &claims(), Some("n"), NOW).unwrap();
        assert_eq!((identity.subject.as_str(), identity.display()), ("s-1", "a@example.test"));
        assert_eq!((identity.groups, identity.auth_time), (vec!["dev".to_owned()], Some(NOW - 10 * SECOND)));
        assert_eq!(expires_at, NOW + 600 * SECOND);
    }

    #[test]
    fn without_a_verified_address_the_user_name_is_shown_unless_it_looks_like_one() {
        for (claim, name, shown) in [
            ("preferred_username", "ann", "ann"),
            ("cognito:username", "ann", "ann"),
            ("preferred_username", "bob@example.test", "s-1"),
            ("preferred_username", "a\u{202e}nn", "s-1"),
            ("preferred_username", "", "s-1"),
            ("nickname", "ann", "s-1"),
        ] {
            let mut claims = claims();
            claims.insert(claim.into(), json!(name));
            assert_eq!(check(&provider(), &claims, None, NOW).unwrap().0.display(), "a@example.test");
            claims.insert("email_verified".into(), json!(false));
            assert_eq!(check(&provider(), &claims, None, NOW).unwrap().0.display(), shown, "{claim} {name}");
        }
    }

    #[test]
    fn each_wrong_claim_is_refused() {
        for (name, value, complaint) in [
            ("iss", json!("https://id.example/pool/"), "iss"),
            ("iss", Value::Null, "iss"),
            ("aud", json!("them"), "aud"),
            ("aud", json!(["them"]), "aud"),
            ("aud", json!(["us", "them"]), "azp"),
            ("azp", json!("them"), "azp"),
            ("exp", json!(1_799_999_940), "exp"),
            ("exp", Value::Null, "exp"),
            ("exp", json!("soon"), "exp"),
            ("exp", json!(1e300), "exp"),
            ("exp", json!(-1), "exp"),
            ("nbf", json!(1_800_000_061), "nbf"),
            ("iat", json!(1_800_000_061), "iat"),
            ("iat", json!("now"), "iat"),
            ("nonce", json!("m"), "nonce"),
            ("nonce", Value::Null, "nonce"),
            ("token_use", json!("access"), "token_use"),
            ("sub", json!(""), "sub"),
            ("sub", json!(7), "sub"),
        ] {
            let mut claims = claims();
            claims.insert(name.into(), value.clone());
            let refused = check(&provider(), &claims, Some("n"), NOW).expect_err(&format!("{name}: {value}"));
            assert!(refused.contains(complaint), "{name}: {value}: {refused}");
        }
        let mut without = claims();
        without.remove("exp");
        assert!(check(&provider(), &without, Some("n"), NOW).is_err());
    }

    #[test]
    fn the_clocks_may_differ_by_a_minute() {
        for (name, value) in [("exp", 1_799_999_941), ("nbf", 1_800_000_060), ("iat", 1_800_000_060)] {
            let mut claims = claims();
            claims.insert(name.into(), json!(value));
            assert!(check(&provider(), &claims, Some("n"), NOW).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_is_null_is_absent() {
        let optional = ["azp", "nbf", "iat", "auth_time", "email", "email_verified", "name", "preferred_username"];
        for name in optional.into_iter().chain(["cognito:groups", "cognito:username"]) {
            let (mut null, mut absent) = (claims(), claims());
            null.insert(name.into(), Value::Null);
            absent.remove(name);
            let checked = |claims| check(&provider(), claims, Some("n"), NOW);
            assert_eq!(checked(&null), checked(&absent), "{name}");
            assert!(checked(&null).is_ok(), "{name}");
        }
    }

    #[test]
    fn groups_that_are_no_names_are_none_and_said() {
        let many: Vec<String> = (0..=MAX_GROUPS).map(|number| number.to_string()).collect();
        for (value, fault) in [
            (json!([{"id": 1, "name": "dev"}]), "not a list of names"),
            (json!(["dev", null]), "not a list of names"),
            (json!([1]), "not a list of names"),
            (json!({"a": 1}), "not a list of names"),
            (json!(true), "not a list of names"),
            (json!(many), "more than"),
        ] {
            let mut claims = claims();
            claims.insert("cognito:groups".into(), value.clone());
            let (identity, _) = check(&provider(), &claims, Some("n"), NOW).unwrap();
            assert!(identity.groups.is_empty(), "{value}");
            assert!(identity.groups_fault.unwrap().contains(fault), "{value}");
        }
    }

    #[test]
    fn an_unverified_address_is_not_what_a_person_is_called() {
        for verified in [json!(false), json!("false"), json!(1), Value::Null] {
            let mut claims = claims();
            claims.insert("email_verified".into(), verified);
            assert_eq!(check(&provider(), &claims, None, NOW).unwrap().0.display(), "s-1");
        }
    }
}
