//! The device token in the desktop's keyring.

use shared::keyring::Keyring;
use shared::secret::Secret;

use crate::error::Error;

pub const KEYRING: Keyring = Keyring::of("auth-login");

/// The token under this name. Only a keyring that has none says that nobody is signed in; one that is locked or away
/// says nothing of the session.
pub fn find(name: &str) -> Result<Secret, Error> {
    match KEYRING.find(name) {
        Ok(Some(token)) => Ok(token),
        Ok(None) => Err(Error::not_authenticated(
            "the device token is not in the keyring any more; sign in again with: auth-login",
        )),
        Err(problem) => Err(Error::unreachable(format!(
            "the device token is in the keyring, and {problem}. Unlock it and try again, or sign in anew and keep the \
             token in a file: auth-login --again --token-store file"
        ))),
    }
}

pub fn save(name: &str, token: &Secret) -> Result<(), Error> {
    KEYRING.save(name, token).map_err(|problem| {
        Error::refused(format!(
            "the device token cannot be stored in the keyring: {problem}. Keep it in a file: auth-login --token-store file"
        ))
    })
}

/// Forgets a token; one that is not there is forgotten.
pub fn remove(name: &str) -> Result<(), Error> {
    KEYRING
        .remove(name)
        .map_err(|problem| Error::refused(format!("the device token is still in the keyring: {problem}")))
}
