//! Reading what must not be seen: hidden at a terminal, else from stdin; never from an argument.

use std::io::Write;

use clap::Args;
use shared::cli::clean;
use shared::secret::Secret;

use crate::error::Error;
use crate::{Io, Person};

/// More than the longest password in bytes; a token is far shorter.
const MAX_STDIN: u64 = 8 << 10;
/// How often somebody may mistype the repetition.
const TRIES: usize = 3;

#[derive(Clone, Copy, Debug, Args)]
pub struct NewPassword {
    /// Read the password from stdin (it is never an argument, which other users could see)
    #[arg(long)]
    password_stdin: bool,
}

/// A token, such as the one to validate.
pub(super) fn token(io: &Io<'_>) -> Result<Secret, Error> {
    if let Some(person) = io.person {
        return Ok(person.secret("Token (not shown)")?);
    }
    let text = String::from_utf8((io.read_stdin)(MAX_STDIN)?);
    let text = text.map_err(|_| Error::Usage("stdin holds no text".to_owned()))?;
    Ok(text.trim().into())
}

/// A password that is there already.
pub(super) fn existing(args: NewPassword, prompt: &str, io: &Io<'_>) -> Result<Secret, Error> {
    match io.person {
        Some(person) => Ok(person.secret(prompt)?),
        None => from_stdin(args, "--password-stdin", io),
    }
}

/// A password to be set: whoever cannot see what they type types it twice.
pub(super) fn new(args: NewPassword, user: &str, without: &str, io: &mut Io<'_>) -> Result<Secret, Error> {
    match io.person {
        Some(person) => typed_twice(person, user, io.err),
        None => from_stdin(args, without, io),
    }
}

fn typed_twice(person: &dyn Person, user: &str, err: &mut dyn Write) -> Result<Secret, Error> {
    for _ in 0..TRIES {
        let first = person.secret(&format!("Password for {} (8 characters or more, not shown)", clean(user)))?;
        if first == person.secret("The same again")? {
            return Ok(first);
        }
        writeln!(err, "They are not the same")?;
    }
    Err(Error::Declined)
}

/// The password that holds until now, and the one to be set.
pub(super) fn change(is_on_stdin: bool, io: &mut Io<'_>) -> Result<(Secret, Secret), Error> {
    if let Some(person) = io.person {
        let old = person.secret("Your password until now (not shown)")?;
        return Ok((old, typed_twice(person, "you from now on", io.err)?));
    }
    let both = lines(is_on_stdin, "--password-stdin", io)?;
    match both.expose().split_once('\n') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() && !new.contains('\n') => {
            Ok((old.trim_end_matches('\r').into(), new.into()))
        }
        _ => Err(Error::Usage("expected two lines on stdin: the password until now, and the new one".to_owned())),
    }
}

/// One line; its end does not belong to the password, anything else does.
fn from_stdin(args: NewPassword, ways: &str, io: &Io<'_>) -> Result<Secret, Error> {
    let password = lines(args.password_stdin, ways, io)?;
    if password.expose().contains('\n') {
        return Err(Error::Usage("stdin holds more than one line: a password is one".to_owned()));
    }
    Ok(password)
}

/// Everything on stdin but the end of its last line.
fn lines(is_on_stdin: bool, ways: &str, io: &Io<'_>) -> Result<Secret, Error> {
    if !is_on_stdin {
        let detail = format!("there is no terminal to ask for the password on: repeat the command with {ways}");
        return Err(Error::Usage(detail));
    }
    let Ok(mut text) = String::from_utf8((io.read_stdin)(MAX_STDIN)?) else {
        return Err(Error::Usage("the password on stdin is not UTF-8".to_owned()));
    };
    for end in ['\n', '\r'] {
        if text.ends_with(end) {
            text.pop();
        }
    }
    let password = Secret::new(text);
    if password.is_empty() {
        return Err(Error::Usage("there is no password on stdin".to_owned()));
    }
    Ok(password)
}
