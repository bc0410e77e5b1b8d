//! The HTTPS client that talks to identity providers: bounded in time and size, and it follows no redirect.

use std::error::Error as StdError;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use shared::secret::Secret;
use shared::wire::percent_encode;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// One whole exchange, connection and body included.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read; the largest key sets have some tens of kilobytes.
const MAX_ANSWER: usize = 512 << 10;

type Pool = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Whatever the provider answered, as long as it answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
}

/// Why there is no answer: no connection, too slow, too large, broken off.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct NoAnswer {
    what: &'static str,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Connections to providers, kept for a while. The certificates of this machine are read at the first use, so that a
/// daemon that nobody signs in to stays small.
#[derive(Default)]
pub struct Http(OnceLock<Pool>);

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Http")
    }
}

impl Http {
    pub async fn get(&self, uri: &str) -> Result<Answer, NoAnswer> {
        self.send(Request::get(uri).header(header::ACCEPT, "application/json"), String::new()).await
    }

    /// Posts a form; `basic` is a client's id and secret (RFC 6749 §2.3.1).
    pub async fn post_form(
        &self,
        uri: &str,
        basic: Option<(&str, &Secret)>,
        form: &[(&str, &str)],
    ) -> Result<Answer, NoAnswer> {
        let mut request = Request::post(uri)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some((id, secret)) = basic {
            // Both halves are form-encoded before they are joined: a colon in the id would shift the secret.
            let pair = format!("{}:{}", encoded(id), encoded(secret.expose()));
            request = request.header(header::AUTHORIZATION, format!("Basic {}", BASE64_STANDARD.encode(pair)));
        }
        self.send(request, encode(form)).await
    }

    async fn send(&self, request: http::request::Builder, body: String) -> Result<Answer, NoAnswer> {
        let request = request
            .header(header::USER_AGENT, concat!("authd/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| no_answer("its address is not a URL", error))?;
        let exchange = async {
            let response = self.pool().request(request).await.map_err(|error| {
                no_answer(if error.is_connect() { "no connection" } else { "the connection broke" }, error)
            })?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body =
                body.map_err(|source| NoAnswer { what: "its answer broke off or is too large", source: Some(source) })?;
            Ok(Answer { status, body: body.to_bytes() })
        };
        match tokio::time::timeout(EXCHANGE_TIMEOUT, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(NoAnswer { what: "no answer within 10 s", source: None }),
        }
    }

    fn pool(&self) -> &Pool {
        self.0.get_or_init(|| {
            let mut tcp = HttpConnector::new();
            tcp.enforce_http(false);
            tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            let builder = HttpsConnectorBuilder::new();
            let builder = match builder.with_provider_and_native_roots(provider) {
                Ok(builder) => builder,
                Err(error) => {
                    tracing::warn!(%error, "no certificates of authorities on this machine: no provider can be reached over https; install ca-certificates");
                    HttpsConnectorBuilder::new().with_tls_config(without_roots())
                }
            };
            let connector = builder.https_or_http().enable_http1().enable_http2().wrap_connector(tcp);
            Client::builder(TokioExecutor::new())
                .pool_idle_timeout(Duration::from_secs(30))
                .pool_max_idle_per_host(4)
                .pool_timer(TokioTimer::new())
                .build(connector)
        })
    }
}

/// Trusts nobody: every https connection fails, plain ones on loopback still work.
fn without_roots() -> rustls::ClientConfig {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

fn no_answer(what: &'static str, source: impl StdError + Send + Sync + 'static) -> NoAnswer {
    NoAnswer { what, source: Some(Box::new(source)) }
}

/// One value, encoded for a query or a form.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    percent_encode(text, &mut out);
    out
}

/// `name=value` pairs for a query or a form.
pub fn encode(fields: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in fields {
        if !out.is_empty() {
            out.push('&');
        }
        percent_encode(name, &mut out);
        out.push('=');
        percent_encode(value, &mut out);
    }
    out
}
