//! The answer to a request that was refused or failed.

use std::net::IpAddr;

use ::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use ::http::{Response, StatusCode};
use bytes::Bytes;
use shared::op::{Access, Info};
use shared::problem::{Code, OAuthError};
use tracing::debug;

use super::answer::Body;
use super::body::JSON;
use super::http::NO_STORE;
use super::operation::is_for_anybody;
use crate::call::RequestId;
use crate::error::Error;
use crate::log::caused;

const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const NOSNIFF: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));

/// Logs a refusal or a failure. What anybody can cause must not fill the log.
pub(super) fn log(id: RequestId, address: Option<IpAddr>, info: Option<&Info>, error: &Error) {
    let operation = info.map_or("page", |info| info.name);
    let (code, status) = (error.code.as_str(), error.code.status());
    match (error.source_text(), status) {
        (Some(source), 500) => caused!(address, error, request_id = %id, operation, code, %source, "failed"),
        (Some(source), _) => caused!(address, warn, request_id = %id, operation, code, %source, "could not answer"),
        (None, _) if info.is_none_or(is_for_anybody) => {
            debug!(request_id = %id, operation, code, "refused");
        }
        (None, _) => caused!(address, info, request_id = %id, operation, code, "refused"),
    }
}

/// Converts an error to a response, and logs it.
pub(super) fn refuse(id: RequestId, address: Option<IpAddr>, info: Option<&Info>, error: Error) -> Response<Body> {
    log(id, address, info, &error);
    let status = error.code.status();
    let challenge = match (error.code, info.map(|info| info.access)) {
        (Code::Unauthenticated, _) => Some("Bearer realm=\"authd\"".to_owned()),
        // RFC 9470 §3: the token is good, but not enough.
        (Code::TotpRequired | Code::PasskeyRequired | Code::StepUpRequired, _) => {
            Some("Bearer realm=\"authd\", error=\"insufficient_user_authentication\"".to_owned())
        }
        (code, _) if code.status() == 401 => Some("Bearer realm=\"authd\", error=\"invalid_token\"".to_owned()),
        (Code::Forbidden, Some(Access::Permission(permission))) => {
            Some(format!("Bearer realm=\"authd\", error=\"insufficient_scope\", scope=\"{}\"", permission.scope()))
        }
        _ => None,
    };
    let retry_after = error.retry_after;
    let request_id = id.to_string();
    let problem = error.into_problem(Some(request_id.clone()));
    let is_oauth = info.is_some_and(|info| info.oauth);
    let body = if is_oauth { serde_json::to_vec(&OAuthError::from(&problem)) } else { serde_json::to_vec(&problem) };
    let mut response = Response::new(Body::from(Bytes::from(body.unwrap_or_default())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, if is_oauth { JSON } else { PROBLEM });
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(NOSNIFF.0, NOSNIFF.1);
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        headers.insert(REQUEST_ID, value);
    }
    if let Some(value) = challenge.and_then(|challenge| HeaderValue::from_str(&challenge).ok()) {
        headers.insert(WWW_AUTHENTICATE, value);
    }
    if let Some(seconds) = retry_after {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response
}
