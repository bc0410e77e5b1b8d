//! PostgreSQL and what speaks its protocol, for more than one machine.
//!
//! Every batch runs at SERIALIZABLE: what a batch expects of rows that it only reads (`Exists`, `Absent`) then holds
//! at its commit too, as it does with SQLite's single writer. READ COMMITTED was refused for that reason; it would be
//! enough for conditional updates alone. A conflict (40001, 40P01) is repeated here, since a batch is data. The first
//! try runs beside others, the repetitions alone within this process, so that a row everybody changes (a counter)
//! costs one wasted try and not one per neighbour.

use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tokio::sync::RwLock;

use super::migrate::{self, Applied, Engine, Migration};
use super::postgres_tls::Tls;
use super::postgres_value::{borrowed, failed, is_conflict, is_stale, no_connection, row, told};
use super::{Batch, BoxFuture, Db, DbError, Outcome, Query, Row, Statement, Value};
use crate::world::Millis;

/// Bounds of the connection to PostgreSQL.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Connections at most.
    pub connections: usize,
    /// How long a caller waits for an answer, everything included.
    pub deadline: Duration,
    /// How often a batch is repeated after a conflict.
    pub repeats: u32,
    /// How long another process may be migrating.
    pub migration_lock: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { connections: 16, deadline: Duration::from_secs(5), repeats: 12, migration_lock: Duration::from_mins(1) }
    }
}

/// Any number, as long as every authd takes the same.
const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(7163384699739279460)";

/// Not sent ahead together with the first statement of a batch, though that would save a round trip: should BEGIN alone
/// be refused, the statement would commit by itself.
const BEGIN: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE";
const BEGIN_SOON: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE; SET LOCAL synchronous_commit = off";

/// A PostgreSQL database, its connections made when they are needed.
pub struct Postgres {
    pool: Pool,
    /// Held shared by first tries, exclusively by repetitions.
    turns: RwLock<()>,
    settings: Settings,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Why one try of a batch ended.
enum Failure {
    /// Another transaction was in the way: try again.
    Conflict(DbError),
    /// The connection's prepared statements no longer hold: try again on another one.
    Stale(DbError),
    Final(DbError),
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        Self::Final(error)
    }
}

impl Postgres {
    /// Connects once, to bring the schema up to date. The URL is libpq's; for `sslmode` see [`super::postgres_tls`].
    pub async fn open(url: &str, settings: Settings, now: Millis) -> Result<Self, DbError> {
        Self::open_with(url, settings, migrate::ALL, now).await
    }

    /// [`Postgres::open`] with other migrations, for their tests.
    pub(super) async fn open_with(
        url: &str,
        settings: Settings,
        migrations: &[Migration],
        now: Millis,
    ) -> Result<Self, DbError> {
        let (url, tls) = Tls::from_url(url)?;
        // The driver's message names the part that is wrong, never the password.
        let mut config: tokio_postgres::Config = url.parse().map_err(|error: tokio_postgres::Error| {
            DbError::Defect(format!("DATABASE_URL: {}", told(&error)).into())
        })?;
        config.application_name("authd").connect_timeout(Duration::from_secs(3)).tcp_user_timeout(settings.deadline);
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let limits = format!(
            "SET statement_timeout = {0}; SET idle_in_transaction_session_timeout = {0}",
            settings.deadline.as_millis()
        );
        let pool = Pool::builder(Manager::from_config(config, tls.connector()?, recycling))
            .max_size(settings.connections)
            .wait_timeout(Some(settings.deadline))
            .create_timeout(Some(settings.deadline))
            .recycle_timeout(Some(settings.deadline))
            .runtime(Runtime::Tokio1)
            .post_create(Hook::async_fn(move |client, _| {
                let limits = limits.clone();
                Box::pin(async move { client.batch_execute(&limits).await.map_err(HookError::Backend) })
            }))
            .build()
            .map_err(|error| DbError::Defect(error.into()))?;
        let db = Self { pool, turns: RwLock::new(()), settings };
        let deadline = settings.migration_lock + Duration::from_mins(1);
        let migrated = tokio::time::timeout(deadline, db.migrate(migrations, now)).await;
        migrated.map_err(|_| DbError::late("the migration"))??;
        Ok(db)
    }

    /// In one transaction and under a lock that a second process waits for, then finds everything done.
    async fn migrate(&self, known: &[Migration], now: Millis) -> Result<(), DbError> {
        // Not given back to the pool: its time-outs are other ones.
        let client = Object::take(self.pool.get().await.map_err(|error| no_connection(&error))?);
        let wait = self.settings.migration_lock.as_millis();
        let begin = format!(
            "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; BEGIN; SET LOCAL lock_timeout = {wait}"
        );
        client.batch_execute(&begin).await.map_err(|error| failed(&error, 0))?;
        client.batch_execute(MIGRATION_LOCK).await.map_err(|error| failed(&error, 0))?;
        client.batch_execute(migrate::REMEMBER).await.map_err(|error| failed(&error, 0))?;
        let rows = client.query(migrate::APPLIED, &[]).await.map_err(|error| failed(&error, 0))?;
        let applied = rows.iter().map(|found| Applied::from_row(&row(found)?)).collect::<Result<Vec<_>, _>>()?;
        for migration in migrate::pending(known, &applied, Engine::Postgres)? {
            client.batch_execute(&migration.sql(Engine::Postgres)).await.map_err(|error| failed(&error, 0))?;
            let record = migration.record(Engine::Postgres, now);
            client.execute(migrate::RECORD, &borrowed(&record)).await.map_err(|error| failed(&error, 0))?;
        }
        client.batch_execute("COMMIT").await.map_err(|error| failed(&error, 0))
    }

