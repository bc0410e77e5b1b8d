//! Keys that sign tokens: ECDSA with P-256 and SHA-256 (ES256, RFC 7518 §3.4). One secret of the ring is the private key.
//!
//! A signing key is *published* from its creation, so that every node knows it before the first token of it, *active*
//! from a stored moment, and *retired* from another, after the last token that it signed has expired. The newest active
//! key signs; a published key verifies too, a retired one does not.

use std::sync::atomic::Ordering;

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use uuid::Uuid;

use super::seal::Secret;
use super::{Claims, KeyError, KeyRing, Purpose};
use crate::env::{HOUR, Millis, SECOND, SKEW};

/// How long a key is published before it signs: longer than any node takes to read the ring again.
pub(super) const PUBLISHED: Millis = HOUR;

/// The longest signed token, in bytes; ours are a third of that.
pub const MAX_TOKEN: usize = 2_048;

/// The shortest time between two looks into the database for an unknown key.
pub(super) const RELOAD_PAUSE: Millis = 5 * SECOND;

/// When a signing key changes its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub active_at: Millis,
    pub retired_at: Option<Millis>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Published,
    Active,
    Retired,
}

impl Times {
    pub fn state(self, now: Millis) -> State {
        match self.retired_at {
            Some(at) if at <= now => State::Retired,
            _ if self.active_at <= now => State::Active,
            _ => State::Published,
        }
    }
}

/// A private key with its public one.
pub(super) struct SigningKey {
    pub times: Times,
    private: EncodingKey,
    public: DecodingKey,
}

impl SigningKey {
    /// The pair of a private key; an error for the one in 2^32 secrets that is none.
    pub fn new(secret: &Secret, times: Times) -> Result<Self, KeyError> {
        let public = public(secret)?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            secret.as_slice(),
            public.as_ref(),
        );
        let document = pair.map_err(|_| KeyError::Broken)?.to_pkcs8v1().map_err(|_| KeyError::Broken)?;
        let (private, public) =
            (EncodingKey::from_ec_der(document.as_ref()), DecodingKey::from_ec_der(public.as_ref()));
        Ok(Self { times, private, public })
    }

    pub fn sign(&self, purpose: Purpose, id: String, claims: &Claims) -> Result<String, KeyError> {
        let typ = purpose.typ().map(str::to_owned);
        let header = Header { kid: Some(id), typ, ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.private).map_err(|_| KeyError::Broken)
    }

    /// The claims of a token that this key has signed. They are not judged.
    pub fn verify(&self, token: &str) -> Result<Claims, KeyError> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        jsonwebtoken::decode(token, &self.public, &validation).map(|data| data.claims).map_err(|_| KeyError::Broken)
    }
}

impl KeyRing {
    /// Signs the claims of a token (JWS compact, ES256) with the active key.
    pub fn sign(&self, purpose: Purpose, claims: &Claims) -> Result<String, KeyError> {
        let keys = self.keys();
        let of_purpose = keys.signing.iter().filter(|(_, (of, _))| *of == purpose);
        let times = of_purpose.map(|(id, (_, key))| ((*id, key), key.times));
        let signer = signer(times, self.env.now());
        let (id, key) = signer.ok_or_else(|| KeyError::Unknown(format!("for {}", purpose.name())))?;
        key.sign(purpose, id.to_string(), claims)
    }

    /// The claims of a token that a key of this purpose has signed and that has not retired since; `None` for any other
    /// text. The claims are not judged. A key that this node does not know yet is read from the database, seldom.
    pub async fn verify(&self, purpose: Purpose, token: &str) -> Result<Option<Claims>, KeyError> {
        let Some(id) = key_id(purpose, token).and_then(|id| Uuid::parse_str(&id).ok()) else { return Ok(None) };
        if !self.keys().signing.contains_key(&id) && self.may_reload() {
            self.reload().await.inspect_err(|_| self.reloaded_at.store(Millis::MIN, Ordering::Relaxed))?;
        }
        let keys = self.keys();
        let Some((of, key)) = keys.signing.get(&id) else { return Ok(None) };
        if *of != purpose || key.times.state(self.env.now()) == State::Retired {
            return Ok(None);
        }
        Ok(key.verify(token).ok())
    }

