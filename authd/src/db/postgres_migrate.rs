//! The migration of a PostgreSQL database.

use std::time::Duration;

use super::migrate::{self, Engine, Migration};
use super::postgres_connection::Connection;
use super::postgres_value::failed;
use super::{DbError, Identity, Row, postgres_engine};
use crate::env::Millis;

/// How long to wait for the migration of another process.
pub(super) const WAIT: Duration = Duration::from_mins(1);

/// An arbitrary number that every authd uses.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7163384699739279460)";

/// The name in reports.
const MIGRATION: &str = "migration";

/// Migrates in one transaction under a lock; a second process waits for it, then has nothing to do. Refuses another engine
/// before.
pub(super) async fn migrate(
    client: &Connection,
    known: &[Migration],
    identity: &Identity,
    now: Millis,
) -> Result<(), DbError> {
    let execute = async |sql: &str| client.client().batch_execute(sql).await.map_err(|error| failed(&error, MIGRATION));
    let rows = async |sql| Ok::<Vec<Row>, DbError>(client.run(MIGRATION, sql, &[]).await?.rows);
    let version = rows("SELECT version()").await?;
    let version = version.first().map_or(Ok(""), |row| row.cursor().text())?;
    postgres_engine::check(version).map_err(DbError::Setting)?;
    // LOCAL: a session may be another's at the next transaction.
    let begin = format!(
        "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
         SET LOCAL lock_timeout = {}",
        WAIT.as_millis()
    );
    for statement in [&begin, LOCK, migrate::REMEMBER] {
        execute(statement).await?;
    }
    let applied = rows(migrate::APPLIED).await?;
    let found = match identity.query(&applied) {
        Some(sql) => Some(rows(sql).await?),
        None => None,
    };
    identity.check(found.as_deref())?;
    for migration in migrate::pending(known, &applied, Engine::Postgres)? {
        execute(&migration.sql(Engine::Postgres)).await?;
        let record = migration.record(Engine::Postgres, now);
        client.run(MIGRATION, migrate::RECORD, &record).await?;
    }
    execute("COMMIT").await
}
