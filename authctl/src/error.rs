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
            Self::Declined | Self::Output(_) => Exit::Refused,
            Self::Call(call) => (&call.source).into(),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
