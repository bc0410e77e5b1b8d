//! The database, with a small interface: [`Db::query`] reads rows, [`Db::commit`] applies a [`Batch`] atomically.
//!
//! A batch is data: a list of statements, each with the outcome it expects. So one text of SQL serves SQLite
//! and PostgreSQL, SQLite commits many callers' batches in one fsync, and PostgreSQL repeats a batch
//! after a serialization conflict. Interactive transactions were rejected for that reason.
//!
//! SQL uses `$1` parameters, `BIGINT`/`TEXT`/bytes only; times are [`Millis`](crate::env::Millis), ids UUIDv7 text,
//! hashes bytes. SQL is in the modules' stores, or beside the code in modules with one or two statements.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::env::Millis;
use crate::error::Error;

mod config;
mod identity;
pub mod migrate;
#[cfg(test)]
mod migrate_tests;
pub mod postgres;
mod postgres_connection;
mod postgres_engine;
mod postgres_migrate;
mod postgres_pooler;
#[cfg(test)]
mod postgres_tests;
mod postgres_tls;
pub mod postgres_url;
#[cfg(test)]
mod postgres_url_tests;
mod postgres_value;
pub mod sqlite;
mod sqlite_backup;
mod sqlite_check;
mod sqlite_conn;
mod sqlite_file;
mod sqlite_pool;
mod sqlite_reserve;
#[cfg(test)]
mod sqlite_tests;
#[cfg(test)]
mod sqlite_whole_tests;
mod sqlite_writer;
pub mod sweep;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
mod value;
mod vitals;

pub use self::config::{Checkpoints, Config, DatabaseUrl};
pub use self::identity::Identity;
pub use self::sqlite_backup::restore;
pub use self::vitals::Vitals;
pub use value::{Cursor, Row, Value, split_hash};

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A read statement.
#[derive(Clone, Debug)]
pub struct Query {
    pub sql: &'static str,
    pub params: Vec<Value>,
    /// At most one row, found by a unique key: cheap enough for SQLite to run it on the calling thread.
    pub point: bool,
}

impl Query {
    /// A read of any size; SQLite runs it on a reader thread.
    pub fn new(sql: &'static str, params: impl Into<Vec<Value>>) -> Self {
        Self { sql, params: params.into(), point: false }
    }

    /// A read of at most one row by a unique key.
    pub fn point(sql: &'static str, params: impl Into<Vec<Value>>) -> Self {
        Self { sql, params: params.into(), point: true }
    }
}

/// What a statement's outcome must be for its batch to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Any outcome except an error.
    Any,
    /// Exactly this many rows affected.
    Rows(u64),
    /// A `SELECT` that must find at least one row.
    Exists,
    /// A `SELECT` that must find none.
    Absent,
    /// Any outcome. Its only parameter is a number that it adds to a value; an engine that commits several batches
    /// together may run it once, with the sum, after all of them. Its rows are not counted.
    Added,
}

/// A statement of a batch, with what it expects.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The name in reports of a failed expectation, a duplicate and the outcome; unique within its batch if the
    /// outcome is read.
    pub name: &'static str,
    pub sql: &'static str,
    pub params: Vec<Value>,
    pub expect: Expect,
}

impl Statement {
    fn new(name: &'static str, sql: &'static str, params: impl Into<Vec<Value>>, expect: Expect) -> Self {
        Self { name, sql, params: params.into(), expect }
    }

    /// A change that must affect exactly one row.
    pub fn one(name: &'static str, sql: &'static str, params: impl Into<Vec<Value>>) -> Self {
        Self::new(name, sql, params, Expect::Rows(1))
    }

    /// A change that may affect any number of rows.
    pub fn any(name: &'static str, sql: &'static str, params: impl Into<Vec<Value>>) -> Self {
        Self::new(name, sql, params, Expect::Any)
    }

    /// An `UPDATE` that adds `$1` to a counter of many batches: see [`Expect::Added`].
    pub fn add(name: &'static str, sql: &'static str, number: i64) -> Self {
        Self::new(name, sql, [number.into()], Expect::Added)
    }

    pub fn exists(name: &'static str, sql: &'static str, params: impl Into<Vec<Value>>) -> Self {
        Self::new(name, sql, params, Expect::Exists)
    }

    pub fn absent(name: &'static str, sql: &'static str, params: impl Into<Vec<Value>>) -> Self {
        Self::new(name, sql, params, Expect::Absent)
    }

    fn check(&self, affected: u64) -> Result<(), DbError> {
        let met = match self.expect {
            Expect::Any | Expect::Added => true,
            Expect::Rows(wanted) => affected == wanted,
            Expect::Exists => affected > 0,
            Expect::Absent => affected == 0,
        };
        if met { Ok(()) } else { Err(DbError::ExpectationFailed(self.name)) }
    }
}

/// Statements applied together or not at all, in order.
pub type Batch = Vec<Statement>;

/// What the statements of a committed batch did, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed(Vec<Outcome>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub name: &'static str,
    /// Rows affected (rows found, for a `SELECT`).
    pub affected: u64,
    /// The rows of a `SELECT` or of a `RETURNING` clause.
    pub rows: Vec<Row>,
}

impl Committed {
    /// The outcome of the statement of this name, the first one if there are several; `None` if there is none.
    pub fn find(&self, name: &str) -> Option<&Outcome> {
        self.0.iter().find(|outcome| outcome.name == name)
    }

    /// Rows that the statement of this name affected.
    pub fn affected(&self, name: &str) -> u64 {
        self.find(name).map_or(0, |outcome| outcome.affected)
    }

    /// Rows that the statement of this name found or returned.
    pub fn rows(&self, name: &str) -> &[Row] {
        self.find(name).map_or(&[], |outcome| &outcome.rows)
    }
}

