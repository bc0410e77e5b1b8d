//! The provider's signing keys: fetched when needed, parsed once, fetched again when a token names an unknown one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::ProviderError;
use super::failure::{Failure, since};
use super::http::Http;
use crate::env::{HOUR, MINUTE, Millis, is_younger};

/// Keys older than this are fetched again, so that a key that the provider took back does not live on here.
const MAX_AGE: Millis = HOUR;
/// While the provider does not answer, keys work this long.
const MAX_STALE: Millis = 24 * HOUR;
/// Fetches within a minute: tokens that name unknown keys must not turn us against the provider.
const FETCHES_PER_MINUTE: usize = 5;
const MAX_TOKEN: usize = 32 << 10;
const MAX_KEYS: usize = 64;

/// A key and the one algorithm that it is good for (RFC 8725 §3.1): the token has no say in it.
struct Key {
    algorithm: Algorithm,
    key: DecodingKey,
}

struct KeySet {
    keys: HashMap<String, Key>,
    fetched_at: Millis,
}

/// The key set of one provider.
#[derive(Default)]
pub struct Keys {
    current: Mutex<Option<Arc<KeySet>>>,
    /// Held while a fetch is under way, so that there is one at a time.
    fetches: tokio::sync::Mutex<Fetches>,
}

#[derive(Default)]
struct Fetches {
    /// When the last ones began.
    began: Vec<Millis>,
    /// How the last one failed, if it did.
    failed: Option<Failure>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// Makes sure that there are keys, before anything that cannot be repeated is done.
    pub async fn ready(&self, http: &Http, uri: &str, now: Millis) -> Result<(), ProviderError> {
        match self.current().filter(|set| is_younger(set.fetched_at, now, MAX_AGE)) {
            Some(_) => Ok(()),
            None => match self.fetch(http, uri, now, None).await {
                Err(_) if self.current().is_some_and(|set| is_younger(set.fetched_at, now, MAX_STALE)) => Ok(()),
                fetched => fetched,
            },
        }
    }

    /// The claims of a token whose signature holds.
    pub async fn verify(
        &self,
        http: &Http,
        uri: &str,
        token: &str,
        now: Millis,
    ) -> Result<Map<String, Value>, ProviderError> {
        let unusable = |reason: &str| ProviderError::Unusable(format!("its ID token is not usable: {reason}"));
        if token.len() > MAX_TOKEN {
            return Err(unusable("too long"));
        }
        let header =
            jsonwebtoken::decode_header(token).map_err(|_| unusable("not a signed JWT of a known algorithm"))?;
        if header.crit.is_some() {
            return Err(unusable("it demands an extension that is not known here"));
        }
        let kid = header.kid.as_deref().unwrap_or_default();
        self.ready(http, uri, now).await?;
        let seen = self.current();
        if seen.as_ref().is_none_or(|set| set.find(kid).is_none()) {
            self.fetch(http, uri, now, seen.as_ref()).await?;
        }
        let set = self.current().ok_or_else(|| unusable("the provider has no keys"))?;
        let key = set.find(kid).ok_or_else(|| unusable("signed by a key that the provider does not publish"))?;
        if key.algorithm != header.alg {
            return Err(unusable("signed by another algorithm than its key's"));
        }
        let mut validation = Validation::new(key.algorithm);
        // The claims are checked by id_token::check, with our clock and every claim at one place.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let data =
            jsonwebtoken::decode(token, &key.key, &validation).map_err(|_| unusable("its signature does not hold"))?;
        Ok(data.claims)
    }

    fn current(&self) -> Option<Arc<KeySet>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fetches, unless somebody else did since the caller looked (`seen`), or there were too many fetches lately.
    async fn fetch(
        &self,
        http: &Http,
        uri: &str,
        now: Millis,
        seen: Option<&Arc<KeySet>>,
    ) -> Result<(), ProviderError> {
        let asked = Instant::now();
        let mut fetches = self.fetches.lock().await;
        let now = now + since(asked);
        if let Some(current) = self.current() {
            let is_news = seen.is_some_and(|seen| !Arc::ptr_eq(seen, &current));
            let is_fresh = seen.is_none() && is_younger(current.fetched_at, now, MAX_AGE);
            if is_news || is_fresh {
                return Ok(());
            }
        }
        let has_stale = seen.is_none() && self.current().is_some();
        if let Some(failure) = fetches.failed.as_ref().filter(|failure| failure.answers(asked, has_stale)) {
            return Err(failure.error());
        }
        fetches.began.retain(|at| is_younger(*at, now, MINUTE));
        if fetches.began.len() >= FETCHES_PER_MINUTE {
            return Err(ProviderError::Unavailable("its keys were fetched too often within a minute".into()));
        }
        fetches.began.push(now);
        let fetched = self.get(http, uri, now).await;
        fetches.failed = fetched.as_ref().err().map(Failure::of);
        fetched
    }

