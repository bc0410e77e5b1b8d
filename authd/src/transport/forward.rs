//! `/auth/forward/{policy}` and all paths below it, with any method: authorizes a request for a proxy.
//!
//! The answer is 200 with all identity headers (for a missing one, some proxies pass on the client's own header), else
//! 401, 403, or 503 while storage fails. The body is never read.

use std::net::IpAddr;

use ::http::header::{CACHE_CONTROL, COOKIE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use ::http::{Response, StatusCode, request};
use ipnet::IpNet;
use shared::problem::Code;

use super::answer::Body;
use super::credentials::{bearer, header_token};
use super::forwarded::{self, FORWARDED_FOR};
use super::http::{NO_STORE, Origin};
use crate::call::RequestId;
use crate::error::{Error, Result};
use crate::forward_auth::model::{self, ForwardedRequest, METHOD_HEADERS};
use crate::forward_auth::{Credential, ForwardAuth, Identity, Policy, Refusal, Source};
use crate::web_login::cookies::Cookies;

const PREFIX: &str = "/auth/forward/";

pub(super) const NOT_HERE: &str = "the admin socket does not answer proxies; use the public listener";

/// Whether a path belongs to forward authentication.
pub(super) fn is_target(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// Answers a request. Every error is a denial that a proxy understands.
pub(super) async fn respond(
    forward_auth: &ForwardAuth,
    id: RequestId,
    (trusted, public_url): (&[IpNet], &str),
    origin: &Origin,
    head: &request::Parts,
) -> Result<Response<Body>> {
    let Some(peer) = origin.peer() else {
        return Err(Refusal::from(NOT_HERE).error);
    };
    let rest = head.uri.path().strip_prefix(PREFIX).unwrap_or_default();
    let (policy, below) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let headers = &head.headers;
    let asked = Asked { id, policy, headers, address: client(trusted, peer, headers), peer };
    let identity = judge(forward_auth, &asked, below.as_bytes(), |source| {
        let (method, uri) = match source {
            Source::Path => {
                let (method, uri) = (head.method.as_str().as_bytes(), below.as_bytes());
                return Ok(Target { method, uri, query: head.uri.query() });
            }
            Source::Forwarded => (the(headers, "x-forwarded-method")?, the(headers, "x-forwarded-uri")?),
            Source::Original => (the(headers, "x-original-method")?, the(headers, "x-original-uri")?),
        };
        Ok(Target { method, uri, query: query_of(uri) })
    });
    let identity = match identity.await {
        Ok(identity) => identity,
        Err(error) => {
            let to_login = signs_in(forward_auth, policy, &error);
            return match to_login.and_then(|policy| address_of(policy.source, head, below)) {
                Some(address) => to_sign_in(public_url, &address),
                None => Err(deny(error)),
            };
        }
    };
    let mut response = Response::new(Body::default());
    for (name, value) in self::headers(&identity) {
        response.headers_mut().insert(name, HeaderValue::from_str(value).map_err(Error::internal).map_err(deny)?);
    }
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    Ok(response)
}

/// The policy, if it sends who is refused like this to the sign-in.
pub(super) fn signs_in<'a>(forward_auth: &'a ForwardAuth, policy: &str, error: &Error) -> Option<&'a Policy> {
    let is_anonymous = matches!(error.code, Code::Unauthenticated | Code::InvalidToken);
    forward_auth.policy(policy).filter(|policy| is_anonymous && policy.redirect_to_login)
}

/// The address that a browser asked the proxy for; `None` if it is not one that a person opened.
fn address_of(source: Source, head: &request::Parts, below: &str) -> Option<String> {
    let headers = &head.headers;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (method, host, uri) = match source {
        Source::Forwarded => {
            (text("x-forwarded-method")?, text("x-forwarded-host")?, text("x-forwarded-uri")?.to_owned())
        }
        Source::Path => {
            let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            (head.method.as_str(), text("host")?, format!("{below}{query}"))
        }
        // nginx shows the browser no answer of authd's but the status: its `error_page` sends it to the sign-in.
        Source::Original => return None,
    };
    let scheme = text("x-forwarded-proto").unwrap_or("https");
    opened(method, &format!("{scheme}://{host}{uri}"), headers)
}

/// The address, if a person opened it. What the proxy says of host and scheme is not trusted: after the sign-in the browser
/// only goes to hosts of the cookie's domain.
pub(super) fn opened(method: &str, address: &str, headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // Not for scripts and images (Fetch Metadata); browsers without that say that they want a page.
    let is_navigation = match text("sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        None => text("accept").is_some_and(|accept| accept.contains("text/html")),
    };
    (matches!(method, "GET" | "HEAD") && is_navigation).then(|| address.to_owned())
}

/// Sends the browser to the sign-in, and from there to the address.
pub(super) fn to_sign_in(public_url: &str, address: &str) -> Result<Response<Body>> {
    let location = format!("{public_url}/login?return_to={}", shared::wire::percent_encode(address));
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(LOCATION, HeaderValue::from_str(&location).map_err(Error::internal)?);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    Ok(response)
}

/// Who asks about a request, by which policy.
pub(super) struct Asked<'a> {
    pub id: RequestId,
    pub policy: &'a str,
    /// The headers of the request that is asked about.
    pub headers: &'a HeaderMap,
    /// Its client's address, if a trusted proxy told it.
    pub address: Option<IpAddr>,
    pub peer: IpAddr,
}