    async fn read(&self, query: &Query) -> Result<Vec<Row>, DbError> {
        let mut last = None;
        // A connection that turns out stale is closed, and the next one may be stale as well, but not all of them.
        for _ in 0..=self.settings.connections {
            let client = Connection::from(&self.pool).await?;
            match client.run(0, query.sql, &query.params).await {
                Ok(outcome) => {
                    client.give_back();
                    return Ok(outcome.rows);
                }
                Err(Failure::Final(error)) => {
                    if !matches!(error, DbError::Unavailable(_)) {
                        client.give_back();
                    }
                    return Err(error);
                }
                Err(Failure::Stale(error) | Failure::Conflict(error)) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| DbError::late("a read")))
    }

    async fn commit_with(&self, batch: Batch, begin: &str) -> Result<Vec<Outcome>, DbError> {
        let answer = tokio::time::timeout(self.settings.deadline, self.write(&batch, begin)).await;
        answer.map_err(|_| DbError::late("a commit"))?
    }

    async fn write(&self, batch: &Batch, begin: &str) -> Result<Vec<Outcome>, DbError> {
        let first = {
            let _beside_others = self.turns.read().await;
            self.attempt(batch, begin).await
        };
        let mut last = match first {
            Ok(outcomes) => return Ok(outcomes),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Conflict(error) | Failure::Stale(error)) => error,
        };
        let _alone = self.turns.write().await;
        for repeat in 0..self.settings.repeats {
            match self.attempt(batch, begin).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Conflict(error) | Failure::Stale(error)) => last = error,
            }
            // Only other processes are in the way now: 1, 2, 4 … 64 ms. No luck is needed to part two of them, for
            // of two that conflict the server lets one win.
            tokio::time::sleep(Duration::from_millis(1 << repeat.min(6))).await;
        }
        Err(last)
    }

    async fn attempt(&self, batch: &[Statement], begin: &str) -> Result<Vec<Outcome>, Failure> {
        let client = Connection::from(&self.pool).await?;
        match client.transaction(batch, begin).await {
            Ok(outcomes) => {
                client.give_back();
                Ok(outcomes)
            }
            Err(failure) => {
                // What the server refused is undone by one more round trip; anything else by the connection's end.
                let stale = matches!(failure, Failure::Stale(_));
                if !stale && client.client().batch_execute("ROLLBACK").await.is_ok() {
                    client.give_back();
                }
                Err(failure)
            }
        }
    }
}

/// A pooled connection that goes back only when it is known to be clean: dropped, it is closed, and the server rolls
/// back. A caller's time-out may drop it anywhere.
struct Connection(Option<Object>);

impl Connection {
    async fn from(pool: &Pool) -> Result<Self, DbError> {
        pool.get().await.map(|object| Self(Some(object))).map_err(|error| no_connection(&error))
    }

    fn client(&self) -> &Object {
        self.0.as_ref().expect("it is taken out only by give_back and drop, which end it")
    }

    fn give_back(mut self) {
        drop(self.0.take());
    }

    async fn transaction(&self, batch: &[Statement], begin: &str) -> Result<Vec<Outcome>, Failure> {
        let mut outcomes = Vec::with_capacity(batch.len());
        let begun = self.client().batch_execute(begin).await;
        begun.map_err(|error| failure(&error, 0))?;
        for (index, statement) in batch.iter().enumerate() {
            outcomes.push(self.checked(index, statement).await?);
        }
        self.client().batch_execute("COMMIT").await.map_err(|error| failure(&error, batch.len().saturating_sub(1)))?;
        Ok(outcomes)
    }

    async fn checked(&self, index: usize, statement: &Statement) -> Result<Outcome, Failure> {
        let outcome = self.run(index, statement.sql, &statement.params).await?;
        DbError::check(index, statement.expect, outcome.affected)?;
        Ok(outcome)
    }

    async fn run(&self, index: usize, sql: &str, params: &[Value]) -> Result<Outcome, Failure> {
        let fail = |error: tokio_postgres::Error| failure(&error, index);
        let prepared = self.client().prepare_cached(sql).await.map_err(fail)?;
        if prepared.params().len() != params.len() {
            let wanted = prepared.params().len();
            return Err(DbError::Defect(format!("{} parameters for one with {wanted}: {sql}", params.len()).into()))?;
        }
        if prepared.columns().is_empty() {
            let affected = self.client().execute(&prepared, &borrowed(params)).await.map_err(fail)?;
            return Ok(Outcome { affected, rows: Vec::new() });
        }
        let found = self.client().query(&prepared, &borrowed(params)).await.map_err(fail)?;
        let rows = found.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        Ok(Outcome { affected: rows.len() as u64, rows })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

impl Db for Postgres {
    fn query(&self, query: Query) -> BoxFuture<'_, Result<Vec<Row>, DbError>> {
        Box::pin(async move {
            let answer = tokio::time::timeout(self.settings.deadline, self.read(&query)).await;
            answer.map_err(|_| DbError::late("a read"))?
        })
    }

    fn commit_rows(&self, batch: Batch) -> BoxFuture<'_, Result<Vec<Outcome>, DbError>> {
        Box::pin(self.commit_with(batch, BEGIN))
    }

    fn commit_soon(&self, batch: Batch) -> BoxFuture<'_, Result<Vec<Outcome>, DbError>> {
        Box::pin(self.commit_with(batch, BEGIN_SOON))
    }

    fn engine(&self) -> &'static str {
        "postgres"
    }
}

/// What an error of the statement at `index` means for this try.
fn failure(error: &tokio_postgres::Error, index: usize) -> Failure {
    let meaning = failed(error, index);
    if is_conflict(error) {
        Failure::Conflict(meaning)
    } else if is_stale(error) {
        Failure::Stale(meaning)
    } else {
        Failure::Final(meaning)
    }
}
