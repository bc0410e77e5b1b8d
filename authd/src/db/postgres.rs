//! PostgreSQL and compatible databases, for more than one machine.
//!
//! Every batch runs at SERIALIZABLE: the expectations on rows that a batch only reads (`Exists`, `Absent`) then hold at
//! its commit too, as with SQLite's single writer. READ COMMITTED was rejected for that reason; it would be enough only
//! for conditional updates. After a conflict (40001, 40P01) the batch is repeated here, since a batch is data. First
//! tries run concurrently, repetitions alone within this process, so that a row that all batches change (a counter)
//! costs one wasted try.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tokio::sync::{RwLock, Semaphore};
use tokio::time::Instant;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;

use super::migrate::{self, Migration};
use super::postgres_url::PostgresUrl;
use super::postgres_value::{borrowed, failed, is_refusal, is_stale, no_connection, row, told};
use super::{
    Batch, BoxFuture, Committed, Cursor, Db, DbError, Identity, LostCommit, Outcome, Query, Row, Statement, Urgency,
    Value, Vitals, postgres_migrate,
};
use crate::env::Millis;

/// Limits of the connections to PostgreSQL.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub connections: usize,
    /// How long a caller waits for an answer in all.
    pub deadline: Duration,
    pub migrations: &'static [Migration],
}

impl Default for Settings {
    fn default() -> Self {
        Self { connections: 16, deadline: Duration::from_secs(5), migrations: migrate::ALL }
    }
}

/// How often a batch is repeated after a conflict.
const REPEATS: u32 = 12;

/// Also reads the transaction's number, to find its outcome after the connection was lost. The first statement of the
/// batch is not sent along, although that would save a round trip: if only BEGIN failed, the statement would commit by
/// itself.
const BEGIN: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT txid_current()";

/// How long to wait for the answer to a COMMIT. Only a stalled server takes longer than the deadline.
const COMMIT_LIMIT: Duration = Duration::from_mins(10);

/// The name in reports of the statements around a batch.
const TRANSACTION: &str = "transaction";

/// A PostgreSQL database that connects when needed. Cheap to clone.
#[derive(Clone)]
pub struct Postgres {
    pool: Pool,
    /// Held shared by first tries, exclusively by repetitions.
    turns: Arc<RwLock<()>>,
    /// Half of the connections, so that unanswered commits leave the others for reads.
    writes: Arc<Semaphore>,
    vitals: Arc<Vitals>,
    settings: Settings,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").finish_non_exhaustive()
    }
}

/// `authd check` and the start have read the URL before, but the root certificates may have changed since.
fn setting(fault: &str) -> DbError {
    DbError::Setting(format!("database.url (DATABASE_URL): {fault}"))
}

/// Why one try of a batch ended.
enum Failure {
    /// A conflict with another transaction: try again.
    Conflict(DbError),
    /// The connection's prepared statements are stale: try again on another connection.
    Stale(DbError),
    Final(DbError),
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        Self::Final(error)
    }
}

impl Postgres {
    /// Connects once, to migrate the schema. For the URL see [`super::postgres_url`].
    pub async fn open(url: &str, settings: Settings, identity: &Identity, now: Millis) -> Result<Self, DbError> {
        let PostgresUrl { mut config, tls } = PostgresUrl::parse(url).map_err(|faults| setting(&faults.join("; ")))?;
        config.tcp_user_timeout(settings.deadline);
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let limits = format!(
            "SET statement_timeout = {0}; SET idle_in_transaction_session_timeout = {0}",
            settings.deadline.as_millis()
        );
        let connector = tls.connector().map_err(|fault| setting(&fault))?;
        let pool = Pool::builder(Manager::from_config(config, connector, recycling))
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
        let writes = Arc::new(Semaphore::new(settings.connections.div_ceil(2)));
        let db = Self { pool, turns: Arc::default(), writes, vitals: Arc::default(), settings };
        let migrating = postgres_migrate::migrate(&db.pool, settings.migrations, identity, now);
        let migrated = tokio::time::timeout(postgres_migrate::WAIT + Duration::from_mins(1), migrating).await;
        migrated.map_err(|_| DbError::Late("the migration"))??;
        Ok(db)
    }

    /// Records damage that the server has reported: `data_corrupted`, `index_corrupted`.
    fn note<T>(&self, end: &Result<T, DbError>) {
        if let Err(DbError::Defect(source)) = end {
            let text = source.to_string();
            if text.contains("(XX001)") || text.contains("(XX002)") {
                self.vitals.set_damaged(&text);
            }
        }
    }

