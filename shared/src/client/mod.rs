//! The clients. [`Client`] is typed, calls every operation over the admin socket or HTTP, and serves both command-line
//! programs. [`Authd`] builds on it, for services that check the tokens of their own callers, and [`Accounts`] for programs
//! through which people sign up, sign in, and change or delete their account.

mod accounts;
mod cache;
mod connect;
mod denial;
mod env;
#[cfg(feature = "tower")]
mod guard;
mod identity;
#[cfg(test)]
mod peer;
mod retry;
mod service;

pub use accounts::{Account, AccountError, Accounts};
pub use cache::Bounds;
pub use denial::{Denial, Reason};
#[cfg(feature = "tower")]
pub use guard::{Guard, Require, RequirePermission, RequireScopes};
pub use identity::{Required, TokenIdentity, Use, UserIdentity, presented};
pub use service::{Authd, Builder, Stats};

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;

use self::connect::Connector;
use crate::op::Operation;
use crate::problem::{Code, Problem};
use crate::proxy::Proxies;
use crate::secret::Secret;
use crate::wire;

/// The largest answer that is read.
const MAX_ANSWER: usize = 8 << 20;
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The address of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Its admin socket.
    Socket(PathBuf),
    /// Its public URL, `http://…` or `https://…`; a path in it is kept as a prefix.
    Url(Uri),
}

impl Endpoint {
    /// Parses a URL that a person typed; the error says what is wrong with it.
    pub fn url(text: &str) -> Result<Self, String> {
        // What is refused may have a password in it.
        let shown = if text.contains('@') { String::new() } else { format!("{text:?}: ") };
        let uri = crate::url::parse(text.trim_end_matches('/')).map_err(|fault| {
            let scheme = if text.contains("://") || shown.is_empty() { None } else { scheme_of(text) };
            scheme.map_or_else(|| format!("{shown}{fault}"), |scheme| format!("{shown}write {scheme}://{text}"))
        })?;
        if uri.query().is_some() {
            return Err(format!("{shown}a query (from ? on) has no meaning there; remove it"));
        }
        Ok(Self::Url(uri))
    }

    /// Whether what is sent stays on this machine or is encrypted.
    pub fn is_private(&self) -> bool {
        match self {
            Self::Socket(_) => true,
            Self::Url(uri) => crate::url::is_private(uri),
        }
    }
}

/// The scheme that is missing before an address such as `localhost:8080`; `None` if it is no URL with one, either.
fn scheme_of(address: &str) -> Option<&'static str> {
    let uri = crate::url::parse(&format!("https://{address}")).ok()?;
    Some(if uri.host().is_some_and(crate::url::is_loopback) { "http" } else { "https" })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Url(uri) => f.write_str(uri.to_string().trim_end_matches('/')),
        }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed; nothing was sent.
    #[error("cannot reach authd at {endpoint}: {source}")]
    Unreachable { endpoint: Endpoint, source: BoxError },
    /// The call timed out or the connection broke: the operation may have happened.
    #[error("authd at {endpoint} did not answer: {detail}")]
    NoAnswer { endpoint: Endpoint, detail: String },
    /// The daemon refused.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// The answer is not one of authd.
    #[error("{endpoint} did not send a valid answer of authd: {detail}")]
    NotAuthd { endpoint: Endpoint, detail: String },
}

/// A client of one daemon; it keeps and reuses connections.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Endpoint,
    bearer: Option<Secret>,
    timeout: Duration,
    http: legacy::Client<Connector, Full<Bytes>>,
    proxies: Proxies,
}

impl Client {
    pub fn new(endpoint: Endpoint) -> Self {
        let proxies = Proxies::from_env();
        let connector = Connector::new(&endpoint, &proxies);
        // Below the daemon's own idle limit, so that a kept connection is not closed under a request.
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .build(connector);
        Self { endpoint, bearer: None, timeout: CALL_TIMEOUT, http, proxies }
    }

    /// Sends this token with every call that does not bring its own.
    #[must_use]
    pub fn with_bearer(mut self, token: Secret) -> Self {
        self.bearer = Some(token);
        self
    }

    /// Time limit of a call in all; the default is 30 seconds.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Calls an operation.
    pub async fn call<Op: Operation>(&self, op: &Op) -> Result<Op::Response, Error> {
        self.call_for(op, None).await
    }

