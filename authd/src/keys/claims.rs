//! The claims of the tokens that authd signs for itself (RFC 7519 §4.1), with times in seconds.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::env::{Millis, SECOND, SKEW};

/// The claims of a signed token.
#[derive(Serialize, Deserialize)]
pub struct Claims {
    /// What the token is looked up by. That of a link is as secret as the token.
    pub jti: String,
    pub iss: String,
    pub sub: String,
    /// What the token is for.
    pub knd: String,
    /// The address that the token was mailed to, where the subject is a user. It is shown, and decides nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    iat: i64,
    nbf: i64,
    exp: i64,
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.knd)
    }
}

impl Claims {
    /// Claims that hold until `expires_at`, and begin as long before now as the clock of another node may be behind.
    pub fn new(issuer: &str, kind: &str, subject: String, jti: String, now: Millis, expires_at: Millis) -> Self {
        let seconds = |millis: Millis| millis.div_euclid(SECOND);
        let (iss, knd) = (issuer.to_owned(), kind.to_owned());
        Self {
            jti,
            iss,
            sub: subject,
            knd,
            email: None,
            iat: seconds(now),
            nbf: seconds(now - SKEW),
            exp: seconds(expires_at),
        }
    }

    /// With an address for people to see.
    #[must_use]
    pub fn shown(self, email: Option<String>) -> Self {
        Self { email, ..self }
    }

    /// Whether they are of this issuer and in their time, without leeway.
    pub fn hold(&self, issuer: &str, now: Millis) -> bool {
        let is_begun = self.nbf.checked_mul(SECOND).is_some_and(|nbf| nbf <= now);
        let is_over = self.exp.checked_mul(SECOND).is_none_or(|exp| exp <= now);
        is_begun && !is_over && self.iss == issuer
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn claims_are_of_this_issuer_and_in_their_time_without_leeway() {
        let claims =
            json!({ "jti": "j", "iss": "https://a", "sub": "s", "knd": "Reset", "iat": 100, "nbf": 100, "exp": 200 });
        let judge = |claims: &Value, now| {
            serde_json::from_value::<Claims>(claims.clone()).is_ok_and(|claims| claims.hold("https://a", now))
        };
        for (now, good) in [(99_999, false), (100_000, true), (199_999, true), (200_000, false)] {
            assert_eq!(judge(&claims, now), good, "{now}");
        }
        for (name, value) in [
            ("iss", json!("https://b")),
            ("iss", json!(["https://a"])),
            ("exp", json!("200")),
            ("exp", json!(200.5)),
            ("exp", json!(i64::MAX)),
            ("nbf", json!(null)),
            ("jti", json!(1)),
            ("knd", json!({})),
        ] {
            let mut other = claims.clone();
            other[name] = value;
            assert!(!judge(&other, 150_000), "{other}");
        }
    }
}
