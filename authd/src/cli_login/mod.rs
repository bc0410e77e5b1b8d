//! The browser login that ends in AWS credentials.
//!
//! Invariants: the state is checked before anybody is talked to and is used once; who
//! collects the credentials holds the poll secret (started the login) *and* the release (sat at the browser's terminal);
//! the provider's tokens never leave authd and are sealed wherever they lie; nothing is handed out that was not
//! committed; only the provider's clear no ends a session, an outage never does.

mod callback;
mod credentials;
mod logins;
mod model;
mod ops;
mod provider;
pub mod refresh_token;
mod renewal;
#[cfg(test)]
mod tests;
mod turns;

use std::sync::Arc;

use shared::problem::Code;

pub use callback::{Answer, Denial, Outcome, complete, deny};
pub use model::Device;
pub use provider::Identity;
pub use renewal::forget_at_provider;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::registry::Registry;
use provider::{Client, Http};
use turns::Turns;

/// The room's state: providers with their keys, and who is renewing.
#[derive(Debug)]
pub struct CliLogin {
    providers: Vec<Client>,
    turns: Turns,
}

impl CliLogin {
    pub fn new(config: &Config) -> Self {
        let http = Arc::new(Http::default());
        if config.cli.allow_unbound_polling {
            tracing::warn!("cli.allow_unbound_polling is on: whoever learns a login's URL can collect its credentials");
        }
        let providers = config.providers.iter().map(|provider| Client::new(provider.clone(), http.clone())).collect();
        Self { providers, turns: Turns::default() }
    }

    /// The provider of this name.
    fn provider(&self, name: &str) -> Option<&Client> {
        self.providers.iter().find(|provider| provider.config.name == name)
    }

    /// The provider of a session or login that exists.
    fn known_provider(&self, name: &str) -> Result<&Client> {
        self.provider(name).ok_or_else(|| {
            let detail = format!("the identity provider {name:?} is not configured any more; sign in with another one");
            Error::new(Code::Forbidden, detail)
        })
    }
}

pub fn register(registry: &mut Registry) {
    registry.add(ops::start);
    registry.add(ops::status);
    registry.add(renewal::renew);
    registry.add(renewal::logout);
}
