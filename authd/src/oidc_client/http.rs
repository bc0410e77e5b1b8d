//! The HTTPS client for identity providers: bounded in time and size, without redirects.

use std::error::Error;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, header};
use shared::secret::Secret;
use shared::wire::{encode_pairs, percent_encode};

use super::ProviderError;
use crate::error::Chain;
use crate::https::Https;

/// Time limit of one exchange, including connection and body.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read, in bytes; large key sets have some tens of kilobytes.
const MAX_ANSWER: usize = 512 << 10;

/// An HTTP answer of the provider, with any status.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
}

/// How a client authenticates itself to the provider.
#[derive(Clone, Copy, Debug)]
pub enum Credentials<'a> {
    /// A public client, which has no secret.
    Public,
    /// `client_secret_basic` (RFC 6749 §2.3.1).
    Basic(&'a Secret),
    /// `client_secret_post`: in the form, with the id.
    Form(&'a Secret),
}

/// Connections to providers.
#[derive(Debug, Default)]
pub struct Http(Https);

impl Http {
    /// Fetches a document.
    pub async fn get(&self, uri: &str) -> Result<Bytes, ProviderError> {
        let answer = self.send(Request::get(uri), String::new()).await?;
        match answer.status {
            200 => Ok(answer.body),
            status => Err(ProviderError::Unavailable(format!("{uri} answers {status}"))),
        }
    }

    /// Posts a form as this client.
    pub async fn post_form(
        &self,
        uri: &str,
        client_id: &str,
        credentials: Credentials<'_>,
        form: &[(&str, &str)],
    ) -> Result<Answer, ProviderError> {
        let mut request = Request::post(uri).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let mut form = form.to_vec();
        match credentials {
            Credentials::Basic(secret) => {
                // Both parts are form-encoded before they are joined: a colon in the id would be read as the separator.
                let pair = format!("{}:{}", percent_encode(client_id), percent_encode(secret.expose()));
                request = request.header(header::AUTHORIZATION, format!("Basic {}", BASE64_STANDARD.encode(pair)));
            }
            Credentials::Form(secret) => form.extend([("client_id", client_id), ("client_secret", secret.expose())]),
            Credentials::Public => form.push(("client_id", client_id)),
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
            let response = self.0.request(request).await.map_err(|error| {
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
}

fn no_answer(what: &str, source: &(dyn Error + 'static)) -> ProviderError {
    ProviderError::Unavailable(format!("{what}: {}", Chain(source)))
}
