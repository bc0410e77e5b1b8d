//! The end of a call: trailers after an answer, or a status with details instead of one.

use std::net::IpAddr;

use ::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use ::http::{Response, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost::Message;
use prost_types::{Any, Duration};
use shared::api::accounts::AccountFault;
use shared::grpc::google::rpc::bad_request::FieldViolation;
use shared::grpc::google::rpc::{BadRequest, ErrorInfo, RetryInfo, Status};
use shared::op::Info;

use super::super::answer::Body;
use super::super::refusal::{self, REQUEST_ID};
use super::MEDIA;
use crate::call::RequestId;
use crate::error::Error;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const ENCODINGS: (HeaderName, HeaderValue) =
    (HeaderName::from_static("grpc-accept-encoding"), HeaderValue::from_static("identity"));
/// Who the reasons belong to.
const DOMAIN: &str = "authd";
/// What is encoded in `grpc-message`, beside everything that is not ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');
/// The longest text of a status, and the most fields: clients bound their headers to 8 KiB.
const MAX_TEXT: usize = 512;
const MAX_FIELDS: usize = 4;

/// An answer with its metadata.
pub(super) fn ok(metadata: HeaderMap, message: Bytes) -> Response<Body> {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    let mut response = Response::new(Body::with_trailers(message, trailers));
    *response.headers_mut() = metadata;
    response.headers_mut().insert(CONTENT_TYPE, MEDIA);
    response
}

/// Converts an error to a status, and logs it. With `is_sso` its message is a code such as `E-003`, and the text for
/// people is in the details.
pub(super) fn refuse(
    id: RequestId,
    address: Option<IpAddr>,
    info: Option<&Info>,
    error: Error,
    is_sso: bool,
) -> Response<Body> {
    refusal::log(id, address, info, &error);
    let code = error.code.grpc();
    let fault = || error.fault.unwrap_or_else(|| AccountFault::of(error.code, &error.fields));
    let text = if is_sso { fault().as_str() } else { short(&error.detail) }.to_owned();
    let message = utf8_percent_encode(&text, ESCAPED).to_string();
    let details = STANDARD_NO_PAD.encode(status(error, text).encode_to_vec());
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, MEDIA);
    headers.insert(STATUS, code.into());
    headers.insert(ENCODINGS.0, ENCODINGS.1);
    for (name, value) in [(MESSAGE, message), (DETAILS, details), (REQUEST_ID, id.to_string())] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

/// The status of an error with its details.
fn status(error: Error, message: String) -> Status {
    let reason = error.code.as_str().to_ascii_uppercase();
    let told = short(&error.detail);
    let metadata = (told != message).then(|| ("detail".to_owned(), told.to_owned())).into_iter().collect();
    let mut details = vec![any("ErrorInfo", &ErrorInfo { reason, domain: DOMAIN.into(), metadata })];
    if !error.fields.is_empty() {
        let fields = error.fields.iter().take(MAX_FIELDS).map(|fault| FieldViolation {
            field: short(&fault.field).to_owned(),
            description: short(&fault.detail).to_owned(),
        });
        details.push(any("BadRequest", &BadRequest { field_violations: fields.collect() }));
    }
    if let Some(seconds) = error.retry_after.and_then(|seconds| i64::try_from(seconds).ok()) {
        details.push(any("RetryInfo", &RetryInfo { retry_delay: Some(Duration { seconds, nanos: 0 }) }));
    }
    Status { code: error.code.grpc(), message, details }
}

fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/google.rpc.{name}"), value: message.encode_to_vec() }
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}
