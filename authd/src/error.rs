//! The one error of operations: a code for machines, a detail for people, a source for the log.

use std::fmt;

use shared::api::accounts::AccountFault;
use shared::problem::{Code, FieldProblem, Problem, Reason};
use shared::wire::WireError;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A refusal or a failure. `detail` is safe to show to the caller; `source` goes to the log only. There is no
/// `Display`, so that the inner text cannot leak by accident.
#[derive(Debug)]
pub struct Error {
    pub code: Code,
    pub detail: String,
    pub fields: Vec<FieldProblem>,
    /// What clients of `session.Session` are told, where the code does not say it.
    pub fault: Option<AccountFault>,
    /// Seconds after which a retry may succeed.
    pub retry_after: Option<u64>,
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), fields: Vec::new(), fault: None, retry_after: None, source: None }
    }

    /// One field is invalid (422).
    pub fn field(field: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let error = Self::new(Code::ValidationFailed, format!("{field}: {detail}"));
        error.of_field(field, detail, None)
    }

    /// The same with a reason for machines.
    pub fn field_because(field: &str, reason: Reason, detail: &str) -> Self {
        let error = Self::new(Code::ValidationFailed, format!("{field}: {detail}"));
        error.of_field(field, detail.to_owned(), Some(reason))
    }

    fn of_field(mut self, field: &str, detail: String, reason: Option<Reason>) -> Self {
        self.fields.push(FieldProblem { field: field.to_owned(), detail, reason });
        self
    }

    #[must_use]
    pub fn fault(self, fault: AccountFault) -> Self {
        Self { fault: Some(fault), ..self }
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what}"))
    }

    /// A defect of authd (500): the caller gets only the request id.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(Code::Internal, "something went wrong inside authd; its log has the details under the request id")
            .because(source)
    }

    /// A dependency is busy or down (503).
    pub fn unavailable(detail: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(Code::Unavailable, detail).retry_after(1).because(source)
    }

    #[must_use]
    pub fn because(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Converts the error for the client.
    pub fn into_problem(self, request_id: Option<String>) -> Problem {
        let Self { code, detail, fields, retry_after, .. } = self;
        Problem { request_id, fields, retry_after, ..Problem::new(code, detail) }
    }

    /// The chain of sources in one line, for the log.
    pub fn source_text(&self) -> Option<Chain<'_>> {
        self.source.as_deref().map(|source| Chain(source))
    }
}

/// An error and its sources, in one line. A layer that the layer above already quotes is left out.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        for source in std::iter::successors(self.0.source(), |source| source.source()) {
            let inner = source.to_string();
            if !text.contains(&inner) {
                text = format!("{text}: {inner}");
            }
        }
        f.write_str(&text)
    }
}

impl From<WireError> for Error {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Malformed(detail) => Self::new(Code::MalformedRequest, detail),
            WireError::Invalid { field: Some(field), detail } => Self::field(&field, detail),
            WireError::Invalid { field: None, detail } => Self::new(Code::ValidationFailed, detail),
        }
    }
}
