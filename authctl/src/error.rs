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
    /// No admin socket answers.
    NoSocket(Vec<Tried>),
    /// The person said no.
    Declined,
    /// A call that may have happened without its answer; the key asks for the same answer again.
    Unanswered { key: String, call: Box<FailedCall> },
    /// A secret was made but could not be printed; the key asks for it again.
    Unshown { key: String, source: io::Error },
    /// A secret was made but could not be printed, and cannot be had again; how to be rid of it.
    Lost { advice: String, source: io::Error },
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

/// An admin socket that was tried, and why it is none.
#[derive(Debug)]
pub(crate) struct Tried {
    pub path: PathBuf,
    pub problem: SocketProblem,
}

#[derive(Debug)]
pub(crate) enum SocketProblem {
    /// Nothing is there.
    Missing,
    /// A leftover: nobody listens.
    Dead,
    NotASocket,
    /// It is there, but this user may not open it.
    NotAllowed,
    Other(io::Error),
}

impl Error {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::NoSocket(_) | Self::Unanswered { .. } => Exit::Unreachable,
            Self::NotAuthenticated(_) => Exit::NotAuthenticated,
            Self::Declined | Self::Refused(_) | Self::Output(_) | Self::Unshown { .. } | Self::Lost { .. } => {
                Exit::Refused
            }
            Self::Stopped { call, .. } | Self::Call(call) => (&call.source).into(),
        }
    }

    /// Known to the daemon, but not allowed.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.status() == Some(403)
    }

    /// Nobody the daemon knows, or not any more.
    pub(crate) fn is_unauthenticated(&self) -> bool {
        self.status() == Some(401)
    }

    /// There is no such thing.
    pub(crate) fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// The HTTP status of a refusal.
    fn status(&self) -> Option<u16> {
        match self {
            Self::Call(call) => match &call.source {
                client::Error::Refused(problem) => Some(problem.status),
                _ => None,
            },
            _ => None,
        }
    }

    /// An answer that could not be printed can be had again with this key.
    pub(crate) fn with_key(self, key: String) -> Self {
        match self {
            Self::Output(source) => Self::Unshown { key, source },
            error => error,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
