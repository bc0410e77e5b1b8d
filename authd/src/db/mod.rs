//! The truth, and small: [`Db::query`] reads rows, [`Db::commit`] applies a [`Batch`] atomically or not at all.
//!
//! A batch is data: a list of statements, each with the outcome it expects. That is what lets one text of SQL serve
//! SQLite and every PostgreSQL-wire engine, lets SQLite commit many callers' batches in one fsync, and lets PostgreSQL
//! repeat a batch by itself after a serialization conflict. Interactive transactions were refused for that reason.
//!
//! SQL uses `$1` parameters, `BIGINT`/`TEXT`/bytes only; times are [`Millis`](crate::world::Millis), ids UUIDv7 text,
//! hashes bytes. SQL stands in the rooms' stores, and beside the
//! code of the few that have a statement or two.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::config::DatabaseUrl;
use crate::world::Millis;

pub mod migrate;
#[cfg(test)]
mod migrate_tests;
pub mod postgres;
#[cfg(test)]
mod postgres_tests;
mod postgres_tls;
mod postgres_value;
pub mod sqlite;
mod sqlite_conn;
#[cfg(test)]
mod sqlite_tests;
pub mod sweep;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One SQL value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(value: [u8; N]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A statement that reads.
#[derive(Clone, Debug)]
pub struct Query {
    pub sql: &'static str,
    pub params: Vec<Value>,
    /// At most one row, found by a unique key: so cheap that SQLite answers it on the calling thread.
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

/// What must be true of a statement's outcome for its batch to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Whatever happens, short of an error.
    Any,
    /// Exactly this many rows affected.
    Rows(u64),
    /// A `SELECT` that must find at least one row.
    Exists,
    /// A `SELECT` that must find none.
    Absent,
    /// Nothing: its only parameter is a number that it adds somewhere, and an engine that commits several batches
    /// together may run it once, with the sum, after all of them. It counts no rows.
    Added,
}

/// A statement of a batch, with what it expects.
#[derive(Clone, Debug)]
pub struct Statement {
    pub sql: &'static str,
    pub params: Vec<Value>,
    pub expect: Expect,
}

impl Statement {
    /// A change that must affect exactly one row.
    pub fn one(sql: &'static str, params: impl Into<Vec<Value>>) -> Self {
        Self { sql, params: params.into(), expect: Expect::Rows(1) }
    }

    /// A change that may affect any number of rows.
    pub fn any(sql: &'static str, params: impl Into<Vec<Value>>) -> Self {
        Self { sql, params: params.into(), expect: Expect::Any }
    }

    /// An `UPDATE` that adds `$1` to something that many batches count: see [`Expect::Added`].
    pub fn add(sql: &'static str, number: i64) -> Self {
        Self { sql, params: vec![number.into()], expect: Expect::Added }
    }

    /// A `SELECT` that must find a row.
    pub fn exists(sql: &'static str, params: impl Into<Vec<Value>>) -> Self {
        Self { sql, params: params.into(), expect: Expect::Exists }
    }

    /// A `SELECT` that must find none.
    pub fn absent(sql: &'static str, params: impl Into<Vec<Value>>) -> Self {
        Self { sql, params: params.into(), expect: Expect::Absent }
    }
}

/// Statements applied together or not at all, in order.
pub type Batch = Vec<Statement>;

/// Rows affected by each statement of a committed batch (rows found, for a `SELECT`).
pub type Committed = Vec<u64>;

/// What a statement of a committed batch did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Rows affected (rows found, for a `SELECT`).
    pub affected: u64,
    /// The rows of a `SELECT` or of a `RETURNING` clause.
    pub rows: Vec<Row>,
}

/// A row of a result, read by position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(pub Vec<Value>);

impl Row {
    pub fn int(&self, column: usize) -> Result<i64, DbError> {
        self.opt_int(column)?.ok_or_else(|| DbError::shape(column, "an integer"))
    }

    pub fn opt_int(&self, column: usize) -> Result<Option<i64>, DbError> {
        match self.0.get(column) {
            Some(Value::Int(value)) => Ok(Some(*value)),
            Some(Value::Null) => Ok(None),
            _ => Err(DbError::shape(column, "an integer")),
        }
    }

    pub fn text(&self, column: usize) -> Result<&str, DbError> {
        self.opt_text(column)?.ok_or_else(|| DbError::shape(column, "text"))
    }

    pub fn opt_text(&self, column: usize) -> Result<Option<&str>, DbError> {
        match self.0.get(column) {
            Some(Value::Text(value)) => Ok(Some(value)),
            Some(Value::Null) => Ok(None),
            _ => Err(DbError::shape(column, "text")),
        }
    }

