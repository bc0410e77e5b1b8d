//! Why a command failed.

use std::io;
use std::path::PathBuf;

use shared::cli::Exit;
use shared::client::{self, Endpoint};
use shared::problem::{Code, Problem};

use crate::connect::Credentials;

/// Each variant says what happened; [`crate::output::show_error`] adds what to do next.
#[derive(Debug)]
pub(crate) enum Error {
    /// The command line is invalid.
    Usage(String),
    /// The command cannot be done, for this reason; no call failed.
    Refused(String),
    /// There is no usable session.
    NotAuthenticated(String),
    /// No admin socket answers: the paths that were tried, with the error of each.
    NoSocket(Vec<(PathBuf, io::Error)>),
    /// The person declined.
    Declined,
    /// A call that may have happened without its answer; the key asks for the same answer again.
    Unanswered { key: String, call: Box<FailedCall> },
    /// A secret was created but could not be printed; how to get it again, or to revoke it.
    Unshown { advice: String, source: io::Error },
    /// Some of the changes of a file were made, then one failed.
    Stopped { done: usize, of: usize, step: String, call: Box<FailedCall> },
    /// Any other failure of a call.
    Call(Box<FailedCall>),
    /// Reading stdin or writing stdout.
    Output(io::Error),
}

/// A failed call, and the data that the advice depends on.
#[derive(Debug)]
pub(crate) struct FailedCall {
    pub source: client::Error,
    pub credentials: Credentials,
    /// For the advice to sign in.
    pub endpoint: Endpoint,
    /// What the command was probably meant to be.
    pub hint: Option<String>,
}

impl Error {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::NoSocket(_) | Self::Unanswered { .. } => Exit::Unreachable,
            Self::NotAuthenticated(_) => Exit::NotAuthenticated,
            Self::Declined | Self::Refused(_) | Self::Output(_) | Self::Unshown { .. } => Exit::Refused,
            Self::Stopped { call, .. } | Self::Call(call) => (&call.source).into(),
        }
    }

    /// The HTTP status of a refusal.
    pub(crate) fn status(&self) -> Option<u16> {
        self.problem().map(|problem| problem.status)
    }

    /// The stable code of a refusal.
    pub(crate) fn code(&self) -> Option<Code> {
        self.problem().map(|problem| problem.error)
    }

    /// Whether the call was refused because there is nothing of this kind by the name that it was given.
    pub(crate) fn is_unknown(&self, kind: &str) -> bool {
        let is_of_kind = |problem: &&Problem| problem.detail == format!("there is no such {kind}");
        self.problem().filter(is_of_kind).is_some_and(|problem| problem.error == Code::NotFound)
    }

    /// Adds to a failed call what it was probably meant to be.
    pub(crate) fn with_hint(mut self, hint: String) -> Self {
        if let Self::Call(call) = &mut self {
            call.hint = Some(hint);
        }
        self
    }

    fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Call(call) if let client::Error::Refused(problem) = &call.source => Some(problem),
            _ => None,
        }
    }

    /// Adds advice if the answer that could not be printed has a secret.
    pub(crate) fn with_advice(self, advice: String) -> Self {
        match self {
            Self::Output(source) => Self::Unshown { advice, source },
            error => error,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