    async fn read(&self, query: &Query) -> Result<Vec<Row>, DbError> {
        let mut last = None;
        // A stale connection is closed. The next one may be stale too, but not all of them.
        for _ in 0..=self.settings.connections {
            let client = Connection::from(&self.pool).await?;
            let answer = match client.run("query", query.sql, &query.params).await {
                Ok(outcome) => Ok(outcome.rows),
                Err(Failure::Final(error)) => Err(error),
                Err(Failure::Stale(error) | Failure::Conflict(error)) => {
                    last = Some(error);
                    continue;
                }
            };
            if !answer.as_ref().is_err_and(DbError::is_unavailable) {
                client.give_back();
            }
            return answer;
        }
        Err(last.unwrap_or(DbError::Late("a read")))
    }

    async fn write(&self, batch: &Batch) -> Result<Committed, DbError> {
        let end = Instant::now() + self.settings.deadline;
        let late = |_| DbError::Late("a commit");
        let beside_others = tokio::time::timeout_at(end, self.turns.read()).await.map_err(late)?;
        let first = held_until(end, beside_others, self.attempt(batch, end)).await;
        let mut last = match first {
            Ok(committed) => return Ok(committed),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Conflict(error) | Failure::Stale(error)) => error,
        };
        let alone = tokio::time::timeout_at(end, self.turns.write()).await.map_err(late)?;
        let repeats = async {
            for repeat in 0..REPEATS {
                match self.attempt(batch, end).await {
                    Ok(committed) => return Ok(committed),
                    Err(Failure::Final(error)) => return Err(error),
                    Err(Failure::Conflict(error) | Failure::Stale(error)) => last = error,
                }
                // Only other processes can conflict now: wait 1, 2, 4 … 64 ms. Randomness is not needed, since the
                // server lets one of two conflicting transactions win.
                tokio::time::sleep(Duration::from_millis(1 << repeat.min(6))).await;
            }
            Err(last)
        };
        held_until(end, alone, repeats).await
    }

    /// One try. Everything before COMMIT must end by `end`, when the caller stops waiting.
    async fn attempt(&self, batch: &[Statement], end: Instant) -> Result<Committed, Failure> {
        let late = |_| DbError::Late("a commit");
        let begun = async {
            let permit = self.writes.acquire().await.map_err(|closed| DbError::Unavailable(closed.into()))?;
            let client = Connection::from(&self.pool).await?;
            let applied = client.apply(batch).await;
            Ok::<_, DbError>((permit, client, applied))
        };
        let (_permit, client, applied) = tokio::time::timeout_at(end, begun).await.map_err(late)??;
        let ended = match applied {
            Ok((transaction, committed)) => client.commit(transaction).await.map(|()| committed),
            Err(failure) => Err(failure),
        };
        let is_clean = match &ended {
            Ok(_) => true,
            // Rolled back by closing the connection, if possible.
            Err(Failure::Stale(_) | Failure::Final(DbError::Lost(_))) => false,
            // A refused transaction is rolled back by one more round trip.
            Err(_) => {
                let undoing = client.client().batch_execute("ROLLBACK");
                matches!(tokio::time::timeout(self.settings.deadline, undoing).await, Ok(Ok(())))
            }
        };
        if is_clean {
            client.give_back();
        }
        ended
    }
}

/// Host, port and database of a URL: whatever else is in it may be secret.
pub(super) fn place(url: &str) -> String {
    let Ok(PostgresUrl { config, .. }) = PostgresUrl::parse(url) else { return "postgres".into() };
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    let ports = config.get_ports().iter().map(u16::to_string);
    let (hosts, ports): (Vec<_>, Vec<_>) = (hosts.collect(), ports.collect());
    format!("postgres://{}:{}/{}", hosts.join(","), ports.join(","), config.get_dbname().unwrap_or_default())
}

/// Runs this to its end, however late, under a guard that is released at `end` at the latest: an unanswered COMMIT must
/// not block others.
async fn held_until<T>(end: Instant, guard: impl Sized, run: impl Future<Output = T>) -> T {
    tokio::pin!(run);
    if let Ok(done) = tokio::time::timeout_at(end, &mut run).await {
        return done;
    }
    drop(guard);
    run.await
}

