//! A connection to PostgreSQL: one transaction on it, and the meaning of its errors.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use futures_util::TryStreamExt;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use super::postgres_pooler::Pooler;
use super::postgres_value::{borrowed, failed, is_refusal, is_shared, is_stale, no_connection, row, told, type_of};
use super::{Committed, DbError, LostCommit, Outcome, Query, Row, Statement, Value};

/// How long to wait for the answer to a COMMIT. Only a stalled server takes longer than the deadline.
const COMMIT_LIMIT: Duration = Duration::from_mins(10);

/// The name in reports of the statements around a batch.
const TRANSACTION: &str = "transaction";

/// Begins a batch with its time limits, if the session does not have them. Also reads the transaction's number, to find
/// its outcome after the connection was lost. The first statement of the batch is not sent along, although that would
/// save a round trip: if only BEGIN failed, the statement would commit by itself.
fn begin(limits: &str) -> String {
    format!("BEGIN ISOLATION LEVEL SERIALIZABLE; {limits}SELECT txid_current()")
}

/// Why one try of a batch ended.
pub(super) enum Failure {
    /// A conflict with another transaction: try again.
    Conflict(DbError),
    /// The connection's prepared statements cannot be used: try again on another connection.
    Stale(DbError),
    Final(DbError),
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        Self::Final(error)
    }
}

impl From<Failure> for DbError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Conflict(error) | Failure::Stale(error) | Failure::Final(error) => error,
        }
    }
}

/// What all connections of a [`super::postgres::Postgres`] have in common.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) pooler: Pooler,
    /// How long a statement may run, and a transaction may wait for the next one.
    pub(super) limit: Duration,
}

impl Common {
    /// The statements that limit a session, or with `LOCAL` a transaction.
    pub(super) fn limits(&self, scope: &str) -> String {
        let limit = self.limit.as_millis();
        format!("SET {scope} statement_timeout = {limit}; SET {scope} idle_in_transaction_session_timeout = {limit}; ")
    }
}

/// A pooled connection that is returned only when it is known to be clean. If dropped, it is closed and the server
/// rolls back; a caller's time-out may drop it anywhere.
pub(super) struct Connection {
    object: Option<Object>,
    common: Arc<Common>,
    /// Whether its session may be another one for each transaction.
    is_pooled: bool,
}

impl Connection {
    pub(super) async fn from(pool: &Pool, common: &Arc<Common>) -> Result<Self, DbError> {
        let object = pool.get().await.map_err(|error| no_connection(&error))?;
        // Read after it has connected, which may have met the pooler.
        Ok(Self { object: Some(object), is_pooled: common.pooler.is_met(), common: common.clone() })
    }

    pub(super) fn client(&self) -> &Object {
        self.object.as_ref().expect("it is taken out only by give_back and drop, which end it")
    }

    pub(super) fn give_back(mut self) {
        drop(self.object.take());
    }

    /// Runs a statement that only reads.
    pub(super) async fn read(&self, query: &Query) -> Result<Vec<Row>, Failure> {
        let fail = |error: tokio_postgres::Error| failure(&error, TRANSACTION);
        if !self.is_pooled {
            return Ok(self.run("query", query.sql, &query.params).await?.rows);
        }
        // A transaction for its time limit. All are sent at once, in this order.
        let begin = format!("BEGIN READ ONLY; {}", self.common.limits("LOCAL"));
        let (begun, outcome, ended) = tokio::join!(
            biased;
            self.client().batch_execute(&begin),
            self.run("query", query.sql, &query.params),
            self.client().batch_execute("COMMIT"),
        );
        begun.map_err(fail)?;
        let rows = outcome?.rows;
        ended.map_err(fail)?;
        Ok(rows)
    }

    /// Begins a transaction and runs the batch in it. Returns the transaction's number too.
    pub(super) async fn apply(&self, batch: &[Statement]) -> Result<(i64, Committed), Failure> {
        let limits = if self.is_pooled { self.common.limits("LOCAL") } else { String::new() };
        let begun = self.client().simple_query(&begin(&limits)).await;
        let begun = begun.map_err(|error| failure(&error, TRANSACTION))?;
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
    pub(super) async fn commit(&self, transaction: i64) -> Result<(), Failure> {
        let lost = |reason: String| Failure::Final(DbError::Lost(LostCommit { transaction, reason }));
        match tokio::time::timeout(COMMIT_LIMIT, self.client().batch_execute("COMMIT")).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if is_refusal(&error) => Err(failure(&error, TRANSACTION)),
            Ok(Err(error)) => Err(lost(told(&error))),
            Err(_) => Err(lost("no answer".to_owned())),
        }
    }

    pub(super) async fn run(&self, name: &'static str, sql: &str, params: &[Value]) -> Result<Outcome, Failure> {
        if self.is_pooled {
            return self.run_unnamed(name, sql, params).await;
        }
        let fail = |error: tokio_postgres::Error| {
            if is_shared(&error) {
                self.common.pooler.set_met();
            }
            failure(&error, name)
        };
        let prepared = self.client().prepare_cached(sql).await.map_err(fail)?;
        check_count(sql, prepared.params().len(), params)?;
        if prepared.columns().is_empty() {
            let affected = self.client().execute(&prepared, &borrowed(params)).await.map_err(fail)?;
            return Ok(Outcome { name, affected, rows: Vec::new() });
        }
        let found = self.client().query(&prepared, &borrowed(params)).await.map_err(fail)?;
        let rows = found.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        Ok(Outcome { name, affected: rows.len() as u64, rows })
    }

    /// Runs a statement that gets no name, in one round trip.
    async fn run_unnamed(&self, name: &'static str, sql: &str, params: &[Value]) -> Result<Outcome, Failure> {
        let fail = |error: tokio_postgres::Error| failure(&error, name);
        check_count(sql, count_params(sql), params)?;
        let typed = params.iter().map(|value| (value, type_of(value)));
        let mut found = pin!(self.client().query_typed_raw(sql, typed).await.map_err(fail)?);
        let mut rows = Vec::new();
        while let Some(next) = found.try_next().await.map_err(fail)? {
            rows.push(row(&next)?);
        }
        Ok(Outcome { name, affected: found.rows_affected().unwrap_or_default(), rows })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}

fn check_count(sql: &str, wanted: usize, params: &[Value]) -> Result<(), DbError> {
    if wanted == params.len() {
        return Ok(());
    }
    Err(DbError::Defect(format!("{} parameters for one with {wanted}: {sql}", params.len()).into()))
}

/// The highest number of a parameter.
fn count_params(sql: &str) -> usize {
    let number = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
    sql.split('$').skip(1).filter_map(number).max().unwrap_or_default()
}

/// Classifies an error of the statement of this name.
pub(super) fn failure(error: &tokio_postgres::Error, name: &'static str) -> Failure {
    let meaning = failed(error, name);
    if matches!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED)) {
        Failure::Conflict(meaning)
    } else if is_stale(error) || is_shared(error) {
        Failure::Stale(meaning)
    } else {
        Failure::Final(meaning)
    }
}
