//! The browser login that provides AWS credentials.
//!
//! Invariants: the state is checked before any request to a provider and is used once; the client that gets the
//! credentials has the poll secret (it started the login) *and* the release (from the browser); the provider's tokens
//! never leave authd and are sealed in every store; nothing is returned that was not committed; only a definite refusal
//! of the provider ends a session, an outage never does.

mod callback;
mod credentials;
mod entrance;
pub mod local;
mod logins;
pub mod model;
mod ops;
pub mod refresh_token;
mod renewal;
mod roles;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::id::SessionId;
use shared::problem::Code;
use zeroize::Zeroizing;

pub use self::callback::Outcome;
pub use self::entrance::{AGAIN, Entrance, SHORT};
use self::local::Local;
pub use self::model::Device;
use crate::aws::{Aws, Role};
use crate::base::{Base, Detached};
use crate::call::Call;
use crate::caller::Caller;
use crate::db::{DbError, Statement};
use crate::error::{Error, Result};
use crate::keyed_mutex::{KeyGuard, KeyedMutex};
use crate::keys::KeyRing;
use crate::oidc_client::{Client, Identity};
use crate::registry::Registry;
use crate::sessions::model::DeviceSession;
use crate::sessions::{self, Sessions};
use crate::setting::Faults;

/// How long a renewal of a device waits for others: longer than one renewal can take, unless several fail before it.
const TURN_TIMEOUT: Duration = Duration::from_secs(20);

/// `[cli]`: the CLI login.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Serve clients that know only `state`. Anybody who learns a login's URL can then get the credentials.
    pub allow_unbound_polling: bool,
    /// Seconds from start to credentials, 60 to 900.
    pub login_seconds: u64,
    /// The provider of a login that names none; if empty, the first.
    pub default_provider: String,
    /// Days without use after which a device has to sign in again, 1 to 90.
    pub idle_days: u32,
    /// Days after which a device has to sign in again even if it is used, 1 to 365.
    pub max_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            allow_unbound_polling: false,
            login_seconds: 300,
            default_provider: String::new(),
            idle_days: 30,
            max_days: 90,
        }
    }
}

impl Config {
    pub fn check(&self, faults: &mut Faults) {
        faults.require((60..=900).contains(&self.login_seconds), "cli.login_seconds must be from 60 to 900");
        faults.require((1..=90).contains(&self.idle_days), "cli.idle_days must be from 1 to 90");
        faults.require((1..=365).contains(&self.max_days), "cli.max_days must be from 1 to 365");
        if self.allow_unbound_polling {
            faults.warn(
                "cli.allow_unbound_polling (AUTHD_ALLOW_UNBOUND_POLLING) is on: whoever learns a login's URL can get its \
                 credentials",
            );
        }
    }
}

/// The CLI login: providers with their keys, the roles, and the locks of renewals.
#[derive(Debug)]
pub struct CliLogin {
    base: Base,
    config: Config,
    public_url: String,
    /// In order of preference.
    roles: Vec<Role>,
    providers: Vec<Arc<Client>>,
    pub local: Option<Local>,
    sessions: Arc<Sessions>,
    aws: Arc<Aws>,
    /// One renewal at a time per device, within this process. Across processes the session's lease does the same.
    renewals: KeyedMutex<SessionId>,
    pub detached: Detached,
}

impl CliLogin {
    pub fn new(
        base: &Base,
        (config, public_url): (Config, &str),
        providers: Vec<Arc<Client>>,
        local: Option<Local>,
        roles: Vec<Role>,
        sessions: Arc<Sessions>,
        aws: Arc<Aws>,
    ) -> Arc<Self> {
        if config.allow_unbound_polling {
            tracing::warn!("cli.allow_unbound_polling is on: anybody who learns a login's URL can get its credentials");
        }
        let (base, renewals, detached) = (base.clone(), KeyedMutex::default(), Detached::new(&base.background));
        let public_url = public_url.to_owned();
        Arc::new(Self { base, config, public_url, roles, providers, local, sessions, aws, renewals, detached })
    }

    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        // Operations that continue after their caller disconnects need an owned handle.
        let owner = Arc::new(self.clone());
        registry.add(self, Self::start);
        registry.add(&owner, Self::status);
        registry.add(&owner, Self::renew);
        registry.add(self, Self::logout);
    }

    /// Every provider, in order of preference.
    fn all_providers(&self) -> impl Iterator<Item = Provider<'_>> {
        let open_id = self.providers.iter().map(|client| Provider::OpenId(client));
        open_id.chain(self.local.iter().map(Provider::Local))
    }

    /// The provider of this name.
    fn provider(&self, name: &str) -> Option<Provider<'_>> {
        self.all_providers().find(|provider| provider.name() == name)
    }

    /// The provider of an existing session or login.
    fn known_provider(&self, name: &str) -> Result<Provider<'_>> {
        self.provider(name).ok_or_else(|| {
            let detail = format!("the identity provider {name:?} is not configured any more; sign in with another one");
            Error::new(Code::Forbidden, detail)
        })
    }

    /// Waits for the lock of a session.
    async fn turn(&self, session: SessionId) -> Result<KeyGuard<'_, SessionId>> {
        let waiting = tokio::time::timeout(TURN_TIMEOUT, self.renewals.lock(session)).await;
        waiting.map_err(|late| Error::unavailable("another renewal of this device takes too long; try again", late))
    }

    /// The session of a device, unless it has ended or expired.
    async fn find_live(&self, session: SessionId) -> Result<Option<DeviceSession>> {
        let found = sessions::store::find(self.base.db.as_ref(), session).await?;
        Ok(found.filter(|session| session.is_live(self.base.now())))
    }

    /// Commits a self-proving statement (see [`crate::ledger`]). False if its expectation was not met.
    async fn try_commit(&self, statement: Statement) -> Result<bool, DbError> {
        match self.base.db.commit(vec![statement]).await {
            Ok(_) => Ok(true),
            Err(DbError::ExpectationFailed(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Who knows the person.
#[derive(Clone, Copy, Debug)]
enum Provider<'a> {
    OpenId(&'a Client),
    Local(&'a Local),
}

impl Provider<'_> {
    fn name(&self) -> &str {
        match self {
            Self::OpenId(client) => &client.config.name,
            Self::Local(_) => local::NAME,
        }
    }
}

/// The same call by the person's device.
fn by_device(call: &Call, identity: &Identity) -> Call {
    call.of(Caller::Device { user: identity.display().to_owned() })
}

/// Seals a value as JSON for a context.
fn seal<T: Serialize>(keys: &KeyRing, context: &str, value: &T) -> Result<Vec<u8>> {
    let clear = Zeroizing::new(serde_json::to_vec(value).map_err(Error::internal)?);
    keys.seal(context, &clear).map_err(Error::internal)
}
