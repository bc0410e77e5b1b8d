//! Reads the body of a request, with limits of media type, size and time; and throws the rest of a refused one away.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HeaderMap, HeaderValue, ORIGIN};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use shared::op::Info;
use shared::problem::Code;

use super::config::Config;
use super::connections::{Connection, Late, Stream};
use super::socket::{DISCARD_TIMEOUT, MAX_DISCARDED};
use crate::error::{Error, Result};

/// The media type of requests and responses of operations.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
const FORM: &str = "application/x-www-form-urlencoded";

/// A request's body, as far as nobody has read it.
pub struct Unread(Option<Incoming>);

impl Unread {
    pub fn new(body: Incoming) -> Self {
        Self((!body.is_end_stream()).then_some(body))
    }

    /// The body itself, for who reads it as it comes.
    pub fn take(&mut self) -> Option<Incoming> {
        self.0.take()
    }

    /// Reads the body for an operation; returns whether it arrived later than the head.
    pub async fn read(&mut self, info: &Info, bounds: &Bounds<'_>) -> Result<(Bytes, bool)> {
        // The fields of a DELETE may come in the query or, as some clients send them, in a body.
        if self.0.is_none() || !(info.method.has_body() || info.method == shared::op::Method::Delete) {
            return Ok((Bytes::new(), false));
        }
        check_media(info, bounds.headers)?;
        let announced = bounds.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > bounds.config.max_body as u64) {
            return Err(too_large(bounds.config.max_body));
        }
        self.collect(bounds).await
    }

    /// Reads the whole body; returns whether it had to wait. Most bodies arrive with the head, so that only a late one
    /// costs a timer and is counted.
    pub async fn collect(&mut self, bounds: &Bounds<'_>) -> Result<(Bytes, bool)> {
        let Some(body) = &mut self.0 else { return Ok((Bytes::new(), false)) };
        let mut gathered = Gathered::default();
        let now = poll_fn(|context| Poll::Ready(gathered.poll(body, bounds, None, context))).await;
        if let Poll::Ready(result) = now {
            result?;
            self.0 = None;
            return Ok((gathered.finish(), false));
        }
        let result = Box::pin(late(body, gathered, bounds)).await;
        if !result.as_ref().is_err_and(|error| error.code == Code::PayloadTooLarge) {
            // Either it was read, or nobody waits for the rest, which may still be on its way when the connection ends.
            self.0 = None;
            if result.is_err() && !bounds.connection.makes_room() {
                bounds.connection.discard();
            }
        }
        Ok((result?, true))
    }

    /// The next piece of a body that is read as it comes; nothing at its end.
    pub async fn piece(&mut self, connection: &Connection) -> Result<Option<Bytes>> {
        while let Some(body) = &mut self.0 {
            let Some(frame) = body.frame().await else {
                self.0 = None;
                connection.body_ended();
                break;
            };
            let frame = frame.map_err(|error| {
                self.0 = None;
                cut_off(error)
            })?;
            if let Ok(data) = frame.into_data() {
                connection.passed_on(data.len());
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Reads the rest of a request that was refused and throws it away, beside the answer and within bounds: a client that
    /// is still sending would not read the answer before it is done.
    pub fn discard(self, headers: &HeaderMap, connection: &Arc<Connection>, stream: Option<Arc<Stream>>) {
        let Some(mut body) = self.0 else { return };
        connection.discard();
        if headers.contains_key(EXPECT) {
            // The client waits for this answer before it sends.
            return;
        }
        let connection = connection.clone();
        tokio::spawn(tokio::time::timeout(DISCARD_TIMEOUT, async move {
            let mut discarded = 0;
            while discarded < MAX_DISCARDED
                && let Some(Ok(frame)) = body.frame().await
            {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                connection.passed_on(bytes);
                discarded += bytes;
            }
            drop(stream);
        }));
    }
}

/// What bounds a body.
pub struct Bounds<'a> {
    pub config: &'a Config,
    pub connection: &'a Arc<Connection>,
    pub headers: &'a HeaderMap,
    /// The client's.
    pub address: Option<IpAddr>,
}

fn check_media(info: &Info, headers: &HeaderMap) -> Result<()> {
    let media = headers.get(CONTENT_TYPE);
    if info.oauth {
        if media.is_none_or(|value| is_media(value, |essence| essence.eq_ignore_ascii_case(FORM))) {
            return Ok(());
        }
        let detail = "send a form, with the header Content-Type: application/x-www-form-urlencoded";
        return Err(Error::new(Code::UnsupportedMediaType, detail));
    }
    // Forms of other sites can send cookies and passwords, but not this media type.
    let may_be_a_form = info.password || headers.contains_key(COOKIE) || headers.contains_key(ORIGIN);
    let is_json = match media {
        Some(value) => *value == JSON || is_media(value, is_json),
        None => !may_be_a_form,
    };
    if is_json {
        return Ok(());
    }
    Err(Error::new(Code::UnsupportedMediaType, "send JSON, with the header Content-Type: application/json"))
}

fn is_media(value: &HeaderValue, accepts: impl Fn(&str) -> bool) -> bool {
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    accepts(essence.trim())
}

/// `application/json`, and `application/…+json` (RFC 6839 §3.1).
fn is_json(essence: &str) -> bool {
    let essence = essence.to_ascii_lowercase();
    let Some(subtype) = essence.strip_prefix("application/") else { return false };
    subtype == "json" || subtype.strip_suffix("+json").is_some_and(|prefix| !prefix.is_empty())
}

/// Waits for the rest of a body, unless it has to give way.
async fn late(body: &mut Incoming, mut gathered: Gathered, bounds: &Bounds<'_>) -> Result<Bytes> {
    let late = Late::new(bounds.connection, bounds.headers, bounds.address);
    gathered.unpin();
    late.hold(gathered.len());
    let seconds = bounds.config.body_seconds;
    let gathering = poll_fn(|context| gathered.poll(body, bounds, Some(&late), context));
    tokio::select! {
        gathered = tokio::time::timeout(Duration::from_secs(seconds), gathering) => gathered
            .map_err(|_| Error::new(Code::RequestTimeout, format!("the body did not arrive within {seconds} s")))??,
        () = late.gives_way() => {
            let detail = "the body had not arrived when others needed the room, or authd stops; try again";
            return Err(Error::new(Code::Unavailable, detail).retry_after(1));
        }
    }
    Ok(gathered.finish())
}

/// The frames of a body in one piece.
#[derive(Default)]
struct Gathered {
    /// The only frame of nearly every body, which is passed on unchanged.
    first: Bytes,
    more: BytesMut,
}

impl Gathered {
    fn len(&self) -> usize {
        self.first.len() + self.more.len()
    }

    /// Copies what is there: a frame keeps the whole buffer that it was read into.
    fn unpin(&mut self) {
        self.more.extend_from_slice(&std::mem::take(&mut self.first));
    }

    fn finish(self) -> Bytes {
        if self.more.is_empty() { self.first } else { self.more.freeze() }
    }

    /// Reads frame by frame, within the bounds. http-body-util's `Limited` and `collect` do the same with a
    /// boxed error and a list of frames.
    fn poll(
        &mut self,
        body: &mut Incoming,
        bounds: &Bounds<'_>,
        late: Option<&Late>,
        context: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        while let Some(frame) = ready!(Pin::new(&mut *body).poll_frame(context)) {
            let frame = frame.map_err(cut_off)?;
            let Ok(data) = frame.into_data() else { continue };
            bounds.connection.passed_on(data.len());
            let limit = bounds.config.max_body;
            if self.len() + data.len() > limit {
                return Poll::Ready(Err(too_large(limit)));
            }
            if let Some(late) = late {
                late.hold(data.len());
            }
            if self.len() == 0 && late.is_none() {
                self.first = data;
            } else {
                self.unpin();
                self.more.extend_from_slice(&data);
            }
            if body.is_end_stream() {
                break;
            }
        }
        bounds.connection.body_ended();
        Poll::Ready(Ok(()))
    }
}

fn cut_off(error: hyper::Error) -> Error {
    Error::new(Code::MalformedRequest, "the body was cut off").because(error)
}

fn too_large(limit: usize) -> Error {
    Error::new(Code::PayloadTooLarge, format!("the body may have at most {limit} bytes"))
}
