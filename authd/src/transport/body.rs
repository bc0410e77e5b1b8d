//! Reads the body of a request, with limits of media type, size and time.

use std::task::Poll;
use std::time::Duration;

use ::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use shared::op::Info;
use shared::problem::Code;

use super::config::Config;
use crate::error::{Error, Result};

/// The media type of requests and responses of operations.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// Reads the body for an operation; returns whether it arrived later than the head.
pub async fn read(info: &Info, headers: &HeaderMap, body: Incoming, config: &Config) -> Result<(Bytes, bool)> {
    // The fields of a DELETE may come in the query or, as some clients send them, in a body.
    let is_expected = info.method.has_body() || (info.method == shared::op::Method::Delete && !body.is_end_stream());
    if !is_expected {
        return Ok((Bytes::new(), false));
    }
    let media = if info.oauth { &FORM } else { &JSON };
    let is_media = |value: &HeaderValue| {
        let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case(media.to_str().unwrap_or_default())
    };
    if headers.get(CONTENT_TYPE).is_some_and(|value| value != media && !is_media(value)) {
        let detail = if info.oauth {
            "send a form, with the header Content-Type: application/x-www-form-urlencoded"
        } else {
            "send JSON, with the header Content-Type: application/json"
        };
        return Err(Error::new(Code::UnsupportedMediaType, detail));
    }
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > config.max_body as u64) {
        return Err(too_large(config.max_body));
    }
    collect(body, config).await
}

/// Reads the whole body; returns whether it had to wait. Most bodies arrive with the head, so the deadline's timer is
/// set only if one does not.
pub async fn collect(body: Incoming, config: &Config) -> Result<(Bytes, bool)> {
    let mut gathering = std::pin::pin!(gather(body, config.max_body));
    match std::future::poll_fn(|context| Poll::Ready(gathering.as_mut().poll(context))).await {
        Poll::Ready(body) => Ok((body?, false)),
        Poll::Pending => {
            let seconds = config.body_seconds;
            let body = tokio::time::timeout(Duration::from_secs(seconds), gathering)
                .await
                .map_err(|_| Error::new(Code::RequestTimeout, format!("the body did not arrive within {seconds} s")))?;
            Ok((body?, true))
        }
    }
}

/// Reads frame by frame, at most `limit` bytes. http-body-util's `Limited` and `collect` do the same with a boxed error
/// and a list of frames; nearly every body here is one frame, which is passed on unchanged.
async fn gather(mut body: Incoming, limit: usize) -> Result<Bytes> {
    let mut whole = Bytes::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::new(Code::MalformedRequest, "the body was cut off").because(error))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        whole = if whole.is_empty() { data } else { [whole, data].concat().into() };
        if body.is_end_stream() {
            break;
        }
    }
    Ok(whole)
}

fn too_large(limit: usize) -> Error {
    Error::new(Code::PayloadTooLarge, format!("the body may have at most {limit} bytes"))
}
