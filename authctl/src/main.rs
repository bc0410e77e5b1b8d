//! The process around [`authctl::run`]: arguments, terminal, clock, exit code.

use std::io::{self, IsTerminal, Read};
use std::process::ExitCode;

use authctl::Io;
use shared::time::Time;

/// A token is far shorter; more than this on stdin is not one.
const MAX_STDIN: u64 = 4_096;

fn main() -> ExitCode {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let has_person = io::stdin().is_terminal() && err.is_terminal();
    let mut io = Io {
        colour: anstream::AutoStream::choice(&out) != anstream::ColorChoice::Never,
        colour_errors: anstream::AutoStream::choice(&err) != anstream::ColorChoice::Never,
        width: out.is_terminal().then(|| comfy_table::Table::new().width()).flatten(),
        out: &mut out,
        err: &mut err,
        env: &|name| std::env::var(name).ok(),
        now: &now,
        new_key: &new_key,
        confirm: if has_person { Some(&confirm) } else { None },
        read_token: if has_person { &ask_token } else { &read_token },
    };
    let exit = authctl::run(std::env::args_os(), &mut io);
    // What cannot be flushed has nobody to read it.
    let _ = io.out.flush();
    exit.into()
}

#[expect(clippy::disallowed_methods, reason = "the one place where this program reads the clock")]
fn now() -> Time {
    Time::from_millis(jiff::Timestamp::now().as_millisecond())
}

#[expect(clippy::disallowed_methods, reason = "the one place where this program asks for luck")]
fn new_key() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn confirm(question: &str) -> io::Result<bool> {
    let answer = dialoguer::Confirm::new().with_prompt(question).default(false).interact();
    answer.map_err(|dialoguer::Error::IO(error)| error)
}

fn ask_token() -> io::Result<String> {
    let answer = dialoguer::Password::new().with_prompt("Token (not shown)").interact();
    answer.map_err(|dialoguer::Error::IO(error)| error)
}

fn read_token() -> io::Result<String> {
    let mut text = String::new();
    io::stdin().take(MAX_STDIN).read_to_string(&mut text)?;
    Ok(text)
}
