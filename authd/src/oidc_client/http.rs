//! The HTTPS client for identity providers: bounded in time and size, without redirects.

use std::error::Error;
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
use shared::wire::{encode_pairs, percent_encode};

use super::ProviderError;
use crate::error::Chain;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Time limit of one exchange, including connection and body.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read, in bytes; large key sets have some tens of kilobytes.
const MAX_ANSWER: usize = 512 << 10;

type Pool = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// An HTTP answer of the provider, with any status.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
}

/// Pooled connections to providers. The certificates of this machine are read at the first use, so that a daemon
/// without sign-ins stays small.
#[derive(Debug, Default)]
pub struct Http(OnceLock<Pool>);

impl Http {
    /// Fetches a document.
    pub async fn get(&self, uri: &str) -> Result<Bytes, ProviderError> {
        let answer = self.send(Request::get(uri), String::new()).await?;
        match answer.status {
            200 => Ok(answer.body),
            status => Err(ProviderError::Unavailable(format!("{uri} answers {status}"))),
        }
    }

    /// Posts a form as a confidential client with its secret (RFC 6749 §2.3.1), or as a public one with its id.
    pub async fn post_form(
        &self,
        uri: &str,
        client_id: &str,
        secret: Option<&Secret>,
        form: &[(&str, &str)],
    ) -> Result<Answer, ProviderError> {
        let mut request = Request::post(uri).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let mut form = form.to_vec();
        if let Some(secret) = secret {
            // Both parts are form-encoded before they are joined: a colon in the id would be read as the separator.
            let pair = format!("{}:{}", percent_encode(client_id), percent_encode(secret.expose()));
            request = request.header(header::AUTHORIZATION, format!("Basic {}", BASE64_STANDARD.encode(pair)));
        } else {
            form.push(("client_id", client_id));
        }
        self.send(request, encode_pairs(form)).await
    }

    async fn send(&self, request: http::request::Builder, body: String) -> Result<Answer, ProviderError> {
        let request = request
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("authd/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| no_answer("its address is not a URL", &error))?;
        let exchange = async {
            let response = self.pool().request(request).await.map_err(|error| {
                no_answer(if error.is_connect() { "no connection" } else { "the connection broke" }, &error)
            })?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|error| no_answer("its answer was cut off or is too large", error.as_ref()))?;
            Ok(Answer { status, body: body.to_bytes() })
        };
        let answer = tokio::time::timeout(EXCHANGE_TIMEOUT, exchange).await;
        answer.unwrap_or_else(|_| Err(ProviderError::Unavailable("no answer within 10 s".into())))
    }

    fn pool(&self) -> &Pool {
        self.0.get_or_init(|| {
            let mut tcp = HttpConnector::new();
            tcp.enforce_http(false);
            tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            let builder = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider).unwrap_or_else(|error| {
                tracing::warn!(%error, "no certificates of authorities on this machine: no provider can be reached over https; install ca-certificates");
                HttpsConnectorBuilder::new().with_tls_config(without_roots())
            });
            let connector = builder.https_or_http().enable_http1().enable_http2().wrap_connector(tcp);
            Client::builder(TokioExecutor::new())
                .pool_idle_timeout(Duration::from_secs(30))
                .pool_max_idle_per_host(4)
                .pool_timer(TokioTimer::new())
                .build(connector)
        })
    }
}

/// Trusts no authority: every https connection fails, plain ones on loopback still work.
fn without_roots() -> rustls::ClientConfig {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

fn no_answer(what: &str, source: &(dyn Error + 'static)) -> ProviderError {
    ProviderError::Unavailable(format!("{what}: {}", Chain(source)))
}
