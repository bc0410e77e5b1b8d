//! Reads secrets: hidden at a terminal, else from stdin; never from an argument.

use std::io::Write;

use clap::Args;
use shared::cli::clean;
use shared::passwords;
use shared::secret::Secret;

use crate::error::Error;
use crate::{Io, Person};

/// Bytes; longer than the longest password or token.
const MAX_STDIN: u64 = 8 << 10;
/// Tries to type the repetition correctly.
const TRIES: usize = 3;

#[derive(Clone, Copy, Debug, Args)]
pub struct NewPassword {
    /// Read the password from stdin (it is never an argument, which other users could see)
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct PasswordAndCode {
    /// Read the password from stdin, and a TOTP or recovery code, if one is needed, from its second line
    #[arg(long)]
    password_stdin: bool,
}

/// What a terminal prompts for a code with.
pub(super) const CODE: &str = "Code of the authenticator app, or a recovery code (not shown)";

/// A token, such as the one to validate.
pub(super) fn token(io: &Io<'_>) -> Result<Secret, Error> {
    if let Some(person) = io.person {
        return Ok(person.secret("Token (not shown)")?);
    }
    let text = String::from_utf8((io.read_stdin)(MAX_STDIN)?);
    let text = text.map_err(|_| Error::Usage("stdin is not UTF-8 text".to_owned()))?;
    match text.trim() {
        "" => Err(Error::Usage("there is no token on stdin".to_owned())),
        token => Ok(token.into()),
    }
}

/// Reads an existing password.
pub(super) fn existing(args: NewPassword, prompt: &str, io: &Io<'_>) -> Result<Secret, Error> {
    match io.person {
        Some(person) => Ok(person.secret(prompt)?),
        None => from_stdin(args, "--password-stdin", io),
    }
}

/// Reads an existing password; from stdin also a code, if there is a second line.
pub(super) fn with_code(args: PasswordAndCode, prompt: &str, io: &Io<'_>) -> Result<(Secret, Option<Secret>), Error> {
    if let Some(person) = io.person {
        return Ok((person.secret(prompt)?, None));
    }
    let text = lines("password", args.password_stdin, "--password-stdin", io)?;
    match *text.expose().split('\n').collect::<Vec<_>>() {
        [_] => Ok((text, None)),
        [password, code] if !password.is_empty() && !code.is_empty() => {
            Ok((password.trim_end_matches('\r').into(), Some(code.into())))
        }
        _ => Err(Error::Usage("expected one or two lines on stdin: the password and a code".to_owned())),
    }
}

/// Reads an existing password and a code.
pub(super) fn with_required_code(args: PasswordAndCode, io: &Io<'_>) -> Result<(Secret, Secret), Error> {
    match (with_code(args, "Your password (not shown)", io)?, io.person) {
        ((password, Some(code)), _) => Ok((password, code)),
        ((password, None), Some(person)) => Ok((password, person.secret(CODE)?)),
        _ => Err(Error::Usage("expected two lines on stdin: the password and a code".to_owned())),
    }
}

/// Reads a code of the authenticator app.
pub(super) fn code(is_on_stdin: bool, io: &Io<'_>) -> Result<Secret, Error> {
    match io.person {
        Some(person) => Ok(person.secret("Code of the authenticator app (not shown)")?),
        None => lines("code", is_on_stdin, "--code-stdin", io),
    }
}

/// Reads a new password of the user with these names. At a terminal, where it is hidden, it is typed twice.
pub(super) fn new(args: NewPassword, names: &[&str], without: &str, io: &mut Io<'_>) -> Result<Secret, Error> {
    match io.person {
        Some(person) => {
            let user = names.first().copied().unwrap_or_default();
            typed_twice(person, user, |password| passwords::check(password, names), io.err)
        }
        None => from_stdin(args, without, io),
    }
}

/// A password that breaks the rules is told before it is typed again.
fn typed_twice(
    person: &dyn Person,
    user: &str,
    check: impl Fn(&Secret) -> Result<(), String>,
    err: &mut dyn Write,
) -> Result<Secret, Error> {
    for _ in 0..TRIES {
        let first = person.secret(&format!("Password for {} (8 characters or more, not shown)", clean(user)))?;
        if let Err(rule) = check(&first) {
            writeln!(err, "Choose another one: {rule}")?;
        } else if first == person.secret("Repeat the password")? {
            return Ok(first);
        } else {
            writeln!(err, "They are not the same")?;
        }
    }
    Err(Error::Declined)
}

/// Reads the current password and the new one; from stdin also a code, if there is a third line.
pub(super) fn change(is_on_stdin: bool, io: &mut Io<'_>) -> Result<(Secret, Secret, Option<Secret>), Error> {
    if let Some(person) = io.person {
        let old = person.secret("Your current password (not shown)")?;
        let check = |new: &Secret| match passwords::check(new, &[]) {
            Ok(()) if *new == old => Err("this is your current password".to_owned()),
            checked => checked,
        };
        let new = typed_twice(person, "you from now on", check, io.err)?;
        return Ok((old, new, None));
    }
    let text = lines("password", is_on_stdin, "--password-stdin", io)?;
    let all: Vec<&str> = text.expose().split('\n').map(|line| line.trim_end_matches('\r')).collect();
    match *all {
        [old, new] if !old.is_empty() && !new.is_empty() => Ok((old.into(), new.into(), None)),
        [old, new, code] if !old.is_empty() && !new.is_empty() && !code.is_empty() => {
            Ok((old.into(), new.into(), Some(code.into())))
        }
        _ => Err(Error::Usage(
            "expected two lines on stdin, the current password and the new one, and with TOTP a third with a code"
                .to_owned(),
        )),
    }
}

/// One line; its line end is not part of the password.
fn from_stdin(args: NewPassword, ways: &str, io: &Io<'_>) -> Result<Secret, Error> {
    let password = lines("password", args.password_stdin, ways, io)?;
    if password.expose().contains('\n') {
        return Err(Error::Usage("stdin has more than one line: expected one password".to_owned()));
    }
    Ok(password)
}

/// Everything on stdin except the last line end; `what` is on its first line.
fn lines(what: &str, is_on_stdin: bool, ways: &str, io: &Io<'_>) -> Result<Secret, Error> {
    if !is_on_stdin {
        let detail = format!("there is no terminal to prompt for the {what}: repeat the command with {ways}");
        return Err(Error::Usage(detail));
    }
    let Ok(mut text) = String::from_utf8((io.read_stdin)(MAX_STDIN)?) else {
        return Err(Error::Usage(format!("the {what} on stdin is not UTF-8")));
    };
    for end in ['\n', '\r'] {
        if text.ends_with(end) {
            text.pop();
        }
    }
    let password = Secret::new(text);
    if password.is_empty() {
        return Err(Error::Usage(format!("there is no {what} on stdin")));
    }
    Ok(password)
}
