//! What both command-line programs have in common.

/// Exit codes, the same for both programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    /// The daemon, or this program, said no.
    Refused = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No session, or credentials that are not good.
    NotAuthenticated = 3,
    /// Nobody answers.
    Unreachable = 4,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(feature = "client")]
impl From<&crate::client::Error> for Exit {
    fn from(error: &crate::client::Error) -> Self {
        use crate::client::Error;
        match error {
            Error::Unreachable { .. } | Error::NoAnswer { .. } => Self::Unreachable,
            Error::Refused(problem) if problem.status == 401 => Self::NotAuthenticated,
            Error::Refused(_) | Error::NotAuthd { .. } => Self::Refused,
        }
    }
}
