//! The daemon itself: is it well, and what runs here.

use shared::api::system::{
    Alive, CheckHealth, CheckLive, CheckReady, Components, Health, HealthStatus, ShowStatus, Status,
};
use shared::time::Time;
use tokio::sync::Mutex;

use crate::app::{App, Ctx};
use crate::db::{Query, Statement, Value};
use crate::error::Result;
use crate::registry::Registry;
use crate::world::{Millis, SECOND};

/// What this build calls itself.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

const HEALTHY: &str = "healthy";
const UNHEALTHY: &str = "unhealthy";

pub fn register(registry: &mut Registry) {
    registry.add(health);
    registry.add(live);
    registry.add(ready);
    registry.add(status);
}

async fn health(ctx: Ctx, _: CheckHealth) -> Result<Health> {
    Ok(examine(&ctx.app).await)
}

async fn ready(ctx: Ctx, _: CheckReady) -> Result<Health> {
    Ok(examine(&ctx.app).await)
}

async fn live(_: Ctx, _: CheckLive) -> Result<Alive> {
    Ok(Alive { status: "alive".into() })
}

/// For how long it is remembered whether the database could write: asking costs a commit.
const REMEMBERED: Millis = 5 * SECOND;

/// Whether the database could write when it was asked last.
#[derive(Debug, Default)]
pub struct Writes(Mutex<Option<(Millis, bool)>>);

impl Writes {
    async fn work(&self, app: &App) -> bool {
        let mut last = self.0.lock().await;
        let now = app.world.now();
        if let Some((at, worked)) = *last
            && now - at < REMEMBERED
        {
            return worked;
        }
        let nothing = "UPDATE counters SET value = value WHERE name = 'tokens.live'";
        let worked = app.db.commit(vec![Statement::one("nothing", nothing, [])]).await.is_ok();
        *last = Some((now, worked));
        worked
    }
}

/// Asks every part. The database down is unhealthy, since answers would not be true. What cannot write still answers
/// truly, and without Redis only logins are refused: degraded.
async fn examine(app: &App) -> Health {
    let read = app.db.query(Query::point("SELECT value FROM counters WHERE name = $1", [Value::from("tokens.live")]));
    let database = if read.await.is_ok() { HEALTHY } else { UNHEALTHY };
    let redis = match app.ephemeral.engine() {
        "redis" if app.ephemeral.check().await.is_ok() => HEALTHY,
        "redis" => UNHEALTHY,
        _ => "not_configured",
    };
    let writer = if app.writes.work(app).await { HEALTHY } else { UNHEALTHY };
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

async fn status(ctx: Ctx, _: ShowStatus) -> Result<Status> {
    let app = &ctx.app;
    let counters = Query::point("SELECT value FROM counters WHERE name = $1", [Value::from("tokens.live")]);
    let rows = app.db.query(counters).await?;
    let live_tokens = rows.first().map(|row| row.int(0)).transpose()?.unwrap_or_default();
    Ok(Status {
        version: VERSION.into(),
        started_at: Time::from_millis(app.started_at),
        public_url: app.config.server.public_url.clone(),
        listen: vec![app.config.server.addr.to_string(), app.config.admin.socket.display().to_string()],
        database: app.db.engine().into(),
        ephemeral: app.ephemeral.engine().into(),
        health: examine(app).await,
        live_tokens: u64::try_from(live_tokens).unwrap_or_default(),
        providers: app.config.providers.iter().map(|provider| provider.name.clone()).collect(),
        roles: app.config.roles.iter().map(|role| role.name.clone()).collect(),
        caller: ctx.caller.to_string(),
    })
}
