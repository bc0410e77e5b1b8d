//! The provider's signing keys: fetched when needed, parsed once, fetched again when a token names an unknown one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters as Parameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::ProviderError;
use super::http::Http;
use super::published::Published;

/// Maximum fetches per minute, so that tokens with unknown keys cannot make authd flood the provider.
const FETCHES_PER_MINUTE: usize = 5;
const MAX_KEYS: usize = 64;

/// A key and the one algorithm that it is for (RFC 8725 §3.1): the token cannot choose the algorithm.
#[derive(Debug)]
struct Key {
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Keys by their ids.
#[derive(Debug)]
pub struct KeySet(HashMap<String, Key>);

/// The key set of one provider.
#[derive(Debug, Default)]
pub struct Keys {
    set: Published<KeySet>,
    /// When the last fetches began.
    began: Mutex<Vec<Instant>>,
}

impl Keys {
    /// Ensures that there are keys, before a step that cannot be repeated.
    pub async fn ready(&self, http: &Http, uri: &str) -> Result<(), ProviderError> {
        self.set.find(None, self.fetch(http, uri)).await.map(drop)
    }

    /// Verifies the signature of a token and returns its claims.
    pub async fn verify(&self, http: &Http, uri: &str, token: &str) -> Result<Map<String, Value>, ProviderError> {
        let kid = header(token)?.kid.unwrap_or_default();
        let mut set = self.set.find(None, self.fetch(http, uri)).await?;
        if set.find(&kid).is_none() {
            set = self.set.find(Some(&set), self.fetch(http, uri)).await?;
        }
        set.verify(token)
    }

    async fn fetch(&self, http: &Http, uri: &str) -> Result<KeySet, ProviderError> {
        if self.is_too_often() {
            return Err(ProviderError::Unavailable("its keys were fetched too often within a minute".into()));
        }
        let document = http.get(uri).await?;
        KeySet::parse(&document)
            .map_err(|reason| ProviderError::Unusable(format!("its key set is not usable: {reason}")))
    }

    /// Counts a fetch; returns whether there were too many in the last minute.
    fn is_too_often(&self) -> bool {
        let mut began = self.began.lock().unwrap_or_else(PoisonError::into_inner);
        began.retain(|at| at.elapsed() < Duration::from_mins(1));
        let is_too_often = began.len() >= FETCHES_PER_MINUTE;
        if !is_too_often {
            began.push(Instant::now());
        }
        is_too_often
    }
}

impl KeySet {
    /// Parses all keys that can sign; keys of unknown kinds are skipped, since providers publish those too.
    pub fn parse(body: &[u8]) -> Result<Self, &'static str> {
        #[derive(serde::Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let document: Document = serde_json::from_slice(body).map_err(|_| "not a JSON Web Key Set")?;
        if document.keys.len() > MAX_KEYS {
            return Err("more than 64 keys");
        }
        let known = document.keys.into_iter().filter_map(|key| {
            let jwk: Jwk = serde_json::from_value(key).ok()?;
            let key = Key { algorithm: algorithm(&jwk)?, key: DecodingKey::from_jwk(&jwk).ok()? };
            Some((jwk.common.key_id.unwrap_or_default(), key))
        });
        let keys: HashMap<String, Key> = known.collect();
        if keys.is_empty() { Err("it has no key that can sign ID tokens") } else { Ok(Self(keys)) }
    }

    /// Verifies the signature of a token by the key that it names, and returns its claims.
    pub fn verify(&self, token: &str) -> Result<Map<String, Value>, ProviderError> {
        let header = header(token)?;
        let kid = header.kid.as_deref().unwrap_or_default();
        let key = self.find(kid).ok_or_else(|| unusable("signed by a key that the provider does not publish"))?;
        if key.algorithm != header.alg {
            return Err(unusable("signed by another algorithm than its key's"));
        }
        let mut validation = Validation::new(key.algorithm);
        // id_token::check checks the claims, with authd's clock and in one place.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let data =
            jsonwebtoken::decode(token, &key.key, &validation).map_err(|_| unusable("its signature is not valid"))?;
        Ok(data.claims)
    }

    /// Finds a key by its id. A token that names no key is accepted only if there is one key.
    fn find(&self, kid: &str) -> Option<&Key> {
        match kid {
            "" if self.0.len() == 1 => self.0.values().next(),
            kid => self.0.get(kid),
        }
    }
}

fn unusable(reason: &str) -> ProviderError {
    ProviderError::Unusable(format!("its ID token is not usable: {reason}"))
}

/// The header of a token, which is not verified yet.
fn header(token: &str) -> Result<Header, ProviderError> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| unusable("not a signed JWT of a known algorithm"))?;
    if header.crit.is_some() { Err(unusable("it requires an unknown extension")) } else { Ok(header) }
}

/// The algorithm that the key names, or the one of its kind; never a symmetric one.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    if jwk.common.public_key_use.as_ref().is_some_and(|intended| *intended != PublicKeyUse::Signature) {
        return None;
    }
    match (&jwk.algorithm, jwk.common.key_algorithm) {
        (Parameters::RSA(_), None | Some(KeyAlgorithm::RS256)) => Some(Algorithm::RS256),
        (Parameters::RSA(_), Some(KeyAlgorithm::RS384)) => Some(Algorithm::RS384),
        (Parameters::RSA(_), Some(KeyAlgorithm::RS512)) => Some(Algorithm::RS512),
        (Parameters::RSA(_), Some(KeyAlgorithm::PS256)) => Some(Algorithm::PS256),
        (Parameters::RSA(_), Some(KeyAlgorithm::PS384)) => Some(Algorithm::PS384),
        (Parameters::RSA(_), Some(KeyAlgorithm::PS512)) => Some(Algorithm::PS512),
        (Parameters::EllipticCurve(key), named) => match (&key.curve, named) {
            (EllipticCurve::P256, None | Some(KeyAlgorithm::ES256)) => Some(Algorithm::ES256),
            (EllipticCurve::P384, None | Some(KeyAlgorithm::ES384)) => Some(Algorithm::ES384),
            _ => None,
        },
        (Parameters::OctetKeyPair(key), None | Some(KeyAlgorithm::EdDSA)) if key.curve == EllipticCurve::Ed25519 => {
            Some(Algorithm::EdDSA)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_key_carries_its_algorithm_and_symmetric_ones_never_count() {
        let rsa = json!({"kty": "RSA", "kid": "r", "use": "sig", "n": "sXch", "e": "AQAB"});
        let of = |key: Value| serde_json::from_value::<Jwk>(key).ok().and_then(|jwk| algorithm(&jwk));
        assert_eq!(of(rsa.clone()), Some(Algorithm::RS256));
        let mut other = rsa.clone();
        other["alg"] = json!("HS256");
        assert_eq!(of(other.clone()), None);
        other["alg"] = json!("RS256");
        other["use"] = json!("enc");
        assert_eq!(of(other), None);
        assert_eq!(of(json!({"kty": "oct", "kid": "o", "alg": "HS256", "k": "c2VjcmV0"})), None);
        assert_eq!(of(json!({"kty": "EC", "crv": "P-256", "alg": "ES384", "x": "AA", "y": "AA"})), None);
    }

    #[test]
    fn nonsense_is_not_a_key_set() {
        for body in ["", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[]}", "<html>", "{\"keys\":[{\"kty\":\"RSA\"}]}"] {
            assert!(KeySet::parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
