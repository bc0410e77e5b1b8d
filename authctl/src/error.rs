//! Why a command did not do what it was told to.

use std::io;
use std::path::PathBuf;

use shared::cli::Exit;
use shared::client::{self, Endpoint};

use crate::connect::Credentials;

/// Each says what happened; [`crate::output::show_error`] adds what to do next.
#[derive(Debug)]
pub(crate) enum Error {
    /// The command line asks for what cannot be.
    Usage(String),
    /// It cannot be done, and why; nobody was asked, or their answers rule it out.
    Refused(String),
    /// There is no session that could be used.
    NotAuthenticated(String),
    /// No admin socket answers: those that were tried, and why each is none.
    NoSocket(Vec<(PathBuf, io::Error)>),
    /// The person said no.
    Declined,
    /// A call that may have happened without its answer; the key asks for the same answer again.
    Unanswered { key: String, call: Box<FailedCall> },
    /// A secret was made but could not be printed; how to have it again, or to be rid of it.
    Unshown { advice: String, source: io::Error },
    /// Some of the changes of a file were made, then one was not.
    Stopped { done: usize, of: usize, step: String, call: Box<FailedCall> },
    /// Everything else that a call can run into.
    Call(Box<FailedCall>),
    /// Reading stdin or writing stdout.
    Output(io::Error),
}

/// A call without the answer that was hoped for, and what the advice depends on.
#[derive(Debug)]
pub(crate) struct FailedCall {
    pub source: client::Error,
    pub credentials: Credentials,
    /// For the advice to sign in.
    pub endpoint: Endpoint,
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
        match self {
            Self::Call(call) if let client::Error::Refused(problem) = &call.source => Some(problem.status),
            _ => None,
        }
    }

    /// The answer that could not be printed held a secret.
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
