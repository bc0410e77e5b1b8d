//! The failure of a command, for a person to read and a script to branch on.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use shared::cli::Exit;

/// A failure with its exit code. The text says what to do next and never holds a secret.
#[derive(Debug)]
pub struct Error {
    /// One of the codes that both programs share, or the shell's code for a command that does not start (`exec`).
    pub exit: ExitCode,
    detail: String,
}

impl Error {
    pub fn new(exit: impl Into<ExitCode>, detail: impl Into<String>) -> Self {
        Self { exit: exit.into(), detail: detail.into() }
    }

    /// This program or authd refused.
    pub fn refused(detail: impl Into<String>) -> Self {
        Self::new(Exit::Refused, detail)
    }

    /// The command line is invalid.
    pub fn usage(detail: impl Into<String>) -> Self {
        Self::new(Exit::Usage, detail)
    }

    /// There is no session, or it has ended.
    pub fn not_authenticated(detail: impl Into<String>) -> Self {
        Self::new(Exit::NotAuthenticated, detail)
    }

    /// The server does not answer.
    pub fn unreachable(detail: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, detail)
    }

    /// A file operation failed.
    pub fn file(what: &str, path: &Path, error: impl fmt::Display) -> Self {
        Self::refused(format!("cannot {what} {}: {error}", path.display()))
    }

    pub fn is_unreachable(&self) -> bool {
        self.exit == Exit::Unreachable.into()
    }

    pub fn is_not_authenticated(&self) -> bool {
        self.exit == Exit::NotAuthenticated.into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}
