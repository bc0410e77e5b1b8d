//! What this program takes from outside: streams, environment variables, time and randomness; a test replaces each.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use crate::error::Error;

/// What a command may touch besides files and the network.
pub struct Io {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    /// Whether a person sees what is said.
    pub err_is_terminal: bool,
    env: HashMap<OsString, OsString>,
    now: fn() -> i64,
    random: fn(&mut [u8]),
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Io")
    }
}

impl Io {
    /// The process's own.
    pub fn real() -> Self {
        Self {
            out: Box::new(anstream::stdout()),
            err: Box::new(anstream::stderr()),
            err_is_terminal: std::io::stderr().is_terminal(),
            env: std::env::vars_os().collect(),
            now: system_time,
            random: system_random,
        }
    }

    /// Streams into the given writers, and nothing in the environment but what is given.
    pub fn fake(out: Box<dyn Write>, err: Box<dyn Write>, env: &[(&str, &str)]) -> Self {
        let env = env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Self { out, err, err_is_terminal: false, env, now: system_time, random: system_random }
    }

    /// Writes a line that is the command's result.
    pub fn print(&mut self, line: impl fmt::Display) -> Result<(), Error> {
        let written = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
        written.map_err(|error| Error::refused(format!("cannot write the result: {error}")))
    }

    /// Says a line to the person, if there is one.
    pub fn say(&mut self, line: impl fmt::Display) {
        // Nobody to tell is no reason to stop.
        let _ = writeln!(self.err, "{line}").and_then(|()| self.err.flush());
    }

    /// Says something without ending the line.
    pub fn ask(&mut self, text: impl fmt::Display) {
        let _ = write!(self.err, "{text}").and_then(|()| self.err.flush());
    }

    /// Seconds since the Unix epoch.
    pub fn now(&self) -> i64 {
        (self.now)()
    }

    /// Unpredictable bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.random)(&mut bytes);
        bytes
    }

    /// A variable that is set and not empty.
    pub fn var(&self, name: &str) -> Option<&OsString> {
        self.env.get(std::ffi::OsStr::new(name)).filter(|value| !value.is_empty())
    }

    /// A variable with an absolute path; the XDG specification ignores relative ones.
    pub fn dir(&self, name: &str) -> Option<PathBuf> {
        self.var(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where this program asks for the time")]
fn system_time() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[expect(clippy::disallowed_methods, reason = "the one place where this program asks for randomness")]
fn system_random(bytes: &mut [u8]) {
    // Without randomness there is no login that would be safe.
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}