/// Why a database call failed. The batch was not applied, except with [`DbError::Late`] and [`DbError::Lost`], whose
/// outcome is not known yet.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error("the statement {0} did not find what it expects")]
    ExpectationFailed(&'static str),
    #[error("the statement {0} broke a unique constraint")]
    Duplicate(&'static str),
    /// Busy, full or down: the caller may try again later (503). A commit whose sync failed may turn out to be
    /// applied when the file is reopened, before this is returned.
    #[error("the database is not available: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The call did not end within its deadline. Its batch may be applied later, or not at all.
    #[error("the database is not available: {0} took too long")]
    Late(&'static str),
    /// The connection was lost while it committed, and [`Db::settle`] can learn the outcome.
    #[error("the database is not available: the connection was lost during a commit: {}", .0.reason)]
    Lost(LostCommit),
    /// The settings cannot be followed; only when the database is opened.
    #[error("{0}")]
    Setting(String),
    /// A defect of authd: SQL that does not match the schema, or a row of another shape (500).
    #[error("the database refused our statement: {0}")]
    Defect(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A transaction whose `COMMIT` was sent but not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostCommit {
    /// The database's number of the transaction.
    pub transaction: i64,
    /// Why there is no answer.
    pub reason: String,
}

impl DbError {
    fn shape(column: usize, wanted: &str) -> Self {
        Self::Defect(format!("column {column} of a row is not {wanted}").into())
    }

    /// Whether the caller may try again later, because the fault is not in the request.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Late(_) | Self::Lost(_))
    }
}

/// A database error that an operation does not handle: busy and down are 503, anything else is a defect. It is never
/// an answer about a token.
impl From<DbError> for Error {
    fn from(error: DbError) -> Self {
        if error.is_unavailable() {
            Self::unavailable("the database is busy or down; try again", error)
        } else {
            Self::internal(error)
        }
    }
}

/// Whether a batch may wait until there is space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Urgency {
    #[default]
    Usual,
    Urgent,
}

/// A database with durable commits.
pub trait Db: Send + Sync {
    /// Runs a read statement on a state that includes every commit that was answered before.
    fn query(&self, query: Query) -> BoxFuture<'_, Result<Vec<Row>, DbError>>;

    /// Applies the whole batch durably (on disk when this resolves) or nothing, and returns the outcomes of its
    /// statements: `UPDATE … RETURNING` returns the value that this batch wrote.
    ///
    /// Resolves at the end of the batch, however late; the batch continues if the future is dropped. A batch that is
    /// not started within [`Db::deadline`] is not started at all ([`DbError::Late`]). There is no other
    /// [`DbError::Late`]: an unknown outcome is [`DbError::Lost`].
    ///
    /// [`Urgency::Urgent`] is for what takes access away: it may use the space that is kept for a full disk.
    fn submit(&self, batch: Batch, urgency: Urgency) -> BoxFuture<'static, Result<Committed, DbError>>;

    /// Whether a lost commit was applied; `None` while it is undecided.
    fn settle(&self, lost: LostCommit) -> BoxFuture<'_, Result<Option<bool>, DbError>>;

    /// How long a caller waits for an answer.
    fn deadline(&self) -> Duration;

    /// [`Db::submit`] for callers that do not need an outcome after the deadline, which is [`DbError::Late`].
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, DbError>> {
        let (end, deadline) = (self.submit(batch, Urgency::Usual), self.deadline());
        Box::pin(async move { tokio::time::timeout(deadline, end).await.unwrap_or_else(|_| Err(self.late())) })
    }

    /// The error of a commit without an answer within the deadline, which is recorded.
    fn late(&self) -> DbError {
        self.vitals().set_failed();
        DbError::Late("a commit")
    }

    /// What the engine met while it worked.
    fn vitals(&self) -> &Vitals;

    /// Whether the database's files can grow; a server knows that itself.
    fn can_grow(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(true))
    }

    /// The time of the database's clock; `None` if it has none of its own.
    fn clock(&self) -> BoxFuture<'_, Result<Option<Millis>, DbError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Prepares the stored files for a backup. To be called at the end; the database can still be used.
    fn close(&self) -> BoxFuture<'_, Result<(), DbError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Writes a consistent copy of the database to a new private file, if the engine is [`sqlite`] and has no tools of its
    /// own for that.
    fn backup(&self, _to: PathBuf) -> BoxFuture<'_, Result<(), DbError>> {
        Box::pin(std::future::ready(Err(DbError::Setting("this engine has its own tools for backups".into()))))
    }

    /// The engine's name, for logs and health: `sqlite` or `postgres`.
    fn engine(&self) -> &'static str;
}

impl fmt::Debug for dyn Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.engine())
    }
}

/// Opens the database of `DATABASE_URL` and migrates its schema, if it is the one that is meant. For `postgres://` URLs
/// see [`postgres::Postgres`].
pub async fn open(
    url: &DatabaseUrl,
    config: &Config,
    identity: &Identity,
    now: Millis,
) -> Result<Arc<dyn Db>, DbError> {
    match url {
        DatabaseUrl::Sqlite(path) => {
            let settings = sqlite::Settings { checkpoints: config.checkpoints, ..sqlite::Settings::default() };
            Ok(Arc::new(sqlite::Sqlite::open(path, settings, identity, now)?))
        }
        DatabaseUrl::Postgres(url) => {
            let mut settings = postgres::Settings::default();
            settings.connections = config.max_connections.unwrap_or(settings.connections);
            Ok(Arc::new(postgres::Postgres::open(url.expose(), settings, identity, now).await?))
        }
    }
}
