//! Why a command did not do what it was told to.

use std::io;
use std::path::PathBuf;

use shared::cli::Exit;
use shared::client;

/// Each says what happened; [`crate::output::show_error`] adds what to do next.
#[derive(Debug)]
pub(crate) enum Error {
    /// The command line asks for what cannot be.
    Usage(String),
    /// No admin socket answers.
    NoSocket(Vec<Tried>),
    /// The person said no.
    Declined,
    /// A call that may have happened without its answer; the key asks for the same answer again.
    Unanswered { key: String, call: Box<FailedCall> },
    /// A secret was made but could not be printed; the key asks for it again.
    Unshown { key: String, source: io::Error },
    /// Everything else that a call can run into.
    Call(Box<FailedCall>),
    /// Reading stdin or writing stdout.
    Output(io::Error),
}

/// A call without the answer that was hoped for, and what the advice depends on.
#[derive(Debug)]
pub(crate) struct FailedCall {
    pub source: client::Error,
    pub is_socket: bool,
    pub has_credentials: bool,
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
            Self::Declined | Self::Output(_) | Self::Unshown { .. } => Exit::Refused,
            Self::Call(call) => (&call.source).into(),
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
