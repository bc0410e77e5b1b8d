//! A unary method that is an operation, or one of several.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::http::{HeaderMap, Response};
use bytes::Bytes;
use prost::Message;
use shared::op::{Info, Operation};
use shared::problem::Code;

use super::super::answer::Body;
use super::super::body::{Bounds, Unread};
use super::super::credentials::Credentials;
use super::super::operation::Encoding;
use super::{frame, status};
use crate::call::Call;
use crate::error::{Error, Result};
use crate::registry::{Called, Typed};

/// A method with erased types.
pub(super) trait Unary: Send + Sync {
    fn call<'a>(&'a self, call: Call, message: &[u8], metadata: &HeaderMap) -> Result<Called<'a, Response<Body>>>;
}

/// A message and the metadata of a call as an operation.
pub(super) type Ask<Question, Op> = fn(Question, &HeaderMap) -> Result<Op>;
/// A view as a message, and the answer's metadata if there is any.
pub(super) type Tell<View, Answer> = fn(View, &mut HeaderMap) -> Result<Answer>;

/// An operation of a method.
pub(super) struct Alternative {
    /// Its position in the registry.
    pub index: usize,
    pub info: &'static Info,
    pub method: Box<dyn Unary>,
}

/// Which of a method's operations a call is, by its metadata and message.
pub(super) type Choose = fn(&HeaderMap, &[u8]) -> usize;

/// The operations of a method, which have the same access.
pub(super) struct Operations {
    pub of: Vec<Alternative>,
    pub choose: Choose,
    pub credentials: Credentials,
}

pub(super) struct Method<Question, Op, View, Answer> {
    pub handler: Arc<dyn Typed<Op, View>>,
    pub ask: Ask<Question, Op>,
    pub tell: Tell<View, Answer>,
}

impl<Question, Op, View, Answer> Unary for Method<Question, Op, View, Answer>
where
    Question: Message + Default,
    Op: Operation,
    View: 'static,
    Answer: Message,
{
    fn call<'a>(&'a self, call: Call, message: &[u8], metadata: &HeaderMap) -> Result<Called<'a, Response<Body>>> {
        let op = (self.ask)(frame::decode(message)?, metadata)?;
        let tell = self.tell;
        let answer = move |view: View| {
            let mut metadata = HeaderMap::new();
            let message = tell(view, &mut metadata)?;
            Ok(status::ok(metadata, frame::encode(&message)?))
        };
        Ok(match self.handler.call(call, op)? {
            Called::Ready(view) => Called::Ready(answer(view)?),
            Called::Running(view) => Called::Running(Box::pin(async move { answer(view.await?) })),
        })
    }
}

/// One call of a method.
pub(super) struct Protobuf<'a> {
    operations: &'a Operations,
    metadata: &'a HeaderMap,
    chosen: AtomicUsize,
}

impl<'a> Protobuf<'a> {
    pub fn new(operations: &'a Operations, metadata: &'a HeaderMap) -> Self {
        Self { operations, metadata, chosen: AtomicUsize::new(0) }
    }

    /// The operation that the call is; the first before its message is there.
    pub fn operation(&self) -> &'a Alternative {
        &self.operations.of[self.chosen.load(Ordering::Relaxed)]
    }
}

impl Encoding for Protobuf<'_> {
    fn token<'a>(&self, headers: &'a HeaderMap, oauth: bool) -> Result<Option<Cow<'a, str>>> {
        (self.operations.credentials)(headers, oauth)
    }

    fn info(&self, _: &'static Info) -> &'static Info {
        self.operation().info
    }

    async fn read(&self, body: &mut Unread, bounds: &Bounds<'_>) -> Result<(Bytes, bool)> {
        body.collect(bounds).await
    }

    async fn call(&self, call: Call, body: &[u8]) -> Result<Response<Body>> {
        let message = frame::message(body)?;
        let chosen = (self.operations.choose)(self.metadata, message);
        self.chosen.store(chosen, Ordering::Relaxed);
        match self.operation().method.call(call, message, self.metadata)? {
            Called::Ready(response) => Ok(response),
            Called::Running(response) => response.await,
        }
    }
}

/// A text of a request. One with a NUL is refused, as in every other encoding: PostgreSQL cannot store it.
pub(super) fn text(field: &str, text: String) -> Result<String> {
    if text.contains('\0') {
        return Err(Error::new(Code::MalformedRequest, format!("{field} contains a NUL character")));
    }
    Ok(text)
}

/// The same of a text that may be absent.
pub(super) fn text_or_none(field: &str, given: Option<String>) -> Result<Option<String>> {
    given.map(|given| text(field, given)).transpose()
}