/// The request that is asked about.
pub(super) struct Target<'a> {
    pub method: &'a [u8],
    pub uri: &'a [u8],
    pub query: Option<&'a str>,
}

/// Judges a request by the policy of this name; a refusal is logged, with `uri` if the target cannot be found.
pub(super) async fn judge<'a>(
    forward_auth: &ForwardAuth,
    asked: &Asked<'_>,
    uri: &'a [u8],
    target: impl FnOnce(Source) -> Result<Target<'a>, &'static str> + Send,
) -> Result<Identity> {
    let mut sent = uri;
    let answer = async {
        let policy = forward_auth.policy(asked.policy).ok_or("no policy of this name is configured")?;
        let target = target(policy.source)?;
        sent = target.uri;
        let readings = readings(ForwardedRequest::new(target.method, target.uri)?, target.query, asked.headers)?;
        let credential = credential(asked.headers, &forward_auth.cookies);
        forward_auth.decide(policy, &readings, credential, asked.address).await
    };
    answer.await.map_err(|refusal: Refusal| {
        forward_auth.log(asked.id, asked.policy, sent, asked.address.unwrap_or(asked.peer), &refusal);
        refusal.error
    })
}

/// What the service is told, in these headers.
pub(super) fn headers(identity: &Identity) -> [(HeaderName, &str); 7] {
    let Identity { subject, name, scopes, roles, permissions, token_id, session_id } = identity;
    let values = [subject, name, scopes, roles, permissions, token_id, session_id];
    std::array::from_fn(|place| (HeaderName::from_static(IDENTITY[place]), values[place].as_str()))
}

/// The headers that tell the service who it is.
const IDENTITY: [&str; 7] = [
    "x-auth-subject",
    "x-auth-name",
    "x-auth-scopes",
    "x-auth-roles",
    "x-auth-permissions",
    "x-auth-token-id",
    "x-auth-session-id",
];

pub(super) fn is_identity(name: &str) -> bool {
    IDENTITY.contains(&name)
}

/// The request, and what services make of it that let headers or the query override its method or path.
fn readings(
    request: ForwardedRequest,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Vec<ForwardedRequest>, &'static str> {
    let mut methods: Vec<String> = query.map(model::methods_of_query).into_iter().flatten().collect();
    let mut uris = Vec::new();
    for (name, value) in headers {
        match Override::of(name.as_str()) {
            Some(Override::Method) => methods.push(String::from_utf8_lossy(value.as_bytes()).into_owned()),
            Some(Override::Path) => uris.push(value.as_bytes()),
            None => {}
        }
    }
    request.readings(&methods, &uris)
}

/// What a header overrides, for services that let it.
enum Override {
    Method,
    Path,
}

impl Override {
    fn of(name: &str) -> Option<Self> {
        if !name.starts_with('x') {
            return None;
        }
        // CGI and WSGI do not distinguish the two.
        match name.replace('_', "-").as_str() {
            name if METHOD_HEADERS.contains(&name) => Some(Self::Method),
            // IIS, and what runs behind it.
            "x-original-url" | "x-rewrite-url" => Some(Self::Path),
            _ => None,
        }
    }
}

/// Whether some service takes its path from this header.
pub(super) fn overrides_path(name: &str) -> bool {
    matches!(Override::of(name), Some(Override::Path))
}

pub(super) fn query_of(uri: &[u8]) -> Option<&str> {
    std::str::from_utf8(uri).ok()?.split_once('?').map(|(_, query)| query)
}

/// The single value of a header. Repeated values are refused: one may be the client's.
fn the<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a [u8], &'static str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value.as_bytes()),
        _ => Err("the proxy must name method and URI once, in the headers of the policy's source"),
    }
}

/// The bearer, or the header `token`; else the cookie of a browser's session. Two that differ are refused: the service may
/// use either.
fn credential<'a>(headers: &'a HeaderMap, cookies: &Cookies) -> Result<Option<Credential<'a>>> {
    let unreadable = |error: Error| Error::new(Code::InvalidToken, error.detail);
    match (bearer(headers).map_err(unreadable)?, header_token(headers).map_err(unreadable)?) {
        (Some(bearer), Some(token)) if bearer != token => {
            Err(Error::new(Code::InvalidToken, "Authorization and the header token differ; send one of them"))
        }
        (bearer, token) => {
            let cookie = || cookies.find_session(headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes)).one();
            Ok(bearer.or(token).map(Credential::Token).or_else(|| cookie().map(Credential::Cookie)))
        }
    }
}

/// The client's address, if a trusted proxy sends it. The caller here is a proxy, so its own address is not used.
fn client(trusted: &[IpNet], peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
    let is_told = headers.contains_key(FORWARDED_FOR) && forwarded::is_trusted(peer.to_canonical(), trusted);
    is_told.then(|| forwarded::client(peer, headers, trusted))
}

/// Maps an error to a status that proxies understand: 401, 403 or 503.
pub(super) fn deny(error: Error) -> Error {
    match error.code {
        Code::Unauthenticated | Code::InvalidToken | Code::Forbidden | Code::Unavailable => error,
        code if code.status() < 500 => Error { code: Code::Forbidden, ..error },
        _ => Error { code: Code::Unavailable, ..error }.retry_after(1),
    }
}

#[cfg(test)]
mod tests;
