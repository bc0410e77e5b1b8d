//! The migration of a PostgreSQL database.

use std::time::Duration;

use deadpool_postgres::{Object, Pool};

use super::migrate::{self, Engine, Migration};
use super::postgres_value::{borrowed, failed, no_connection, row};
use super::{DbError, Identity};
use crate::env::Millis;

/// How long to wait for the migration of another process.
pub(super) const WAIT: Duration = Duration::from_mins(1);

/// An arbitrary number that every authd uses.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7163384699739279460)";

/// Migrates in one transaction under a lock; a second process waits for it, then has nothing to do.
pub(super) async fn migrate(pool: &Pool, known: &[Migration], identity: &Identity, now: Millis) -> Result<(), DbError> {
    let fail = |error: tokio_postgres::Error| failed(&error, "migration");
    // Not returned to the pool: it has other time-outs.
    let client = Object::take(pool.get().await.map_err(|error| no_connection(&error))?);
    let begin = format!(
        "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; BEGIN; SET LOCAL lock_timeout = {}",
        WAIT.as_millis()
    );
    for statement in [&begin, LOCK, migrate::REMEMBER] {
        client.batch_execute(statement).await.map_err(fail)?;
    }
    let rows = client.query(migrate::APPLIED, &[]).await.map_err(fail)?;
    let applied = rows.iter().map(row).collect::<Result<Vec<_>, _>>()?;
    let rows = match identity.query(&applied) {
        Some(sql) => {
            let rows = client.query(sql, &[]).await.map_err(fail)?;
            Some(rows.iter().map(row).collect::<Result<Vec<_>, _>>()?)
        }
        None => None,
    };
    identity.check(rows.as_deref())?;
    for migration in migrate::pending(known, &applied, Engine::Postgres)? {
        client.batch_execute(&migration.sql(Engine::Postgres)).await.map_err(fail)?;
        let record = migration.record(Engine::Postgres, now);
        client.execute(migrate::RECORD, &borrowed(&record)).await.map_err(fail)?;
    }
    client.batch_execute("COMMIT").await.map_err(fail)
}
