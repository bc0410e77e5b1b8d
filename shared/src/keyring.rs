//! The desktop's keyring, which may be absent, locked or unresponsive.
//!
//! Every call runs on a separate thread with a deadline. Calls on the async runtime were rejected: the D-Bus client
//! starts a runtime itself, and a keyring that waits to be unlocked would block the program.
//! The errors are one clause about the keyring; the program adds what to do.

use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use keyring::v1::{Entry, Error as KeyringError};
use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// Long enough for a person to unlock the keyring at a sign-in.
const STORE_TIMEOUT: Duration = Duration::from_secs(30);
/// Short, because no person may be there to unlock the keyring, and a tool waits for the answer.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a program stores the token of a session. The names are stored in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum TokenStore {
    /// The Secret Service of the desktop
    Keyring,
    /// A file that only you can read
    File,
}

impl TokenStore {
    /// For people, after "stored"; the file is in `dir`.
    pub fn place(self, dir: &Path) -> String {
        match self {
            Self::Keyring => "in the keyring".to_owned(),
            Self::File => format!("in a file that only you can read, in {}", dir.display()),
        }
    }
}

/// The entries of one program.
#[derive(Clone, Copy, Debug)]
pub struct Keyring {
    program: &'static str,
}

impl Keyring {
    pub const fn of(program: &'static str) -> Self {
        Self { program }
    }

    /// Where to store a token: as wanted, else in the keyring if it works. The text says why it does not, or is empty.
    pub fn choose(self, wanted: Option<TokenStore>, random: &[u8]) -> Result<(TokenStore, String), String> {
        if wanted == Some(TokenStore::File) {
            return Ok((TokenStore::File, String::new()));
        }
        match self.probe(random) {
            Ok(()) => Ok((TokenStore::Keyring, String::new())),
            Err(problem) if wanted.is_some() => Err(format!(
                "the keyring cannot be used: {problem}. Unlock it and try again, or use --token-store file"
            )),
            Err(problem) => Ok((TokenStore::File, format!(", since {problem}"))),
        }
    }

    /// Checks that the keyring stores and returns a value.
    /// The entry's name is random, so that concurrent probes do not remove each other's entry.
    fn probe(self, random: &[u8]) -> Result<(), String> {
        let name = format!("probe-{}", hex::encode(random));
        let stored = bounded(STORE_TIMEOUT, move || {
            let entry = Entry::new(self.program, &name)?;
            entry.set_password("probe")?;
            let back = entry.get_password();
            entry.delete_credential()?;
            back
        })?;
        if stored == "probe" { Ok(()) } else { Err("it does not return the value that was stored".to_owned()) }
    }

    /// The secret under this name; `None` only if the keyring answers that it has no such entry.
    pub fn find(self, name: &str) -> Result<Option<Secret>, String> {
        let name = name.to_owned();
        let found = bounded(READ_TIMEOUT, move || match Entry::new(self.program, &name)?.get_password() {
            Err(KeyringError::NoEntry) => Ok(None),
            other => other.map(Some),
        })?;
        Ok(found.map(Secret::new))
    }

    pub fn save(self, name: &str, secret: &Secret) -> Result<(), String> {
        let (name, secret) = (name.to_owned(), secret.clone());
        bounded(STORE_TIMEOUT, move || Entry::new(self.program, &name)?.set_password(secret.expose()))
    }

    /// Removes a secret, if it exists.
    pub fn remove(self, name: &str) -> Result<(), String> {
        let name = name.to_owned();
        bounded(READ_TIMEOUT, move || match Entry::new(self.program, &name)?.delete_credential() {
            Err(KeyringError::NoEntry) => Ok(()),
            other => other,
        })
    }
}

/// Runs on a thread that is abandoned when it takes too long; the process exits without it.
fn bounded<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> keyring::v1::Result<T> + Send + 'static,
) -> Result<T, String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || sender.send(work().map_err(|error| describe(&error))));
    receiver
        .recv_timeout(limit)
        .unwrap_or_else(|_| Err(format!("the keyring did not answer within {} s", limit.as_secs())))
}

fn describe(error: &KeyringError) -> String {
    // Without a keyring service there is no store; `store_status` has the reason.
    let reason = match (error, Entry::store_status()) {
        (KeyringError::NoDefaultStore, Err(reason)) => reason,
        _ => error,
    };
    // Some errors have several lines.
    let text = reason.to_string();
    let line = text.lines().next().unwrap_or_default();
    format!("the keyring said: {line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyring_that_hangs_is_left_behind() {
        let started = std::time::Instant::now();
        let (_keep, blocked) = channel::<()>();
        let answer = bounded(Duration::from_millis(10), move || {
            let _ = blocked.recv();
            Ok(())
        });
        assert!(answer.unwrap_err().contains("did not answer"));
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
