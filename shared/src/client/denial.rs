//! Why a request is denied. Every failure is a denial: the result is either an identity or this.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use super::Error;
use crate::problem::{Code, Problem};

/// The reason, for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// 401: no token.
    Missing,
    /// 401: two tokens, or a header that cannot be read.
    Malformed,
    /// 401: the token is unknown, or its session has ended or expired.
    Unknown,
    /// 401: an API token that has expired.
    Expired,
    /// 401: an API token that was revoked.
    Revoked,
    /// 401: an API token that may not be used from this address.
    AddressNotAllowed,
    /// 401: user name, password or code are not accepted.
    LoginRefused,
    /// 401: user name and password are right, and a code is required too.
    TotpRequired,
    /// 403: the API token is valid, but lacks a required scope.
    InsufficientScope,
    /// 403: the person is signed in, but lacks the required permission.
    NotPermitted,
    /// 429: too many login attempts.
    Throttled,
    /// 503: the connection to authd failed.
    Unreachable,
    /// 503: authd, or a proxy in front of it, cannot answer now.
    Unavailable,
    /// 503: authd does not accept this service's own token or request.
    Misconfigured,
    /// 504: authd did not answer in time.
    TimedOut,
}

impl Reason {
    /// The stable code, which determines the HTTP and gRPC status.
    pub const fn code(self) -> Code {
        match self {
            Self::Missing => Code::Unauthenticated,
            Self::Malformed | Self::Unknown | Self::Expired | Self::Revoked | Self::AddressNotAllowed => {
                Code::InvalidToken
            }
            Self::LoginRefused => Code::InvalidCredentials,
            Self::TotpRequired => Code::TotpRequired,
            Self::InsufficientScope | Self::NotPermitted => Code::Forbidden,
            Self::Throttled => Code::RateLimited,
            Self::Unreachable | Self::Unavailable | Self::Misconfigured => Code::Unavailable,
            Self::TimedOut => Code::UpstreamTimeout,
        }
    }

    /// Whether it is about the token itself; then the cached answer about the token is removed.
    pub(super) const fn is_about_the_token(self) -> bool {
        matches!(self.code(), Code::InvalidToken | Code::Forbidden)
    }
}

/// Why a request is denied; converts to an HTTP response or a gRPC status. Its `Display` adds the cause, for the log;
/// the caller of the service gets [`Denial::detail`].
#[derive(Clone, Debug, thiserror::Error)]
#[error("{detail}{}", .source.as_ref().map(|source| format!(" ({source})")).unwrap_or_default())]
pub struct Denial {
    reason: Reason,
    detail: Cow<'static, str>,
    /// Scopes or permissions, separated by spaces.
    required: Option<String>,
    retry_after: Option<Duration>,
    source: Option<Arc<Error>>,
}

