//! The environment of the program: streams and variables, which a test replaces, time and randomness.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Write;

use crate::error::Error;

/// What a command may use besides files and the network.
pub struct Io {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    env: HashMap<OsString, OsString>,
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Io")
    }
}

impl Io {
    /// The streams and the environment of the process.
    pub fn real() -> Self {
        Self {
            out: Box::new(anstream::stdout()),
            err: Box::new(anstream::stderr()),
            env: std::env::vars_os().collect(),
        }
    }

    /// The given writers and environment, and nothing else.
    #[cfg(test)]
    pub fn fake(out: Box<dyn Write>, err: Box<dyn Write>, env: &[(&str, &str)]) -> Self {
        let env = env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Self { out, err, env }
    }

    /// Writes a line that is the command's result.
    pub fn print(&mut self, line: impl fmt::Display) -> Result<(), Error> {
        let written = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
        written.map_err(|error| Error::refused(format!("cannot write the result: {error}")))
    }

    /// Prints a line on standard error, for the person.
    pub fn say(&mut self, line: impl fmt::Display) {
        // Errors are ignored: nobody may be reading.
        let _ = writeln!(self.err, "{line}").and_then(|()| self.err.flush());
    }

    /// Prints a prompt without a line end.
    pub fn ask(&mut self, text: impl fmt::Display) {
        let _ = write!(self.err, "{text}").and_then(|()| self.err.flush());
    }

    /// Seconds since the Unix epoch.
    #[expect(clippy::disallowed_methods, reason = "the one place where this program asks for the time")]
    pub fn now(&self) -> i64 {
        jiff::Timestamp::now().as_second()
    }

    /// Unpredictable bytes.
    #[expect(clippy::disallowed_methods, reason = "the one place where this program asks for randomness")]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        // Without randomness no login is safe.
        getrandom::fill(&mut bytes).expect("the operating system provides random bytes");
        bytes
    }

    /// A variable that is set and not empty.
    pub fn var(&self, name: &str) -> Option<&OsString> {
        self.env.get(OsStr::new(name)).filter(|value| !value.is_empty())
    }
}
