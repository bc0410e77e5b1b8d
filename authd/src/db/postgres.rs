//! PostgreSQL, for more than one machine.
//!
//! Every batch runs at SERIALIZABLE: the expectations on rows that a batch only reads (`Exists`, `Absent`) then hold at
//! its commit too, as with SQLite's single writer. READ COMMITTED was rejected for that reason; it would be enough only
//! for conditional updates. After a conflict (40001, 40P01) the batch is repeated here, since a batch is data. First
//! tries run concurrently, repetitions alone within this process, so that a row that all batches change (a counter)
//! costs one wasted try.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio::sync::{RwLock, Semaphore};
use tokio::time::Instant;
use tokio_postgres::config::Host;

use super::migrate::{self, Migration};
use super::postgres_connection::{Common, Connection, Failure};
use super::postgres_pooler::{self, Pooler};
use super::postgres_url::PostgresUrl;
use super::{
    Batch, BoxFuture, Committed, Cursor, Db, DbError, Identity, LostCommit, Query, Row, Statement, Urgency, Vitals,
    postgres_migrate,
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

/// A PostgreSQL database that connects when needed. Cheap to clone.
#[derive(Clone)]
pub struct Postgres {
    pool: Pool,
    common: Arc<Common>,
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

impl Postgres {
    /// Connects once, to migrate the schema. For the URL see [`super::postgres_url`].
    pub async fn open(url: &str, settings: Settings, identity: &Identity, now: Millis) -> Result<Self, DbError> {
        let PostgresUrl { mut config, tls } = PostgresUrl::parse(url).map_err(|faults| setting(&faults.join("; ")))?;
        config.tcp_user_timeout(settings.deadline);
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let common = Arc::new(Common { pooler: Pooler::default(), limit: settings.deadline });
        let of_hook = common.clone();
        let connector = tls.connector().map_err(|fault| setting(&fault))?;
        let pool = Pool::builder(Manager::from_config(config, connector, recycling))
            .max_size(settings.connections)
            .wait_timeout(Some(settings.deadline))
            .create_timeout(Some(settings.deadline))
            .recycle_timeout(Some(settings.deadline))
            .runtime(Runtime::Tokio1)
            .post_create(Hook::async_fn(move |client, _| {
                let common = of_hook.clone();
                Box::pin(async move {
                    if postgres_pooler::is_pooled(client).await.map_err(HookError::Backend)? {
                        common.pooler.set_met();
                        return Ok(());
                    }
                    client.batch_execute(&common.limits("SESSION")).await.map_err(HookError::Backend)
                })
            }))
            .build()
            .map_err(|error| DbError::Defect(error.into()))?;
        let writes = Arc::new(Semaphore::new(settings.connections.div_ceil(2)));
        let db = Self { pool, common, turns: Arc::default(), writes, vitals: Arc::default(), settings };
        let migrating = async {
            let client = Connection::from(&db.pool, &db.common).await?;
            postgres_migrate::migrate(&client, settings.migrations, identity, now).await
        };
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
            let client = Connection::from(&self.pool, &self.common).await?;
            let answer = match client.read(query).await {
                Ok(rows) => Ok(rows),
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
            let client = Connection::from(&self.pool, &self.common).await?;
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
