//! The environment of the program: streams and variables, which a test replaces, time and randomness.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{ErrorKind, IsTerminal, Write};

use shared::cli::{clean_json, clean_lines};
use shared::qr::Qr;
use shared::terminal;
use tokio::sync::mpsc::Receiver;

use crate::error::Error;
use crate::prompt;

/// What a command may use besides files and the network.
pub struct Io {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    env: HashMap<OsString, OsString>,
    /// Whether somebody at a terminal can be asked.
    has_person: bool,
    /// What they type, from the first question on.
    lines: Option<Receiver<String>>,
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
            has_person: std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
            lines: None,
        }
    }

    /// The given writers and environment, and nothing else.
    #[cfg(test)]
    pub fn fake(out: Box<dyn Write>, err: Box<dyn Write>, env: &[(&str, &str)]) -> Self {
        let env = env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Self { out, err, env, has_person: false, lines: None }
    }

    /// Writes a line that is the command's result. Like everything that this program prints, it is cleaned: it may contain
    /// text of the server or of the provider.
    pub fn print(&mut self, line: impl fmt::Display) -> Result<(), Error> {
        self.write(&clean_lines(&line.to_string()))
    }

    /// Writes an object that is the command's result, as a line of JSON.
    pub fn print_json(&mut self, object: &serde_json::Value) -> Result<(), Error> {
        self.write(&clean_json(&object.to_string()))
    }

    fn write(&mut self, line: &str) -> Result<(), Error> {
        match writeln!(self.out, "{line}").and_then(|()| self.out.flush()) {
            // The reader has read enough, as in `auth-login status | head -1`.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|error| Error::refused(format!("cannot write the result: {error}"))),
        }
    }

    /// Prints a line on standard error, for the person.
    pub fn say(&mut self, line: impl fmt::Display) {
        // Errors are ignored: nobody may be reading.
        let _ = writeln!(self.err, "{}", clean_lines(&line.to_string())).and_then(|()| self.err.flush());
    }

    /// Prints a QR code on standard error.
    pub fn show(&mut self, qr: &Qr) {
        let text = if self.is_utf8() { qr.to_text(true) } else { qr.to_ascii() };
        let _ = writeln!(self.err, "{text}").and_then(|()| self.err.flush());
    }

    /// Prints a prompt without a line end.
    pub fn ask(&mut self, text: impl fmt::Display) {
        let _ = write!(self.err, "{}", clean_lines(&text.to_string())).and_then(|()| self.err.flush());
    }

    /// Asks a yes-or-no question; `None` without a person at a terminal.
    pub async fn confirm(&mut self, question: impl fmt::Display) -> Option<bool> {
        if !self.has_person {
            return None;
        }
        self.ask(format!("{question} [y/N] "));
        let mut lines = self.lines();
        let answer = lines.recv().await.unwrap_or_default();
        self.keep_lines(lines);
        Some(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// The lines of standard input. One thread reads them for the whole command: [`Self::keep_lines`] takes them back.
    pub fn lines(&mut self) -> Receiver<String> {
        self.lines.take().unwrap_or_else(prompt::lines)
    }

    pub fn keep_lines(&mut self, lines: Receiver<String>) {
        self.lines = Some(lines);
    }

    /// Whether the terminal shows more than ASCII.
    pub fn is_utf8(&self) -> bool {
        terminal::is_utf8(|name| self.var(name).cloned())
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