/// A pooled connection that is returned only when it is known to be clean. If dropped, it is closed and the server
/// rolls back; a caller's time-out may drop it anywhere.
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

    /// Begins a transaction and runs the batch in it. Returns the transaction's number too.
    async fn apply(&self, batch: &[Statement]) -> Result<(i64, Committed), Failure> {
        let begun = self.client().simple_query(BEGIN).await.map_err(|error| failure(&error, TRANSACTION))?;
        let number = begun.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
            _ => None,
        });
        let number = number.ok_or_else(|| DbError::Defect("txid_current() returned no number".into()))?;
        let mut outcomes = Vec::with_capacity(batch.len());
        for statement in batch {
            let outcome = self.run(statement.name, statement.sql, &statement.params).await?;
            statement.check(outcome.affected)?;
            outcomes.push(outcome);
        }
        Ok((number, Committed(outcomes)))
    }

    /// Commits. Without an answer of the server, the commit may have happened.
    async fn commit(&self, transaction: i64) -> Result<(), Failure> {
        let lost = |reason: String| Failure::Final(DbError::Lost(LostCommit { transaction, reason }));
        match tokio::time::timeout(COMMIT_LIMIT, self.client().batch_execute("COMMIT")).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if is_refusal(&error) => Err(failure(&error, TRANSACTION)),
            Ok(Err(error)) => Err(lost(told(&error))),
            Err(_) => Err(lost("no answer".to_owned())),
        }
    }

    async fn run(&self, name: &'static str, sql: &str, params: &[Value]) -> Result<Outcome, Failure> {
        let fail = |error: tokio_postgres::Error| failure(&error, name);
        let prepared = self.client().prepare_cached(sql).await.map_err(fail)?;
        if prepared.params().len() != params.len() {
            let wanted = prepared.params().len();
            return Err(DbError::Defect(format!("{} parameters for one with {wanted}: {sql}", params.len()).into()))?;
        }
        if prepared.columns().is_empty() {
            let affected = self.client().execute(&prepared, &borrowed(params)).await.map_err(fail)?;
            return Ok(Outcome { name, affected, rows: Vec::new() });
        }
        let found = self.client().query(&prepared, &borrowed(params)).await.map_err(fail)?;
        let rows = found.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        Ok(Outcome { name, affected: rows.len() as u64, rows })
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
            let answer = answer.map_err(|_| DbError::Late("a read"))?;
            self.note(&answer);
            answer
        })
    }

    fn submit(&self, batch: Batch, _: Urgency) -> BoxFuture<'static, Result<Committed, DbError>> {
        let db = self.clone();
        // A separate task: if it were dropped during COMMIT, the outcome would never be known.
        let writing = tokio::spawn(async move {
            let end = db.write(&batch).await;
            db.note(&end);
            db.vitals.record(&end);
            end
        });
        Box::pin(async move { writing.await.unwrap_or_else(|error| Err(DbError::Defect(error.into()))) })
    }

    fn settle(&self, lost: LostCommit) -> BoxFuture<'_, Result<Option<bool>, DbError>> {
        Box::pin(async move {
            let rows = match self.query(Query::new("SELECT txid_status($1)", [lost.transaction.into()])).await {
                // After a failover, the new server has not reached this number yet: `invalid_parameter_value`.
                Err(DbError::Defect(source)) if source.to_string().contains("(22023)") => {
                    return Ok(Some(false));
                }
                answer => answer?,
            };
            match rows.first().map(|row| row.cursor().opt(Cursor::text)).transpose()?.flatten() {
                Some("in progress") => Ok(None),
                Some("committed") => Ok(Some(true)),
                // The server no longer knows it, so it ended long ago; the caller has to read the current state.
                _ => Ok(Some(false)),
            }
        })
    }

    fn deadline(&self) -> Duration {
        self.settings.deadline
    }

    fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    fn clock(&self) -> BoxFuture<'_, Result<Option<Millis>, DbError>> {
        const CLOCK: &str = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
        Box::pin(async {
            let rows = self.query(Query::new(CLOCK, [])).await?;
            rows.first().map(|row| row.cursor().int()).transpose()
        })
    }

    fn engine(&self) -> &'static str {
        "postgres"
    }
}

/// Classifies an error of the statement of this name.
fn failure(error: &tokio_postgres::Error, name: &'static str) -> Failure {
    let meaning = failed(error, name);
    if matches!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED)) {
        Failure::Conflict(meaning)
    } else if is_stale(error) {
        Failure::Stale(meaning)
    } else {
        Failure::Final(meaning)
    }
}