impl Denial {
    pub(super) fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, detail: detail.into(), required: None, retry_after: None, source: None }
    }

    pub(super) fn missing() -> Self {
        Self::new(Reason::Missing, "a token is needed, in Authorization: Bearer or in the header token")
    }

    pub(super) fn unknown() -> Self {
        Self::new(Reason::Unknown, "the token is not known")
    }

    pub(super) fn timed_out() -> Self {
        Self::new(Reason::TimedOut, "the authentication service did not answer in time; try again")
    }

    pub(super) fn cancelled() -> Self {
        Self::new(Reason::Unavailable, "the request was cancelled before it was answered; try again")
    }

    /// Adds what was required, for `WWW-Authenticate`.
    pub(super) fn requiring<'a>(mut self, names: impl Iterator<Item = &'a str>) -> Self {
        // RFC 6749 §3.3: other characters are not allowed in a quoted list separated by spaces.
        let is_plain = |name: &&str| name.bytes().all(|byte| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~'));
        let list: Vec<_> = names.filter(is_plain).collect();
        self.required = (!list.is_empty()).then(|| list.join(" "));
        self
    }

    /// A failed question about a token. The detail is for the caller of the service and does not name authd's address;
    /// the source does, for the log.
    pub(super) fn because(error: Error) -> Self {
        let (reason, detail, seconds) = match &error {
            Error::Unreachable { .. } => {
                (Reason::Unreachable, "the authentication service cannot be reached; try again", Some(1))
            }
            Error::NoAnswer { .. } => (Reason::Unavailable, "the authentication service failed; try again", Some(1)),
            Error::Refused(problem) if matches!(problem.status, 429 | 500..) => {
                let seconds = problem.retry_after.unwrap_or(1);
                (Reason::Unavailable, "the authentication service cannot answer now; try again", Some(seconds))
            }
            Error::Refused(_) => {
                (Reason::Misconfigured, "the authentication service does not accept this service's question", None)
            }
            Error::NotAuthd { .. } => {
                (Reason::Misconfigured, "the server at the authentication service's address is not authd", None)
            }
        };
        let retry_after = seconds.map(Duration::from_secs);
        Self { retry_after, source: Some(Arc::new(error)), ..Self::new(reason, detail) }
    }

    /// The same for a login, where a refusal is about the person's credentials.
    pub(super) fn because_of_login(error: Error) -> Self {
        match error {
            Error::Refused(problem) if problem.status == 429 => {
                let retry_after = problem.retry_after.map(Duration::from_secs);
                Self { retry_after, ..Self::new(Reason::Throttled, problem.detail) }
            }
            Error::Refused(problem) if problem.error == Code::TotpRequired => {
                Self::new(Reason::TotpRequired, problem.detail)
            }
            Error::Refused(problem) if (400..500).contains(&problem.status) => {
                Self::new(Reason::LoginRefused, problem.detail)
            }
            error => Self::because(error),
        }
    }

    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// What happened, and what to do. Safe to show to the caller.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// When a retry may succeed.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.reason.code().status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
    }

    /// As `application/problem+json` shows it (RFC 9457).
    pub fn problem(&self) -> Problem {
        let retry_after = self.retry_after.map(whole_seconds);
        Problem { retry_after, ..Problem::new(self.reason.code(), self.detail()) }
    }

    /// The challenge of a 401 or 403 (RFC 6750 §3). Without a token it has no `error`.
    pub fn www_authenticate(&self) -> Option<String> {
        let error = match (self.status().as_u16(), self.reason) {
            (401, Reason::Missing | Reason::LoginRefused | Reason::TotpRequired) => return Some("Bearer".to_owned()),
            (401, Reason::Malformed) => "invalid_request",
            (401, _) => "invalid_token",
            (403, _) => "insufficient_scope",
            _ => return None,
        };
        let plain: String = self.detail.chars().filter(|c| matches!(c, ' '..='!' | '#'..='[' | ']'..='~')).collect();
        let scope = self.required.as_ref().map(|names| format!(", scope=\"{names}\"")).unwrap_or_default();
        Some(format!("Bearer error=\"{error}\", error_description=\"{plain}\"{scope}"))
    }

    /// The complete HTTP response. Its extensions hold the denial, for the log.
    pub fn response(&self) -> Response<Full<Bytes>> {
        // A struct of strings cannot fail to serialize.
        let body = serde_json::to_vec(&self.problem()).unwrap_or_default();
        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(value) = self.www_authenticate().and_then(|text| text.try_into().ok()) {
            headers.insert(header::WWW_AUTHENTICATE, value);
        }
        if let Some(time) = self.retry_after {
            headers.insert(header::RETRY_AFTER, whole_seconds(time).into());
        }
        response.extensions_mut().insert(self.clone());
        response
    }

    /// The complete gRPC response: only trailers, sent as headers.
    pub fn grpc_response(&self) -> Response<Full<Bytes>> {
        const STATUS: HeaderName = HeaderName::from_static("grpc-status");
        const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
        let mut response = Response::new(Full::default());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(STATUS, self.reason.code().grpc().into());
        if let Ok(message) = percent_encode(&self.detail).try_into() {
            headers.insert(MESSAGE, message);
        }
        response.extensions_mut().insert(self.clone());
        response
    }
}