    async fn get(&self, http: &Http, uri: &str, now: Millis) -> Result<(), ProviderError> {
        let answer = http.get(uri).await.map_err(|error| ProviderError::Unavailable(error.into()))?;
        if answer.status != 200 {
            return Err(ProviderError::Unavailable(format!("{uri} answers {}", answer.status).into()));
        }
        let keys = parse(&answer.body)
            .map_err(|reason| ProviderError::Unusable(format!("its key set is not usable: {reason}")))?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(KeySet { keys, fetched_at: now }));
        Ok(())
    }
}

impl KeySet {
    /// By its id. A token that names no key is taken only where there is no choice.
    fn find(&self, kid: &str) -> Option<&Key> {
        match kid {
            "" if self.keys.len() == 1 => self.keys.values().next(),
            kid => self.keys.get(kid),
        }
    }
}

/// Every key that can sign; keys of unknown kinds are left out, since providers publish those too.
fn parse(body: &[u8]) -> Result<HashMap<String, Key>, &'static str> {
    #[derive(serde::Deserialize)]
    struct Document {
        keys: Vec<Value>,
    }
    let document: Document = serde_json::from_slice(body).map_err(|_| "not a JSON Web Key Set")?;
    if document.keys.len() > MAX_KEYS {
        return Err("more than 64 keys");
    }
    let jwks = document.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
    let keys: HashMap<String, Key> = jwks
        .filter_map(|jwk| {
            let algorithm = algorithm(&jwk)?;
            let key = DecodingKey::from_jwk(&jwk).ok()?;
            Some((jwk.common.key_id.unwrap_or_default(), Key { algorithm, key }))
        })
        .collect();
    if keys.is_empty() { Err("it holds no key that can sign ID tokens") } else { Ok(keys) }
}

/// The algorithm by the key's own word, or by its kind; symmetric ones never, whatever the key says.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    if jwk.common.public_key_use.as_ref().is_some_and(|intended| *intended != PublicKeyUse::Signature) {
        return None;
    }
    let named = jwk.common.key_algorithm;
    match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => match named {
            None | Some(KeyAlgorithm::RS256) => Some(Algorithm::RS256),
            Some(KeyAlgorithm::RS384) => Some(Algorithm::RS384),
            Some(KeyAlgorithm::RS512) => Some(Algorithm::RS512),
            Some(KeyAlgorithm::PS256) => Some(Algorithm::PS256),
            Some(KeyAlgorithm::PS384) => Some(Algorithm::PS384),
            Some(KeyAlgorithm::PS512) => Some(Algorithm::PS512),
            Some(_) => None,
        },
        AlgorithmParameters::EllipticCurve(params) => match (&params.curve, named) {
            (EllipticCurve::P256, None | Some(KeyAlgorithm::ES256)) => Some(Algorithm::ES256),
            (EllipticCurve::P384, None | Some(KeyAlgorithm::ES384)) => Some(Algorithm::ES384),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(params) => match (&params.curve, named) {
            (EllipticCurve::Ed25519, None | Some(KeyAlgorithm::EdDSA)) => Some(Algorithm::EdDSA),
            _ => None,
        },
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

    #[tokio::test]
    async fn keys_of_a_clock_that_was_set_back_are_fetched_again() {
        let (http, now) = (Http::default(), 100 * HOUR);
        for (fetched_at, is_ready) in [(now, true), (now + 1, true), (now - 25 * HOUR, false), (now + HOUR, false)] {
            let keys = Keys::default();
            *keys.current.lock().unwrap() = Some(Arc::new(KeySet { keys: HashMap::new(), fetched_at }));
            // Nobody listens there.
            let ready = keys.ready(&http, "http://127.0.0.1:1/", now).await;
            assert_eq!(ready.is_ok(), is_ready, "fetched at {fetched_at}");
        }
    }

    #[test]
    fn nonsense_is_not_a_key_set() {
        for body in ["", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[]}", "<html>", "{\"keys\":[{\"kty\":\"RSA\"}]}"] {
            assert!(parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
