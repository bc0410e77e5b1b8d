//! The daemon itself: health and status.

use std::sync::Arc;

use shared::api::system::{
    Alive, CheckHealth, CheckLive, CheckReady, Components, Health, HealthStatus, ShowStatus, Status,
};
use shared::time::Time;
use tokio::sync::Mutex;

use crate::base::Base;
use crate::call::Call;
use crate::db::{Query, Statement, Value};
use crate::env::{Millis, SECOND, is_younger};
use crate::error::Result;
use crate::registry::Registry;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

const HEALTHY: &str = "healthy";
const UNHEALTHY: &str = "unhealthy";

/// How long the result of the database's write check is cached: the check costs a commit.
const REMEMBERED: Millis = 5 * SECOND;

/// The configuration that the status shows.
#[derive(Clone, Debug, Default)]
pub struct About {
    pub public_url: String,
    /// Addresses and paths that it listens on.
    pub listen: Vec<String>,
    /// Names of identity providers and AWS roles.
    pub providers: Vec<String>,
    pub roles: Vec<String>,
}

#[derive(Debug)]
pub struct System {
    base: Base,
    about: About,
    started_at: Millis,
    /// The result of the last write check of the database.
    writes: Mutex<Option<(Millis, bool)>>,
}

impl System {
    pub fn new(base: &Base, about: About) -> Arc<Self> {
        Arc::new(Self { base: base.clone(), about, started_at: base.now(), writes: Mutex::default() })
    }

    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.add(self, Self::health::<CheckHealth>);
        registry.add(self, Self::live);
        registry.add(self, Self::health::<CheckReady>);
        registry.add(self, Self::status);
    }

    async fn health<Op>(&self, _: Call, _: Op) -> Result<Health> {
        Ok(self.examine().await)
    }

    #[expect(clippy::unused_async, reason = "a handler is async")]
    async fn live(&self, _: Call, _: CheckLive) -> Result<Alive> {
        Ok(Alive { status: "alive".into() })
    }

    async fn can_write(&self) -> bool {
        let mut last = self.writes.lock().await;
        let now = self.base.now();
        if let Some((at, worked)) = *last
            && is_younger(at, now, REMEMBERED)
        {
            return worked;
        }
        let nothing = "UPDATE counters SET value = value WHERE name = 'tokens.live'";
        let worked = self.base.db.commit(vec![Statement::one("nothing", nothing, [])]).await.is_ok();
        *last = Some((now, worked));
        worked
    }

    /// Checks every component. Without the database it is unhealthy, since requests cannot be answered. A read-only
    /// database still answers correctly, and without Redis only logins are refused: degraded.
    async fn examine(&self) -> Health {
        let database = if self.live_tokens().await.is_ok() { HEALTHY } else { UNHEALTHY };
        let redis = match self.base.ephemeral.engine() {
            "redis" if self.base.ephemeral.check().await.is_ok() => HEALTHY,
            "redis" => UNHEALTHY,
            _ => "not_configured",
        };
        let writer = if self.can_write().await { HEALTHY } else { UNHEALTHY };
        let status = match (database, redis, writer) {
            (UNHEALTHY, _, _) => HealthStatus::Unhealthy,
            (_, UNHEALTHY, _) | (_, _, UNHEALTHY) => HealthStatus::Degraded,
            _ => HealthStatus::Healthy,
        };
        Health {
            status,
            version: VERSION.into(),
            components: Components { database: database.into(), redis: redis.into(), command_processor: writer.into() },
        }
    }

    async fn live_tokens(&self) -> Result<u64> {
        let counter = Query::point("SELECT value FROM counters WHERE name = $1", [Value::from("tokens.live")]);
        let rows = self.base.db.query(counter).await?;
        let count = rows.first().map(|row| row.cursor().int()).transpose()?.unwrap_or_default();
        Ok(u64::try_from(count).unwrap_or_default())
    }

    async fn status(&self, call: Call, _: ShowStatus) -> Result<Status> {
        let About { public_url, listen, providers, roles } = self.about.clone();
        Ok(Status {
            version: VERSION.into(),
            started_at: Time::from_millis(self.started_at),
            public_url,
            listen,
            database: self.base.db.engine().into(),
            ephemeral: self.base.ephemeral.engine().into(),
            health: self.examine().await,
            live_tokens: self.live_tokens().await?,
            providers,
            roles,
            caller: call.caller.to_string(),
        })
    }
}
