//! The operator's tool. It speaks the API like any other client and never opens the database.
//!
//! Invariants: a secret is never read from the command line, and printed only as the result that has it; nothing is
//! destroyed without a yes, from the person or as `--yes`; text of other people is escaped for the terminal.

mod apply;
mod args;
mod commands;
mod connect;
mod error;
mod hints;
mod output;
mod session_store;
mod values;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};

use clap::CommandFactory;
use shared::cli::{Cleaned, Exit};
use shared::secret::Secret;
use shared::time::Time;

use crate::args::Cli;
use crate::connect::Credentials;
use crate::error::Error;

/// A person at the terminal, who can be asked.
pub trait Person {
    /// Asks a yes-or-no question.
    fn confirm(&self, question: &str) -> io::Result<bool>;
    /// Asks for a line; an empty answer means the default.
    fn line(&self, prompt: &str, default: Option<&str>) -> io::Result<String>;
    /// Asks for a secret, which is not shown while it is typed.
    fn secret(&self, prompt: &str) -> io::Result<Secret>;
}

/// Standard output: text, which is cleaned, and bytes as they are.
pub trait Output: Write {
    fn bytes(&mut self) -> &mut dyn Write;
}

impl Output for io::Stdout {
    fn bytes(&mut self) -> &mut dyn Write {
        self
    }
}

impl Output for Vec<u8> {
    fn bytes(&mut self) -> &mut dyn Write {
        self
    }
}

impl Output for Cleaned<&mut (dyn Output + '_)> {
    fn bytes(&mut self) -> &mut dyn Write {
        Self::bytes(self).bytes()
    }
}

/// The environment of this program besides the daemon.
pub struct Io<'a> {
    pub out: &'a mut dyn Output,
    pub err: &'a mut dyn Write,
    /// Whether `out` and `err` take colours.
    pub colour: bool,
    pub colour_errors: bool,
    /// Columns of the terminal; `None` if `out` is not one.
    pub width: Option<u16>,
    pub env: &'a dyn Fn(&str) -> Option<String>,
    pub now: &'a dyn Fn() -> Time,
    /// Creates an unpredictable `Idempotency-Key`.
    pub new_key: &'a dyn Fn() -> String,
    /// `None` without a terminal.
    pub person: Option<&'a dyn Person>,
    /// Reads stdin to its end, but at most this many bytes.
    pub read_stdin: &'a dyn Fn(u64) -> io::Result<Vec<u8>>,
}

impl fmt::Debug for Io<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("width", &self.width).finish_non_exhaustive()
    }
}

/// Runs the command of the arguments (the first is the program's name) and returns the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>, io: &mut Io<'_>) -> Exit {
    // The one place where everything that is printed passes.
    let mut out = Cleaned::new(&mut *io.out, io.colour);
    let mut err = Cleaned::new(&mut *io.err, io.colour_errors);
    let exit = run_with(args, &mut Io { out: &mut out, err: &mut err, ..*io });
    // A failed flush means that there is no reader.
    let _ = err.flush();
    let _ = out.flush();
    exit
}

fn run_with(args: impl IntoIterator<Item = OsString>, io: &mut Io<'_>) -> Exit {
    // Without a terminal the help has 100 columns.
    let command = Cli::command().term_width(usize::from(io.width.unwrap_or(100)));
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match shared::cli::parse::<Cli>(command, args.clone()) {
        Ok(cli) => cli,
        Err(error) => return show_usage(&error, &args, io),
    };
    match execute(cli, io) {
        Ok(exit) => exit,
        // The reader closed the pipe, as in `authctl list | head`.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(error) => {
            output::show_error(&error, io);
            error.exit()
        }
    }
}

fn show_usage(error: &clap::Error, args: &[OsString], io: &mut Io<'_>) -> Exit {
    let is_error = error.use_stderr();
    let colour = if is_error { io.colour_errors } else { io.colour };
    let stream: &mut dyn Write = if is_error { &mut *io.err } else { &mut *io.out };
    let text = error.render();
    // An error here cannot be reported.
    let _ = if colour { write!(stream, "{}", text.ansi()) } else { write!(stream, "{text}") };
    if let Some(hint) = hints::for_wrong_command(error, args) {
        let _ = writeln!(stream, "\n{hint}");
    }
    if is_error { Exit::Usage } else { Exit::Ok }
}

fn execute(cli: Cli, io: &mut Io<'_>) -> Result<Exit, Error> {
    if let args::Command::Completions { shell } = &cli.command {
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut Cli::command(), "authctl", &mut script);
        io.out.write_all(&script)?;
        return Ok(Exit::Ok);
    }
    commands::check(&cli.command)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let Cli { global, command } = cli;
        // These two create and end the session that the others use.
        let (client, credentials) = match &command {
            args::Command::Login(_) | args::Command::Logout => {
                (connect::without_session(&global, io)?, Credentials::None)
            }
            command => {
                let needs_session = matches!(command, args::Command::Passwd(_) | args::Command::Totp(_));
                connect::connect(&global, needs_session, io).await?
            }
        };
        let mut context = commands::Context { client, credentials, format: global.output, user: global.user, io };
        commands::run(command, &mut context).await
    })
}
