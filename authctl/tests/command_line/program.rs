//! The program without its process: arguments in, output and exit code out.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;

use shared::cli::Exit;
use shared::secret::Secret;
use shared::time::Time;

/// 2027-01-15T08:00:00Z.
const NOW: i64 = 1_800_000_000_000;

/// What one run of the program printed.
#[derive(Debug)]
pub struct Run {
    pub exit: Exit,
    pub out: String,
    pub err: String,
}

/// A run without a terminal, in an environment that holds only what the test gives.
#[derive(Debug, Default)]
pub struct Program<'t> {
    pub env: &'t [(&'t str, &'t str)],
    pub width: Option<u16>,
    pub confirm: Option<bool>,
    pub stdin: &'t str,
    /// Somebody is at a terminal, and types this, line by line; implied by `confirm`.
    pub typed: Option<&'t [&'t str]>,
    /// Nothing can be written to stdout.
    pub is_full: bool,
}

/// An output that takes nothing.
struct Full;

impl io::Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Ok(0)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl authctl::Output for Full {
    fn bytes(&mut self) -> &mut dyn io::Write {
        self
    }
}

impl Program<'_> {
    pub fn run(&self, args: &[&str]) -> Run {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut full = Full;
        let env = |name: &str| self.env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        let typed = self.typed.unwrap_or_default().iter().map(|line| (*line).to_owned()).rev().collect();
        let person = Typist { answer: self.confirm.unwrap_or_default(), typed: RefCell::new(typed) };
        let has_person = self.confirm.is_some() || self.typed.is_some();
        let stdin = |limit: u64| Ok(self.stdin.bytes().take(usize::try_from(limit).unwrap_or(usize::MAX)).collect());
        let mut io = authctl::Io {
            out: if self.is_full { &mut full } else { &mut out },
            err: &mut err,
            colour: false,
            colour_errors: false,
            width: self.width,
            env: &env,
            now: &|| Time::from_millis(NOW),
            new_key: &|| "key-1".to_owned(),
            person: has_person.then_some(&person as &dyn authctl::Person),
            read_stdin: &stdin,
        };
        let args = ["authctl"].iter().chain(args).map(OsString::from);
        let exit = authctl::run(args, &mut io);
        let text = |bytes| String::from_utf8(bytes).expect("only text is printed");
        Run { exit, out: text(out), err: text(err) }
    }
}

/// Answers every question the same, and types what a test gives.
struct Typist {
    answer: bool,
    typed: RefCell<Vec<String>>,
}

impl Typist {
    fn next(&self) -> io::Result<String> {
        self.typed.borrow_mut().pop().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl authctl::Person for Typist {
    fn confirm(&self, question: &str) -> io::Result<bool> {
        assert!(question.contains('?') && !question.contains('\u{1b}'), "{question}");
        Ok(self.answer)
    }

    fn line(&self, _: &str, default: Option<&str>) -> io::Result<String> {
        let line = self.next()?;
        Ok(if line.is_empty() { default.unwrap_or_default().to_owned() } else { line })
    }

    fn secret(&self, prompt: &str) -> io::Result<Secret> {
        assert!(!prompt.is_empty());
        self.next().map(Secret::new)
    }
}