    /// Calls an operation on behalf of a client at this address. authd uses the address if it trusts this machine as
    /// a proxy (`AUTHD_TRUSTED_PROXIES`).
    pub async fn call_for<Op: Operation>(&self, op: &Op, address: Option<IpAddr>) -> Result<Op::Response, Error> {
        match tokio::time::timeout(self.timeout, self.exchange(op, address)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.no_answer(format!("timed out after {} s", self.timeout.as_secs()))),
        }
    }

    async fn exchange<Op: Operation>(&self, op: &Op, address: Option<IpAddr>) -> Result<Op::Response, Error> {
        let encoded = self.encode(op);
        let mut request = encoded.map_err(|error| self.no_answer(format!("the request cannot be sent: {error}")))?;
        if let Some(value) = address.and_then(|address| address.to_canonical().to_string().parse().ok()) {
            request.headers_mut().insert("x-forwarded-for", value);
        }
        if let Endpoint::Url(_) = self.endpoint {
            self.proxies.authorize(&mut request);
        }
        let response = self.http.request(request).await.map_err(|error| {
            if error.is_connect() {
                Error::Unreachable { endpoint: self.endpoint.clone(), source: root(&error).into() }
            } else {
                self.no_answer(root(&error))
            }
        })?;
        let (status, headers) = (response.status(), response.headers());
        let media = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let is_problem = media.starts_with(b"application/problem+json");
        let retry_after = retry_after(headers);
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| self.no_answer(error.to_string()))?.to_bytes();
        let problem: Problem = match overload(status) {
            _ if is_problem => serde_json::from_slice(&body).map_err(|error| self.not_authd(&error))?,
            Some(code) => Problem::new(code, format!("a proxy in front of authd answered HTTP status {status}")),
            None if status.is_success() => {
                return serde_json::from_slice(&body).map_err(|error| self.not_authd(&error));
            }
            // Other servers may use the same status codes, so only a problem document counts as authd's refusal.
            None => return Err(self.not_authd(&format!("HTTP status {status}"))),
        };
        let retry_after = problem.retry_after.or(retry_after);
        Err(Error::Refused(Box::new(Problem { retry_after, ..problem })))
    }

    fn encode<Op: Operation>(&self, op: &Op) -> Result<Request<Full<Bytes>>, BoxError> {
        let encoded = wire::encode(op)?;
        let base = match &self.endpoint {
            Endpoint::Socket(_) => "http://localhost".to_owned(),
            Endpoint::Url(_) => self.endpoint.to_string(),
        };
        let mut request = Request::builder()
            .method(Op::INFO.method.as_str())
            .uri(format!("{base}{}", encoded.target))
            .header(header::USER_AGENT, concat!("authd-client/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, "application/json");
        if encoded.body.is_some() {
            let media = if Op::INFO.oauth { "application/x-www-form-urlencoded" } else { "application/json" };
            request = request.header(header::CONTENT_TYPE, media);
        }
        let has_credentials = encoded.headers.iter().any(|(name, _)| *name == "authorization");
        let bearer = self.bearer.as_ref().filter(|_| !has_credentials);
        let bearer = bearer.map(|token| ("authorization", format!("Bearer {}", token.expose())));
        for (name, value) in encoded.headers.into_iter().chain(bearer) {
            let mut value = HeaderValue::try_from(value)?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        Ok(request.body(Full::new(encoded.body.unwrap_or_default().into()))?)
    }

    fn no_answer(&self, detail: String) -> Error {
        Error::NoAnswer { endpoint: self.endpoint.clone(), detail }
    }

    fn not_authd(&self, detail: &dyn fmt::Display) -> Error {
        Error::NotAuthd { endpoint: self.endpoint.clone(), detail: detail.to_string() }
    }
}

/// The code for a proxy's own error when authd behind it is down or overloaded.
fn overload(status: StatusCode) -> Option<Code> {
    match status {
        StatusCode::TOO_MANY_REQUESTS => Some(Code::RateLimited),
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Some(Code::Unavailable)
        }
        _ => None,
    }
}

/// Seconds; the form with a date is not used by authd.
fn retry_after(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// The innermost cause: the layers above it only say that a client had an error.
fn root(error: &legacy::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_url_is_refused() {
        for text in ["", "localhost:8080", "ftp://x", "https://", "http://x?y=z", "http://x#y"] {
            assert!(Endpoint::url(text).is_err(), "{text}");
        }
    }
}
