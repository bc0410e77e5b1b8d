//! The JSON of answers that services ask for with every request, written member by member: most of it is ready in the
//! caches. Each such answer has a test that holds it against its struct.

use crate::registry::Reply;

/// Room for an answer without its names.
const ROOM: usize = 256;

/// An object that is being written.
#[derive(Debug)]
pub struct Json(Vec<u8>);

impl Json {
    /// Begins with `start`, a brace and the first member; `more` is about how many bytes the names take that follow.
    pub fn new(start: &'static str, more: usize) -> Self {
        let mut body = Vec::with_capacity(ROOM + more);
        body.extend_from_slice(start.as_bytes());
        Self(body)
    }

    /// `,"name":`, to be followed by a value.
    pub fn member(&mut self, name: &'static str) -> &mut Self {
        self.raw(",\"").raw(name).raw("\":")
    }

    /// JSON that is ready, or text that needs no escape.
    pub fn raw(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        self.0.extend_from_slice(text.as_ref());
        self
    }

    pub fn value<T: serde::Serialize + ?Sized>(&mut self, value: &T) -> &mut Self {
        // Strings and numbers, into memory: it cannot fail.
        let _ = serde_json::to_writer(&mut self.0, value);
        self
    }

    pub fn id(&mut self, id: uuid::Uuid) -> &mut Self {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        self.raw("\"").raw(id.as_hyphenated().encode_lower(&mut text)).raw("\"")
    }

    /// Closes the object; the answer is 200.
    pub fn end(mut self) -> Reply {
        self.raw("}");
        Reply { status: 200, body: self.0.into() }
    }
}