    pub fn bytes(&self, column: usize) -> Result<&[u8], DbError> {
        self.opt_bytes(column)?.ok_or_else(|| DbError::shape(column, "bytes"))
    }

    pub fn opt_bytes(&self, column: usize) -> Result<Option<&[u8]>, DbError> {
        match self.0.get(column) {
            Some(Value::Bytes(value)) => Ok(Some(value)),
            Some(Value::Null) => Ok(None),
            _ => Err(DbError::shape(column, "bytes")),
        }
    }
}

/// Why the database did not do what was asked. After any of these, nothing of the batch was applied, except that
/// after [`DbError::Unavailable`] from `commit` on a lost connection it may have been: callers forget what they cached.
#[derive(Debug)]
pub enum DbError {
    /// The statement at this index of the batch did not find what it expects.
    Unmet(usize),
    /// The statement at this index broke a unique constraint.
    Duplicate(usize),
    /// Busy, full, down or too slow: the caller may try again later (503).
    Unavailable(Box<dyn std::error::Error + Send + Sync>),
    /// A defect of ours: SQL that does not fit the schema, a row of another shape (500).
    Defect(Box<dyn std::error::Error + Send + Sync>),
}

impl DbError {
    /// Whether these many affected rows are what was expected of the statement at `index`.
    fn check(index: usize, expect: Expect, affected: u64) -> Result<(), Self> {
        let met = match expect {
            Expect::Any | Expect::Added => true,
            Expect::Rows(wanted) => affected == wanted,
            Expect::Exists => affected > 0,
            Expect::Absent => affected == 0,
        };
        if met { Ok(()) } else { Err(Self::Unmet(index)) }
    }

    /// A call that did not end within its deadline.
    fn late(what: &str) -> Self {
        Self::Unavailable(format!("{what} took too long").into())
    }

    fn shape(column: usize, wanted: &str) -> Self {
        Self::Defect(format!("column {column} of a row is not {wanted}").into())
    }
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unmet(index) => write!(f, "statement {index} of a batch found something else than expected"),
            Self::Duplicate(index) => write!(f, "statement {index} of a batch broke a unique constraint"),
            Self::Unavailable(source) => write!(f, "the database is not available: {source}"),
            Self::Defect(source) => write!(f, "the database refused our statement: {source}"),
        }
    }
}

impl std::error::Error for DbError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unavailable(source) | Self::Defect(source) => Some(source.as_ref()),
            Self::Unmet(_) | Self::Duplicate(_) => None,
        }
    }
}

/// A database that keeps what was committed.
pub trait Db: Send + Sync {
    /// Rows of one reading statement, from a state that includes every commit answered before.
    fn query(&self, query: Query) -> BoxFuture<'_, Result<Vec<Row>, DbError>>;

    /// Applies the batch durably (on disk when this returns), or nothing of it, and answers what its statements
    /// returned: `UPDATE … RETURNING` tells the value that this very batch has written.
    fn commit_rows(&self, batch: Batch) -> BoxFuture<'_, Result<Vec<Outcome>, DbError>>;

    /// [`Db::commit_rows`] that does not wait for the disk. Whoever reads from now on finds it, and the end of this
    /// process takes nothing back; a power cut may, but never once a later commit that wrote something was answered.
    /// It is for what a later commit of the same request makes durable before the answer, and for what is only a hint.
    fn commit_soon(&self, batch: Batch) -> BoxFuture<'_, Result<Vec<Outcome>, DbError>>;

    /// [`Db::commit_rows`] for those who need only how many rows were affected.
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, DbError>> {
        let outcomes = self.commit_rows(batch);
        Box::pin(async move { Ok(outcomes.await?.into_iter().map(|outcome| outcome.affected).collect()) })
    }

    /// Leaves the stored files as a backup wants them. To be called at the end; the database can still be used.
    fn close(&self) -> BoxFuture<'_, Result<(), DbError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// The engine's name, for logs and health: `sqlite` or `postgres`.
    fn engine(&self) -> &'static str;
}

/// Opens what `DATABASE_URL` names and brings its schema up to date. For `postgres://` URLs see [`postgres::Postgres`].
pub async fn open(url: &DatabaseUrl, max_connections: Option<usize>, now: Millis) -> Result<Arc<dyn Db>, DbError> {
    match url {
        DatabaseUrl::Sqlite(path) => Ok(Arc::new(sqlite::Sqlite::open(path, sqlite::Settings::default(), now)?)),
        DatabaseUrl::Postgres(url) => {
            let mut settings = postgres::Settings::default();
            settings.connections = max_connections.unwrap_or(settings.connections);
            Ok(Arc::new(postgres::Postgres::open(url.expose(), settings, now).await?))
        }
    }
}
