//! A provider and an STS in this process, for what real ones cannot be made to say: wrong claims, wrong algorithms,
//! rotated tokens, nonsense. Real ones are met end to end.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};
use shared::time::Time;
use tokio::net::TcpListener;

use crate::env::{Clock, FixedClock, SECOND};

/// What the peer does next, and what it has been asked.
#[derive(Default)]
#[expect(missing_debug_implementations, reason = "tests do not print it")]
pub struct Script {
    /// Claims laid over those of a good ID token.
    pub claims: Map<String, Value>,
    /// An answer of the token endpoint instead of its own.
    pub token: Option<(u16, String)>,
    /// An answer of STS instead of its own.
    pub sts: Option<(u16, String)>,
    /// The status of the revocation endpoint instead of 200.
    pub revocation: Option<u16>,
    /// The revocation endpoint takes requests and answers none.
    pub hangs: bool,
    /// Hand out a new refresh token with each refresh.
    pub rotates: bool,
    /// Publish all keys but the newest.
    pub hides_new_key: bool,
    /// Sign as if the key were symmetric.
    pub signs_symmetrically: bool,
    pub nonce: String,
    pub tokens_made: u32,
    /// Path and body of each request.
    pub asked: Vec<(String, String)>,
    keys: Vec<(String, Vec<u8>)>,
}

#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "tests do not print it")]
pub struct Peer {
    pub url: String,
    pub script: Arc<Mutex<Script>>,
    pub clock: Arc<FixedClock>,
}

impl Peer {
    /// Listens, and tells time by a clock that the test moves.
    pub fn start(clock: Arc<FixedClock>, listener: TcpListener) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let peer = Self { url, script: Arc::default(), clock };
        peer.new_key();
        let serving = peer.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let peer = serving.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let peer = peer.clone();
                        async move { Ok::<_, Infallible>(peer.answer(request).await) }
                    });
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                        .ok();
                });
            }
        });
        peer
    }

    /// Changes the script.
    pub fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    /// From now on tokens are signed by another key.
    pub fn new_key(&self) {
        let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let random = aws_lc_rs::rand::SystemRandom::new();
        let key = aws_lc_rs::signature::EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        self.set(|script| script.keys.push((format!("key {}", script.keys.len()), key.as_ref().to_vec())));
    }

    /// How often a path was asked.
    pub fn count(&self, path: &str) -> usize {
        self.script.lock().unwrap().asked.iter().filter(|(asked, _)| asked == path).count()
    }

    /// Bodies that a path was asked with.
    pub fn bodies(&self, path: &str) -> Vec<String> {
        let script = self.script.lock().unwrap();
        script.asked.iter().filter(|(asked, _)| asked == path).map(|(_, body)| body.clone()).collect()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        self.set(|script| script.asked.push((path.clone(), body.clone())));
        if path == "/oauth2/revoke" && self.script.lock().unwrap().hangs {
            std::future::pending::<()>().await;
        }
        let mut script = self.script.lock().unwrap();
        let (status, text) = match path.as_str() {
            "/keys" => (200, keys(&script)),
            "/oauth2/revoke" => (script.revocation.unwrap_or(200), String::new()),
            "/token" | "/oauth2/token" => {
                script.token.clone().unwrap_or_else(|| (200, self.tokens(&mut script, &body)))
            }
            "/" => script.sts.clone().unwrap_or_else(|| (200, self.credentials(&body))),
            _ => (404, String::new()),
        };
        Response::builder().status(status).body(Full::from(text)).unwrap()
    }

    fn tokens(&self, script: &mut Script, body: &str) -> String {
        script.tokens_made += 1;
        let is_refresh = body.contains("grant_type=refresh_token");
        let mut tokens = json!({ "id_token": self.id_token(script), "access_token": "unused", "token_type": "Bearer" });
        if !is_refresh || script.rotates {
            tokens["refresh_token"] = json!(format!("provider-refresh-{}", script.tokens_made));
        }
        tokens.to_string()
    }

    fn id_token(&self, script: &Script) -> String {
        let now = self.clock.now() / SECOND;
        let mut claims = json!({
            "iss": self.url, "aud": "client", "sub": "s-1", "iat": now, "exp": now + 3600, "nonce": script.nonce,
            "email": "ann@example.test", "email_verified": true, "groups": ["dev"], "auth_time": now,
        });
        claims.as_object_mut().unwrap().extend(script.claims.clone());
        let (kid, key) = script.keys.last().unwrap();
        let (mut header, key) = if script.signs_symmetrically {
            (Header::new(Algorithm::HS256), EncodingKey::from_secret(keys(script).as_bytes()))
        } else {
            (Header::new(Algorithm::ES256), EncodingKey::from_ec_der(key))
        };
        header.kid = Some(kid.clone());
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    }

    fn credentials(&self, body: &str) -> String {
        let seconds: i64 =
            body.split(['&', '=']).skip_while(|part| *part != "DurationSeconds").nth(1).unwrap().parse().unwrap();
        let expires = Time::from_millis(self.clock.now() + seconds * SECOND);
        let action = if body.contains("WebIdentity") { "AssumeRoleWithWebIdentity" } else { "AssumeRole" };
        format!(
            "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
             <AccessKeyId>ASIA{expires}</AccessKeyId><SecretAccessKey>aws-secret</SecretAccessKey>\
             <SessionToken>aws-session</SessionToken><Expiration>{expires}</Expiration></Credentials>\
             </{action}Result></{action}Response>"
        )
    }
}

fn keys(script: &Script) -> String {
    let published = script.keys.len() - usize::from(script.hides_new_key);
    let keys: Vec<Value> = script.keys[..published]
        .iter()
        .map(|(kid, key)| {
            let mut jwk = Jwk::from_encoding_key(&EncodingKey::from_ec_der(key), Algorithm::ES256).unwrap();
            jwk.common.key_id = Some(kid.clone());
            serde_json::to_value(jwk).unwrap()
        })
        .collect();
    json!({ "keys": keys }).to_string()
}
