//! The process around [`authctl::run`]: arguments, terminal, clock, exit code.

mod person;

use std::io::{self, IsTerminal, Read};
use std::process::ExitCode;

use authctl::Io;
use shared::time::Time;

use crate::person::Terminal;

fn main() -> ExitCode {
    shared::secret::forbid_core_dumps();
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let has_person = io::stdin().is_terminal() && err.is_terminal();
    let terminal = Terminal::default();
    let mut io = Io {
        colour: anstream::AutoStream::choice(&out) != anstream::ColorChoice::Never,
        colour_errors: anstream::AutoStream::choice(&err) != anstream::ColorChoice::Never,
        width: out.is_terminal().then(|| comfy_table::Table::new().width()).flatten(),
        out: &mut out,
        err: &mut err,
        env: &|name| std::env::var(name).ok(),
        now: &now,
        new_key: &new_key,
        person: if has_person { Some(&terminal) } else { None },
        read_stdin: &read_stdin,
    };
    authctl::run(std::env::args_os(), &mut io).into()
}

#[expect(clippy::disallowed_methods, reason = "the one place where this program reads the clock")]
fn now() -> Time {
    Time::from_millis(jiff::Timestamp::now().as_millisecond())
}

#[expect(clippy::disallowed_methods, reason = "the one place where this program asks for randomness")]
fn new_key() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn read_stdin(limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}
