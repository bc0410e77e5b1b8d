//! The store of pending logins: sealed, in the ephemeral store, until they expire.

use shared::api::cli_login::Reason;

use super::callback::COMPLETION;
use super::model::{self, Login};
use super::{CliLogin, seal};
use crate::env::{Millis, SECOND, is_ahead};
use crate::error::{Error, Result};
use crate::log::caused;

impl CliLogin {
    /// The login of a state, unless it has ended. A value that cannot be opened is not ours and counts as ended.
    pub(super) async fn find_login(&self, state: &str) -> Result<Option<Login>> {
        if !model::is_token(state) {
            return Ok(None);
        }
        let key = model::key(state);
        let Some(sealed) = self.base.ephemeral.get(&key).await? else { return Ok(None) };
        let opened = match self.base.keys.open(&key, &sealed) {
            Ok(opened) => opened,
            Err(error) => {
                caused!(None, warn, %error, "a pending login cannot be opened");
                return Ok(None);
            }
        };
        let login: Login = serde_json::from_slice(&opened).map_err(Error::internal)?;
        let longest = (self.config.login_seconds.cast_signed() * SECOND).max(COMPLETION);
        Ok(Some(login).filter(|login| is_ahead(login.ends_at, self.base.now(), longest)))
    }

    pub(super) async fn save_login(&self, state: &str, login: &Login) -> Result<()> {
        let key = model::key(state);
        let sealed = seal(&self.base.keys, &key, login)?;
        self.base.ephemeral.put(&key, &sealed, self.left(login)).await?;
        Ok(())
    }

    /// Remembers what the page says about a failure, for the terminal: beside the login, which another callback may change
    /// at the same time.
    pub(super) async fn set_told(&self, state: &str, login: &Login, reason: &str) -> Result<()> {
        let key = format!("{}:told", model::key(state));
        let sealed = seal(&self.base.keys, &key, &reason)?;
        self.base.ephemeral.put(&key, &sealed, self.left(login)).await?;
        Ok(())
    }

    /// What [`CliLogin::set_told`] remembered last.
    pub(super) async fn told(&self, state: &str) -> Result<Reason> {
        let key = format!("{}:told", model::key(state));
        let sealed = self.base.ephemeral.get(&key).await?;
        let opened = sealed.and_then(|sealed| self.base.keys.open(&key, &sealed).ok());
        Ok(Reason { detail: opened.and_then(|text| serde_json::from_slice(&text).ok()), reason: None })
    }

    /// Claims a login: of concurrent callbacks exactly one may continue, until the provider fails again.
    pub(super) async fn claim_login(&self, state: &str, login: &Login) -> Result<bool> {
        let key = format!("{}:claim:{}", model::key(state), login.failures);
        Ok(self.base.ephemeral.increment(&key, self.left(login)).await? == 1)
    }

    /// Counts a wrong release and returns the number of wrong ones.
    pub(super) async fn count_wrong_release(&self, state: &str, login: &Login) -> Result<i64> {
        let key = format!("{}:wrong", model::key(state));
        Ok(self.base.ephemeral.increment(&key, self.left(login)).await?)
    }

    fn left(&self, login: &Login) -> Millis {
        (login.ends_at - self.base.now()).max(1)
    }
}
