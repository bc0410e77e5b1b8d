//! The body of an answer.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::http::HeaderMap;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::connections::Stream;

/// The body of an answer: bytes that are there, and for gRPC the trailers after them.
#[derive(Debug, Default)]
pub struct Body {
    data: Bytes,
    trailers: Option<Box<HeaderMap>>,
    /// Instead of both, a stream of messages, or a file.
    messages: Option<tonic::body::Body>,
    _stream: Option<Arc<Stream>>,
}

impl Body {
    pub(super) fn with_trailers(data: Bytes, trailers: HeaderMap) -> Self {
        Self { data, trailers: Some(Box::new(trailers)), ..Self::default() }
    }

    pub(super) fn messages(messages: tonic::body::Body) -> Self {
        Self { messages: Some(messages), ..Self::default() }
    }

    /// The stream of HTTP/2 counts until its bytes are written.
    #[must_use]
    pub(super) fn counted(self, stream: Arc<Stream>) -> Self {
        if self.messages.is_some() {
            return Self { _stream: Some(stream), ..self };
        }
        Self { data: Bytes::from_owner(Streamed { data: self.data, _stream: stream }), ..self }
    }

    pub(super) fn into_data(self) -> Bytes {
        self.data
    }
}

/// The bytes of an answer on HTTP/2, whose stream counts until they are written.
struct Streamed {
    data: Bytes,
    _stream: Arc<Stream>,
}

impl AsRef<[u8]> for Streamed {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl From<Bytes> for Body {
    fn from(data: Bytes) -> Self {
        Self { data, ..Self::default() }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if let Some(messages) = &mut this.messages {
            return Pin::new(messages).poll_frame(context).map_err(Into::into);
        }
        if !this.data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.data)))));
        }
        Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(*trailers))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.messages {
            Some(messages) => messages.is_end_stream(),
            None => self.data.is_empty() && self.trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.messages {
            Some(messages) => messages.size_hint(),
            None => SizeHint::with_exact(self.data.len() as u64),
        }
    }
}