    /// Whether the ring may be read again for an unknown key, which anybody can name: once in [`RELOAD_PAUSE`].
    pub(super) fn may_reload(&self) -> bool {
        let (now, last) = (self.env.now(), self.reloaded_at.load(Ordering::Relaxed));
        let is_due = now < last || now >= last.saturating_add(RELOAD_PAUSE);
        is_due && self.reloaded_at.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Whether a secret is a private key.
pub(super) fn is_private_key(secret: &Secret) -> bool {
    public(secret).is_ok()
}

fn public(secret: &Secret) -> Result<impl AsRef<[u8]> + use<>, KeyError> {
    let private = PrivateKey::from_private_key(&ECDH_P256, secret.as_slice()).map_err(|_| KeyError::Broken)?;
    private.compute_public_key().map_err(|_| KeyError::Broken)
}

/// The id of the key that a token of this purpose names. The token's form is bounded here: three parts, ES256, its `typ`,
/// no extension.
pub fn key_id(purpose: Purpose, token: &str) -> Option<String> {
    // {" in base64: other texts are not decoded.
    if token.len() > MAX_TOKEN || !token.starts_with("eyJ") || token.split('.').count() != 3 {
        return None;
    }
    let header = jsonwebtoken::decode_header(token).ok()?;
    let is_ours = header.alg == Algorithm::ES256 && header.crit.is_none() && header.typ.as_deref() == purpose.typ();
    header.kid.filter(|_| is_ours)
}

/// The key that signs now: the newest active one. Where a clock that was set back makes none active, the oldest that is
/// not retired, which signed then.
pub(super) fn signer<Id>(keys: impl DoubleEndedIterator<Item = (Id, Times)> + Clone, now: Millis) -> Option<Id> {
    let active = keys.clone().rfind(|(_, times)| times.state(now) == State::Active);
    let (id, _) = active.or_else(|| keys.clone().find(|(_, times)| times.state(now) == State::Published))?;
    Some(id)
}

/// When the key before it retires, and the new one becomes active.
pub(super) fn rotation(now: Millis, longest_token: Millis) -> (Millis, Times) {
    let active_at = now + PUBLISHED;
    (active_at + longest_token + SKEW, Times { active_at, retired_at: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_published_before_it_signs_and_verifies_until_its_last_token_has_expired() {
        let (now, day) = (1_000_000_000, 24 * HOUR);
        let first = Times { active_at: 0, retired_at: None };
        let (retired_at, second) = rotation(now, day);
        let first = Times { retired_at: Some(retired_at), ..first };
        let keys = [(1, first), (2, second)];
        let states = |at| (first.state(at), second.state(at), signer(keys.into_iter(), at));
        assert_eq!(states(now), (State::Active, State::Published, Some(1)));
        assert_eq!(states(now + PUBLISHED - 1), (State::Active, State::Published, Some(1)));
        assert_eq!(states(now + PUBLISHED), (State::Active, State::Active, Some(2)));
        let last_token_ends = now + PUBLISHED + day;
        assert_eq!(states(last_token_ends + SKEW - 1).0, State::Active);
        assert_eq!(states(last_token_ends + SKEW), (State::Retired, State::Active, Some(2)));
        assert_eq!(signer([(3, Times { active_at: now + day, retired_at: None })].into_iter(), now), Some(3));
        assert_eq!(signer([(1, first)].into_iter(), retired_at), None);
    }

    #[test]
    fn only_a_token_of_three_parts_with_es256_and_a_key_names_one() {
        let typed = |json: &str| key_id(Purpose::SignLink, json);
        let header = |json: &str| {
            use base64::Engine;
            format!("{}.e30.AA", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json))
        };
        assert_eq!(typed(&header(r#"{"alg":"ES256","typ":"authd-link+jwt","kid":"a"}"#)).as_deref(), Some("a"));
        for refused in [
            r#"{"alg":"none","typ":"authd-link+jwt","kid":"a"}"#,
            r#"{"alg":"HS256","typ":"authd-link+jwt","kid":"a"}"#,
            r#"{"alg":"ES384","typ":"authd-link+jwt","kid":"a"}"#,
            r#"{"alg":"ES256","typ":"authd-session+jwt","kid":"a"}"#,
            r#"{"alg":"ES256","typ":"JWT","kid":"a"}"#,
            r#"{"alg":"ES256","kid":"a"}"#,
            r#"{"alg":"ES256","typ":"authd-link+jwt"}"#,
            r#"{"alg":"ES256","typ":"authd-link+jwt","kid":"a","crit":["b64"]}"#,
            "[]",
        ] {
            assert_eq!(typed(&header(refused)), None, "{refused}");
        }
        let long = header(r#"{"alg":"ES256","typ":"authd-link+jwt","kid":"a"}"#) + &"A".repeat(MAX_TOKEN);
        for refused in ["", "a.b", "a.b.c.d", long.as_str()] {
            assert_eq!(typed(refused), None, "{refused:.20}");
        }
    }
}
