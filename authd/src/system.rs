//! The daemon itself: health and status.

use std::sync::Arc;
use std::time::Duration;

use shared::api::system::{
    Alive, CheckHealth, CheckLive, CheckReady, Components, Health, HealthStatus, ShowStatus, Status,
};
use shared::time::Time;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::base::Base;
use crate::call::Call;
use crate::db::{DbError, Query, Statement, Value};
use crate::env::{Millis, SECOND};
use crate::error::Result;
use crate::registry::Registry;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

const HEALTHY: &str = "healthy";
const UNHEALTHY: &str = "unhealthy";

/// How long the result of the database's write check is cached: the check costs a commit. By the clock that nobody
/// sets, since a wall clock that was set back would keep the result for as long.
const REMEMBERED: Duration = Duration::from_secs(5);

/// How far this node's clock and the database's may be apart before a warning. Revocations and ends of sessions are
/// compared with times that other nodes have written.
const CLOCKS_APART: Millis = 2 * SECOND;
/// Time between two comparisons, and between two warnings while the difference stays.
const COMPARE_PAUSE: Duration = Duration::from_secs(60);
const WARN_PAUSE: Duration = Duration::from_hours(1);

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
    writes: Mutex<Option<(Instant, bool)>>,
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

    /// Whether changes can be written: those that people asked for could, and one that is made for this can. The check
    /// asks for space too, since SQLite overwrites its log for a while on a disk that is full.
    async fn can_write(&self) -> bool {
        // It changes a page each time: a row that stays the same would not be written.
        const PROBE: &str = "INSERT INTO counters (name, value) VALUES ('health.probes', 1) \
             ON CONFLICT (name) DO UPDATE SET value = counters.value + 1";
        let db = &self.base.db;
        let mut last = self.writes.lock().await;
        if last.is_none_or(|(at, _)| at.elapsed() >= REMEMBERED) {
            let worked = db.can_grow().await && db.commit(vec![Statement::one("probe", PROBE, [])]).await.is_ok();
            *last = Some((Instant::now(), worked));
        }
        last.is_some_and(|(_, worked)| worked) && db.vitals().can_write()
    }

    /// Milliseconds by which this node's clock is ahead of the database's, as far as the time of the question can tell;
    /// `None` if the database has no clock of its own.
    async fn clock_ahead(&self) -> Result<Option<Millis>, DbError> {
        let before = self.base.now();
        let Some(theirs) = self.base.db.clock().await? else { return Ok(None) };
        let after = self.base.now();
        Ok(Some(ahead(before, theirs, after)))
    }

    /// Compares the clocks at the start and then once a minute, and warns, until `stop` resolves.
    pub async fn compare_clocks(&self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut warned: Option<Instant> = None;
        loop {
            match self.clock_ahead().await {
                Ok(None) => return,
                Ok(Some(ahead)) if ahead.abs() <= CLOCKS_APART => warned = None,
                Ok(Some(ahead)) => {
                    if warned.is_none_or(|at| at.elapsed() >= WARN_PAUSE) {
                        let seconds = ahead / SECOND;
                        tracing::warn!(
                            seconds,
                            "this machine's clock is ahead of the database's by so many seconds: synchronize the clocks \
                             (NTP), or sessions and tokens end too early or too late"
                        );
                        warned = Some(Instant::now());
                    }
                }
                Err(error) => tracing::debug!(%error, "the database's clock could not be read"),
            }
            tokio::select! {
                () = tokio::time::sleep(COMPARE_PAUSE) => {}
                () = &mut stop => return,
            }
        }
    }

    /// Checks every component. Without the database, or with a damaged one, it is unhealthy, since requests cannot be
    /// answered truthfully. A read-only database still answers correctly, and without Redis only logins are refused:
    /// degraded.
    async fn examine(&self) -> Health {
        let is_whole = self.base.db.vitals().damage().is_none();
        let database = if self.live_tokens().await.is_ok() && is_whole { HEALTHY } else { UNHEALTHY };
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

/// How far a clock is ahead of another one, which was read at some moment from `before` to `after`.
fn ahead(before: Millis, theirs: Millis, after: Millis) -> Millis {
    // Somewhere within the question they may have been equal.
    (before - theirs).max(0) + (after - theirs).min(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing;
    use crate::testing::TestApp;

    #[test]
    fn a_slow_answer_is_no_difference_of_clocks() {
        for (before, theirs, after, difference) in
            [(0, 0, 0, 0), (0, 3, 9, 0), (0, 9, 9, 0), (5, 0, 9, 5), (0, 20, 9, -11), (9_000, 2_000, 9_500, 7_000)]
        {
            assert_eq!(ahead(before, theirs, after), difference, "{before} {theirs} {after}");
        }
    }

    #[tokio::test]
    async fn a_node_compares_its_clock_with_that_of_the_database() {
        let Some(url) = testing::postgres_url().await else { return };
        let folder = tempfile::tempdir().unwrap();
        let app = TestApp::on(folder, &format!("[database]\nurl = {url:?}"), 0).await;
        let ahead = app.modules.system.clock_ahead().await.unwrap().expect("PostgreSQL has a clock");
        assert!(ahead < -CLOCKS_APART, "the clock of the test stands in 1970: {ahead}");
        app.clock.advance(-ahead);
        let ahead = app.modules.system.clock_ahead().await.unwrap().unwrap();
        assert!(ahead.abs() < 60 * SECOND, "{ahead}");
        let app = TestApp::new().await;
        if !crate::testing::on_postgres() {
            assert_eq!(app.modules.system.clock_ahead().await.unwrap(), None, "SQLite has none of its own");
        }
    }

    #[tokio::test]
    async fn health_tells_what_commits_met_and_asks_anew_by_a_clock_that_nobody_sets() {
        let app = TestApp::new().await;
        let writes = async || {
            let health = app.call("system.health", serde_json::json!({})).await.unwrap();
            health["components"]["command_processor"].as_str().unwrap().to_owned()
        };
        assert_eq!(writes().await, HEALTHY);
        // A change that was refused is told at once, although the last check is young.
        app.base.db.vitals().set_failed();
        assert_eq!(writes().await, UNHEALTHY);
        let rows = app.base.db.query(Query::new("SELECT value FROM counters WHERE name = 'health.probes'", [])).await;
        assert_eq!(rows.unwrap()[0].cursor().int().unwrap(), 1, "asked once");
        app.clock.advance(-365 * 24 * 3600 * SECOND);
        tokio::time::pause();
        tokio::time::advance(REMEMBERED).await;
        tokio::time::resume();
        writes().await;
        let rows = app.base.db.query(Query::new("SELECT value FROM counters WHERE name = 'health.probes'", [])).await;
        assert_eq!(rows.unwrap()[0].cursor().int().unwrap(), 2, "its age is not that of the wall clock");
    }

    #[tokio::test]
    async fn a_damaged_database_is_unhealthy() {
        let app = TestApp::new().await;
        app.base.db.vitals().set_damaged("page 7");
        let health = app.call("system.health", serde_json::json!({})).await.unwrap();
        assert_eq!((&health["status"], &health["components"]["database"]), (&"unhealthy".into(), &UNHEALTHY.into()));
    }
}
