//! Reading what must not be seen: hidden at a terminal, else from stdin; never from an argument.

use shared::secret::Secret;

use crate::Io;
use crate::args::NewPassword;
use crate::error::Error;

/// More than the longest password in bytes; a token is far shorter.
const MAX_STDIN: u64 = 8 << 10;
/// How often somebody may mistype the repetition.
const TRIES: usize = 3;

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
    let Some(person) = io.person else { return from_stdin(args, without, io) };
    for _ in 0..TRIES {
        let first = person.secret(&format!("Password for {user} (8 characters or more, not shown)"))?;
        if first == person.secret("The same again")? {
            return Ok(first);
        }
        writeln!(io.err, "They are not the same")?;
    }
    Err(Error::Declined)
}

/// One line; its end does not belong to the password, anything else does.
fn from_stdin(args: NewPassword, ways: &str, io: &Io<'_>) -> Result<Secret, Error> {
    let refuse = |detail: String| Err(Error::Usage(detail));
    if !args.password_stdin {
        return refuse(format!("there is no terminal to ask for the password on: repeat the command with {ways}"));
    }
    let Ok(mut text) = String::from_utf8((io.read_stdin)(MAX_STDIN)?) else {
        return refuse("the password on stdin is not UTF-8".to_owned());
    };
    if text.ends_with('\n') {
        text.pop();
    }
    if text.ends_with('\r') {
        text.pop();
    }
    // Whatever it is, its text is not for the terminal.
    let password = Secret::new(text);
    if password.is_empty() {
        return refuse("there is no password on stdin".to_owned());
    }
    if password.expose().contains('\n') {
        return refuse("stdin holds more than one line: a password is one".to_owned());
    }
    Ok(password)
}
