//! Where the browser begins: at the provider, at authd's own page, or at a short address that can be typed.

use shared::problem::Code;

use super::model::{self, Device, Login, Phase};
use super::{CliLogin, Provider};
use crate::call::Call;
use crate::env::{MINUTE, Millis};
use crate::error::{Error, Result};
use crate::network;

/// The page that first ends the browser's session at the provider, up to the state.
pub const AGAIN: &str = "/auth/cli/again?state=";
/// The short address, up to its code.
pub const SHORT: &str = "/d/";

/// How many short addresses a network, and everybody together, may try within a minute: a code has 40 bits.
const TRIES_OF_NETWORK: i64 = 20;
const TRIES: i64 = 600;

/// A login at its short address.
#[derive(Debug)]
pub struct Entrance {
    pub auth_url: String,
    pub device: Device,
    pub started_at: Millis,
}

impl CliLogin {
    /// Where the browser of this login begins.
    pub(super) async fn entrance(&self, provider: Provider<'_>, state: &str, login: &Login) -> Result<String> {
        match provider {
            Provider::OpenId(client) if login.reauthenticate && client.sign_out_url("").is_some() => {
                Ok(format!("{}{AGAIN}{state}", self.public_url))
            }
            Provider::OpenId(_) => self.authorize_url(provider, state, login).await,
            Provider::Local(local) => Ok(local.url(state)),
        }
    }

    async fn authorize_url(&self, provider: Provider<'_>, state: &str, login: &Login) -> Result<String> {
        let Provider::OpenId(client) = provider else { return Err(Error::not_found("provider")) };
        let prompt = login.reauthenticate.then(|| client.prompt());
        let nonce = login.nonce.expose();
        let url = client.authorize_url(&client.config.redirect_uri, state, nonce, &login.verifier, prompt).await;
        url.map_err(|error| error.explain(&login.provider))
    }

    /// Where the browser's session at the provider ends, and from where it returns to `return_to`; `None` if no login
    /// waits for that.
    pub async fn leave_provider(&self, state: &str, return_to: &str) -> Result<Option<String>> {
        let Some(login) = self.waiting_anew(state).await? else { return Ok(None) };
        let Provider::OpenId(client) = self.known_provider(&login.provider)? else { return Ok(None) };
        Ok(client.sign_out_url(return_to))
    }

    /// Where the browser signs in after that.
    pub async fn enter_anew(&self, state: &str) -> Result<Option<String>> {
        let Some(login) = self.waiting_anew(state).await? else { return Ok(None) };
        let provider = self.known_provider(&login.provider)?;
        self.authorize_url(provider, state, &login).await.map(Some)
    }

    async fn waiting_anew(&self, state: &str) -> Result<Option<Login>> {
        let login = self.find_login(state).await?;
        Ok(login.filter(|login| login.reauthenticate && matches!(login.phase, Phase::Waiting)))
    }

    /// Makes the short address of a login.
    pub(super) async fn shorten(&self, state: &str, login: &Login) -> Result<String> {
        let code = model::short_code(&self.base.env);
        let key = model::short_key(&code).ok_or_else(|| Error::internal("a short code has eight symbols"))?;
        let sealed = self.base.keys.seal(&key, state.as_bytes()).map_err(Error::internal)?;
        self.base.ephemeral.put(&key, &sealed, (login.ends_at - self.base.now()).max(1)).await?;
        Ok(format!("{}{SHORT}{code}", self.public_url))
    }

    /// The login at a short address, while nobody has signed in; `None` if there is none.
    pub async fn find_short(&self, call: &Call, code: &str) -> Result<Option<Entrance>> {
        let Some(key) = model::short_key(code) else { return Ok(None) };
        self.limit_tries(call).await?;
        let Some(sealed) = self.base.ephemeral.get(&key).await? else { return Ok(None) };
        let Ok(opened) = self.base.keys.open(&key, &sealed) else { return Ok(None) };
        let state = std::str::from_utf8(&opened).map_err(Error::internal)?;
        let login = self.find_login(state).await?.filter(|login| matches!(login.phase, Phase::Waiting));
        let Some(login) = login else { return Ok(None) };
        let auth_url = self.entrance(self.known_provider(&login.provider)?, state, &login).await?;
        Ok(Some(Entrance { auth_url, device: login.device, started_at: login.started_at }))
    }

    async fn limit_tries(&self, call: &Call) -> Result<()> {
        let network = call.address.map(|address| format!("login.short:network:{}", network::of(address)));
        let counters =
            network.map(|key| (key, TRIES_OF_NETWORK)).into_iter().chain([("login.short:all".into(), TRIES)]);
        for (key, most) in counters {
            // The network first: one that has tried too often does not count against the others.
            if self.base.ephemeral.increment(&key, MINUTE).await? > most {
                let detail = "too many short addresses were tried within a minute; use the long one";
                return Err(Error::new(Code::RateLimited, detail).retry_after(60));
            }
        }
        Ok(())
    }
}