/// Encodes a `grpc-message` value.
fn percent_encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b' '..=b'$' | b'&'..=b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Endpoint;

    /// Every failure, as HTTP and gRPC report it. No row lets a request through.
    #[test]
    fn every_failure_is_a_denial_with_the_right_status() {
        let endpoint = || Endpoint::url("http://127.0.0.1:1").unwrap();
        let refused = |code: Code, retry_after| {
            let mut problem = Problem::new(code, "internal detail");
            problem.retry_after = retry_after;
            Denial::because(Error::Refused(Box::new(problem)))
        };
        let new = |reason| Denial::new(reason, "detail");
        for (denial, status, grpc, challenge, retry_after) in [
            (Denial::missing(), 401, 16, "Bearer", None),
            (new(Reason::Malformed), 401, 16, "Bearer error=\"invalid_request\", error_description=\"detail\"", None),
            (
                Denial::unknown(),
                401,
                16,
                "Bearer error=\"invalid_token\", error_description=\"the token is not known\"",
                None,
            ),
            (new(Reason::Expired), 401, 16, "Bearer error=\"invalid_token\", error_description=\"detail\"", None),
            (new(Reason::Revoked), 401, 16, "Bearer error=\"invalid_token\", error_description=\"detail\"", None),
            (
                new(Reason::AddressNotAllowed),
                401,
                16,
                "Bearer error=\"invalid_token\", error_description=\"detail\"",
                None,
            ),
            (
                new(Reason::InsufficientScope).requiring(["read", "a\"b", "write"].into_iter()),
                403,
                7,
                "Bearer error=\"insufficient_scope\", error_description=\"detail\", scope=\"read write\"",
                None,
            ),
            (
                new(Reason::NotPermitted),
                403,
                7,
                "Bearer error=\"insufficient_scope\", error_description=\"detail\"",
                None,
            ),
            (
                Denial::because(Error::Unreachable { endpoint: endpoint(), source: "refused".into() }),
                503,
                14,
                "",
                Some(1),
            ),
            (Denial::because(Error::NoAnswer { endpoint: endpoint(), detail: "reset".into() }), 503, 14, "", Some(1)),
            (Denial::because(Error::NotAuthd { endpoint: endpoint(), detail: "html".into() }), 503, 14, "", None),
            (refused(Code::Unavailable, Some(7)), 503, 14, "", Some(7)),
            (refused(Code::RateLimited, None), 503, 14, "", Some(1)),
            (refused(Code::Internal, None), 503, 14, "", Some(1)),
            (refused(Code::Unknown, None), 503, 14, "", Some(1)),
            // About this service's own token: not the caller's fault.
            (refused(Code::InvalidToken, None), 503, 14, "", None),
            (refused(Code::Forbidden, None), 503, 14, "", None),
            (refused(Code::ValidationFailed, None), 503, 14, "", None),
            (refused(Code::NotFound, None), 503, 14, "", None),
            (Denial::timed_out(), 504, 4, "", None),
            (Denial::cancelled(), 503, 14, "", None),
        ] {
            let response = denial.response();
            let header = |name: &str| response.headers().get(name).map_or("", |value| value.to_str().unwrap());
            assert_eq!(response.status(), status, "{denial:?}");
            assert_eq!(header("www-authenticate"), challenge, "{denial:?}");
            assert_eq!(header("retry-after"), retry_after.map(|s: u64| s.to_string()).unwrap_or_default());
            assert_eq!(header("content-type"), "application/problem+json");
            let problem = denial.problem();
            assert_eq!((problem.status, problem.retry_after), (status, retry_after), "{denial:?}");
            assert!(!problem.detail.contains("internal") && !problem.detail.contains("127.0.0.1"), "{problem:?}");
            let grpc_response = denial.grpc_response();
            assert_eq!(grpc_response.headers()["grpc-status"], grpc.to_string(), "{denial:?}");
            assert_eq!(grpc_response.status(), 200);
        }
    }

    #[test]
    fn a_grpc_message_is_percent_encoded() {
        assert_eq!(percent_encode("50% of Zoë\n"), "50%25 of Zo%C3%AB%0A");
    }
}
