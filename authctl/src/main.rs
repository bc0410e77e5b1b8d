//! The process around [`authctl::run`]: arguments, terminal, clock, exit code.

use std::io::{self, IsTerminal, Read};
use std::process::ExitCode;

use authctl::{Io, Person};
use shared::secret::Secret;
use shared::time::Time;

fn main() -> ExitCode {
    shared::secret::forbid_core_dumps();
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
        person: if has_person { Some(&Terminal) } else { None },
        read_stdin: &read_stdin,
    };
    let exit = authctl::run(std::env::args_os(), &mut io);
    // A failed flush means that there is no reader.
    let _ = io.out.flush();
    exit.into()
}

#[expect(clippy::disallowed_methods, reason = "the one place where this program reads the clock")]
fn now() -> Time {
    Time::from_millis(jiff::Timestamp::now().as_millisecond())
}

#[expect(clippy::disallowed_methods, reason = "the one place where this program asks for randomness")]
fn new_key() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The person who started this program.
struct Terminal;

impl Person for Terminal {
    fn confirm(&self, question: &str) -> io::Result<bool> {
        let answer = dialoguer::Confirm::new().with_prompt(question).default(false).interact();
        answer.map_err(|dialoguer::Error::IO(error)| error)
    }

    fn line(&self, prompt: &str, default: Option<&str>) -> io::Result<String> {
        let mut input = dialoguer::Input::<String>::new().with_prompt(prompt);
        if let Some(default) = default {
            input = input.default(default.to_owned());
        }
        input.interact_text().map_err(|dialoguer::Error::IO(error)| error)
    }

    fn secret(&self, prompt: &str) -> io::Result<Secret> {
        let answer = dialoguer::Password::new().with_prompt(prompt).interact();
        answer.map(Secret::new).map_err(|dialoguer::Error::IO(error)| error)
    }
}

fn read_stdin(limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}
