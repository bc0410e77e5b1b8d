//! `/auth/forward/{policy}` and all paths below it, with any method: authorizes a request for a proxy.
//!
//! The answer is 200 with all identity headers (for a missing one, some proxies pass on the client's own header), else
//! 401, 403, or 503 while storage fails. The body is never read.

use std::net::IpAddr;

use ::http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};
use ::http::{Response, request};
use bytes::Bytes;
use http_body_util::Full;
use ipnet::IpNet;
use shared::problem::Code;

use super::credentials::{bearer, header_token};
use super::forwarded::{self, FORWARDED_FOR};
use super::http::{Body, NO_STORE, Origin};
use crate::error::{Error, Result};
use crate::forward_auth::model::{self, ForwardedRequest};
use crate::forward_auth::{ForwardAuth, Identity, Policy, Source};

const PREFIX: &str = "/auth/forward/";

/// Whether a path belongs to forward authentication.
pub(super) fn is_target(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// Answers a request. Every error is a denial that a proxy understands.
pub(super) async fn respond(
    forward_auth: &ForwardAuth,
    trusted: &[IpNet],
    origin: &Origin,
    head: &request::Parts,
) -> Result<Response<Body>> {
    let answering = async {
        if matches!(origin, Origin::Admin(_)) {
            return Err(forbidden("the admin socket does not answer proxies; use the public listener"));
        }
        let rest = head.uri.path().strip_prefix(PREFIX).unwrap_or_default();
        let (name, below) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let policy = forward_auth.policy(name).ok_or_else(|| forbidden("no policy of this name is configured"))?;
        let request = forwarded_request(policy, head, below).map_err(forbidden)?;
        let address = client(trusted, origin, &head.headers);
        let identity = forward_auth.decide(policy, &request, credential(&head.headers), address).await?;
        let mut response = Response::new(Full::new(Bytes::new()));
        for (name, value) in headers(&identity) {
            response.headers_mut().insert(name, HeaderValue::from_str(value).map_err(Error::internal)?);
        }
        response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
        Ok(response)
    };
    answering.await.map_err(deny)
}

fn headers(identity: &Identity) -> [(HeaderName, &str); 7] {
    [
        (HeaderName::from_static("x-auth-subject"), &identity.subject),
        (HeaderName::from_static("x-auth-name"), &identity.name),
        (HeaderName::from_static("x-auth-scopes"), &identity.scopes),
        (HeaderName::from_static("x-auth-roles"), &identity.roles),
        (HeaderName::from_static("x-auth-permissions"), &identity.permissions),
        (HeaderName::from_static("x-auth-token-id"), &identity.token_id),
        (HeaderName::from_static("x-auth-session-id"), &identity.session_id),
    ]
}

/// The proxied request, from the source of the policy.
fn forwarded_request(policy: &Policy, head: &request::Parts, below: &str) -> Result<ForwardedRequest, &'static str> {
    let (method, uri) = match policy.source {
        Source::Path => (head.method.as_str().as_bytes(), below.as_bytes()),
        Source::Forwarded => (the(&head.headers, "x-forwarded-method")?, the(&head.headers, "x-forwarded-uri")?),
        Source::Original => (the(&head.headers, "x-original-method")?, the(&head.headers, "x-original-uri")?),
    };
    Ok(ForwardedRequest { method: model::method(method)?.to_owned(), path: model::path_of(uri)? })
}

/// The single value of a header. Repeated values are refused: one may be the client's.
fn the<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a [u8], &'static str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value.as_bytes()),
        _ => Err("the proxy must name method and URI once, in the headers of the policy's source"),
    }
}

/// The bearer, or the header `token`. Two that differ are refused: the service may use either.
fn credential(headers: &HeaderMap) -> Result<Option<&str>> {
    let unreadable = |error: Error| Error::new(Code::InvalidToken, error.detail);
    match (bearer(headers).map_err(unreadable)?, header_token(headers).map_err(unreadable)?) {
        (Some(bearer), Some(token)) if bearer != token => {
            Err(Error::new(Code::InvalidToken, "Authorization and the header token differ; send one of them"))
        }
        (bearer, token) => Ok(bearer.or(token)),
    }
}

/// The client's address, if a trusted proxy sends it. The caller here is a proxy, so its own address is not used.
fn client(trusted: &[IpNet], origin: &Origin, headers: &HeaderMap) -> Option<IpAddr> {
    let Origin::Public(peer) = origin else { return None };
    let is_told = headers.contains_key(FORWARDED_FOR) && forwarded::is_trusted(peer.to_canonical(), trusted);
    is_told.then(|| forwarded::client(*peer, headers, trusted))
}

fn forbidden(detail: &str) -> Error {
    Error::new(Code::Forbidden, detail)
}

/// Maps an error to a status that proxies understand: 401, 403 or 503.
fn deny(error: Error) -> Error {
    match error.code {
        Code::Unauthenticated | Code::InvalidToken | Code::Forbidden | Code::Unavailable => error,
        code if code.status() < 500 => Error { code: Code::Forbidden, ..error },
        _ => Error { code: Code::Unavailable, ..error }.retry_after(1),
    }
}

#[cfg(test)]
mod tests;
