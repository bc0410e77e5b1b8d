//! A signed-in device, as stored on this machine.

use serde::{Deserialize, Serialize};
use shared::keyring::{Keyring, TokenStore};
use shared::secret::Secret;

use crate::error::Error;

pub const KEYRING: Keyring = Keyring::of("auth-login");

/// A session of one server and profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    pub server: String,
    pub profile: String,
    /// The person who signed in, as the server reports.
    pub user: String,
    /// The role that was asked for; `None` is the server's default.
    pub role: Option<String>,
    /// The identity provider that was asked for.
    pub provider: Option<String>,
    /// Every role that this person may use.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Epoch seconds.
    pub signed_in_at: i64,
    /// The absolute end of the session, in epoch seconds; 0 if the server did not report it.
    pub session_expires_at: i64,
    pub store: TokenStore,
    /// The device token, unless the keyring has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
}

/// A sign-in that is under way, for processes that wait for it. It has no secrets: the URL alone is useless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingLogin {
    pub auth_url: String,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl Session {
    /// The device token, from the file or the keyring. Only a keyring without the entry means that nobody is signed in.
    pub fn token(&self) -> Result<Secret, Error> {
        if let Some(token) = &self.token {
            return Ok(token.clone());
        }
        if self.store == TokenStore::File {
            let login = self.login_command();
            return Err(Error::not_authenticated(format!(
                "the stored session has no token; sign in again with: {login}"
            )));
        }
        match KEYRING.find(&self.keyring_name()) {
            Ok(Some(token)) => Ok(token),
            Ok(None) => Err(Error::not_authenticated(format!(
                "the device token is no longer in the keyring; sign in again with: {}",
                self.login_command()
            ))),
            Err(problem) => Err(Error::unreachable(format!(
                "the device token is in the keyring, and {problem}. Unlock it and try again, or sign in again and keep \
                 the token in a file: {} --again --token-store file",
                self.login_command()
            ))),
        }
    }

    /// The command that signs in to this profile.
    fn login_command(&self) -> String {
        let profile = Some(self.profile.as_str()).filter(|profile| *profile != "default");
        "auth-login login".to_owned() + &profile.map(|profile| format!(" --profile {profile}")).unwrap_or_default()
    }

    /// Stores the token in the keyring if that was chosen, and returns the session without it, for the file.
    pub(super) fn stored_elsewhere(&self) -> Result<Option<Self>, Error> {
        let (Some(token), TokenStore::Keyring) = (&self.token, self.store) else { return Ok(None) };
        KEYRING.save(&self.keyring_name(), token).map_err(|problem| {
            Error::refused(format!(
                "the device token cannot be stored in the keyring: {problem}. Keep it in a file: {} --token-store \
                 file",
                self.login_command()
            ))
        })?;
        Ok(Some(Self { token: None, ..self.clone() }))
    }

    /// Removes the token from the keyring, if it is there.
    pub fn forget_token(&self) -> Result<(), Error> {
        match self.store {
            TokenStore::Keyring => KEYRING
                .remove(&self.keyring_name())
                .map_err(|problem| Error::refused(format!("the device token is still in the keyring: {problem}"))),
            TokenStore::File => Ok(()),
        }
    }

    fn keyring_name(&self) -> String {
        format!("{}@{}", self.profile, self.server)
    }
}
