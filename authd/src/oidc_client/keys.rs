//! The provider's signing keys: fetched when needed, parsed once, fetched again when a token names an unknown one.

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
    /// Its name, which a provider may leave out, or use for more than one key.
    id: Option<String>,
    algorithm: Algorithm,
    decoding: DecodingKey,
}

/// The keys that sign.
#[derive(Debug)]
pub struct KeySet(Vec<Key>);

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
        let header = header(token)?;
        let set = self.set.find(None, self.fetch(http, uri)).await?;
        match set.verify(token) {
            // Another key may have taken its place since.
            Err(_) if !set.has_only(header.kid.as_deref()) => {
                self.set.find(Some(&set), self.fetch(http, uri)).await?.verify(token)
            }
            verified => verified,
        }
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
            let (algorithm, decoding) = (algorithm(&jwk)?, DecodingKey::from_jwk(&jwk).ok()?);
            Some(Key { id: jwk.common.key_id.filter(|id| !id.is_empty()), algorithm, decoding })
        });
        let keys: Vec<Key> = known.collect();
        if keys.is_empty() { Err("it has no key that can sign ID tokens") } else { Ok(Self(keys)) }
    }

    /// Verifies the signature of a token by the keys that it may mean, and returns its claims.
    pub fn verify(&self, token: &str) -> Result<Map<String, Value>, ProviderError> {
        let header = header(token)?;
        let mut meant = self.meant(header.kid.as_deref()).peekable();
        if meant.peek().is_none() {
            return Err(unusable("signed by a key that the provider does not publish"));
        }
        let mut meant = meant.filter(|key| key.algorithm == header.alg).peekable();
        if meant.peek().is_none() {
            return Err(unusable("signed by another algorithm than its key's"));
        }
        let mut validation = Validation::new(header.alg);
        // id_token::check checks the claims, with authd's clock and in one place.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let mut verified = meant.filter_map(|key| jsonwebtoken::decode(token, &key.decoding, &validation).ok());
        verified.next().map(|data| data.claims).ok_or_else(|| unusable("its signature is not valid"))
    }

    /// The keys that a token may mean by this name: those of the name, else those without one. Without a name, any.
    fn meant<'a>(&'a self, id: Option<&'a str>) -> impl Iterator<Item = &'a Key> {
        let id = id.filter(|id| !id.is_empty());
        let is_known = id.is_some_and(|id| self.0.iter().any(|key| key.id.as_deref() == Some(id)));
        self.0.iter().filter(move |key| match id {
            None => true,
            Some(id) if is_known => key.id.as_deref() == Some(id),
            Some(_) => key.id.is_none(),
        })
    }

    /// Whether exactly one key has this name.
    fn has_only(&self, id: Option<&str>) -> bool {
        id.is_some_and(|id| self.0.iter().filter(|key| key.id.as_deref() == Some(id)).count() == 1)
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
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    use jsonwebtoken::EncodingKey;
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

    /// A key pair: what signs, and what is published.
    fn pair() -> (EncodingKey, Value) {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key = EncodingKey::from_ec_der(key.as_ref());
        let jwk = serde_json::to_value(Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap()).unwrap();
        (key, jwk)
    }

    #[test]
    fn keys_without_a_name_or_with_the_same_are_tried() {
        jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default().ok();
        let pairs: Vec<_> = (0..3).map(|_| pair()).collect();
        let set = |names: [Option<&str>; 3]| {
            let keys = pairs.iter().zip(names).map(|((_, jwk), name)| {
                let mut jwk = jwk.clone();
                jwk["kid"] = json!(name);
                jwk
            });
            let rsa = json!({"kty": "RSA", "kid": names[1], "use": "sig", "n": "sXch", "e": "AQAB"});
            let others: Vec<Value> = keys.chain([rsa]).collect();
            KeySet::parse(json!({ "keys": others }).to_string().as_bytes()).unwrap()
        };
        let token = |signer: usize, name: Option<&str>| {
            let mut header = Header::new(Algorithm::ES256);
            header.kid = name.map(str::to_owned);
            jsonwebtoken::encode(&header, &json!({"sub": signer}), &pairs[signer].0).unwrap()
        };
        for (published, named, is_good) in [
            ([None, None, None], None, true),
            ([None, None, None], Some("a"), true),
            ([Some(""), Some(""), Some("b")], Some(""), true),
            ([Some("a"), Some("a"), Some("a")], Some("a"), true),
            ([Some("a"), Some("a"), Some("b")], None, true),
            ([Some("a"), None, Some("b")], Some("c"), true),
            ([Some("a"), Some("b"), Some("c")], Some("a"), false),
            ([Some("a"), Some("b"), None], Some("a"), false),
            ([Some("a"), Some("b"), Some("c")], Some("d"), false),
        ] {
            let verified = set(published).verify(&token(1, named));
            assert_eq!(verified.is_ok(), is_good, "{published:?} {named:?}");
        }
        let strange = set([None, None, None])
            .verify(&jsonwebtoken::encode(&Header::new(Algorithm::ES256), &json!({}), &pair().0).unwrap());
        assert!(strange.is_err(), "a key that is not published");
    }

    #[test]
    fn nonsense_is_not_a_key_set() {
        for body in ["", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[]}", "<html>", "{\"keys\":[{\"kty\":\"RSA\"}]}"] {
            assert!(KeySet::parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
