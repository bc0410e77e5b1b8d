//! Why a command did not do what it was asked, for a person to read and a script to branch on.

use std::fmt;
use std::path::Path;

use shared::cli::Exit;

/// A failure with its exit code. The text says what to do next and never holds a secret.
#[derive(Debug)]
pub struct Error {
    pub exit: Code,
    detail: String,
}

/// How the process ends: one of the codes that both programs share, or a signal's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Exit(Exit),
    /// 128 and the signal's number, as shells say it.
    Signal(u8),
    /// What `exec` says when there is no such command (127) or it cannot be run (126), as shells do.
    Exec(u8),
}

impl From<Code> for std::process::ExitCode {
    fn from(code: Code) -> Self {
        match code {
            Code::Exit(exit) => exit.into(),
            Code::Signal(number) => Self::from(128 + number),
            Code::Exec(number) => Self::from(number),
        }
    }
}

impl Error {
    fn new(exit: Exit, detail: impl Into<String>) -> Self {
        Self { exit: Code::Exit(exit), detail: detail.into() }
    }

    /// This program, or authd, said no.
    pub fn refused(detail: impl Into<String>) -> Self {
        Self::new(Exit::Refused, detail)
    }

    /// The command line asks for what cannot be.
    pub fn usage(detail: impl Into<String>) -> Self {
        Self::new(Exit::Usage, detail)
    }

    /// There is no session, or it has ended.
    pub fn not_authenticated(detail: impl Into<String>) -> Self {
        Self::new(Exit::NotAuthenticated, detail)
    }

    /// Nobody answers.
    pub fn unreachable(detail: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, detail)
    }

    /// A command of `exec` that could not be started.
    pub fn exec(code: u8, detail: impl Into<String>) -> Self {
        Self { exit: Code::Exec(code), detail: detail.into() }
    }

    /// Something about a file went wrong.
    pub fn file(what: &str, path: &Path, error: impl fmt::Display) -> Self {
        Self::refused(format!("cannot {what} {}: {error}", path.display()))
    }

    pub fn is_unreachable(&self) -> bool {
        self.exit == Code::Exit(Exit::Unreachable)
    }

    pub fn is_not_authenticated(&self) -> bool {
        self.exit == Code::Exit(Exit::NotAuthenticated)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}
