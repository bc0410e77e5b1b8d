//! One connection to SQLite: opening it, running statements on it, and the meaning of its errors.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{DirBuilder, OpenOptions, Permissions, set_permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql, Transaction, TransactionBehavior, ffi};

use super::migrate::{self, Engine, Migration};
use super::{Checkpoints, Committed, DbError, Expect, Identity, Outcome, Query, Row, Statement, Value};
use crate::env::Millis;

/// A connection whose statements end at a deadline.
pub(super) struct Conn {
    pub(super) sqlite: Connection,
    opened: Instant,
    /// Milliseconds after `opened` at which a running statement is interrupted.
    deadline: Arc<AtomicU64>,
    /// Pages in the log after the last commit of this connection.
    log_pages: Arc<AtomicU32>,
    /// Translated statements by their text: `$1` becomes `?1`, which SQLite treats as a number.
    translated: RefCell<HashMap<&'static str, Box<str>>>,
}

/// Adding statements, each with the sum over all batches.
pub(super) type Sums = Vec<(&'static str, i64)>;

/// The name in reports of statements outside of a batch.
const CONNECTION: &str = "connection";
const MIGRATION: &str = "migration";

/// Steps of SQLite's virtual machine between two checks of the clock: well under a millisecond.
const STEPS: i32 = 5_000;

/// Bytes to which SQLite truncates the log.
const LOG_SIZE: i64 = 16 << 20;

/// How a connection of one kind is opened.
#[derive(Clone, Debug)]
pub(super) struct Opener {
    pub(super) path: PathBuf,
    /// Bounds the page cache.
    pub(super) cache_kib: u32,
    pub(super) busy: Duration,
    /// On other connections every write is an error.
    pub(super) is_writer: bool,
    pub(super) max_pages: Option<u32>,
    pub(super) checkpoints: Checkpoints,
}

impl Conn {
    /// Opens a file that [`make_file`] has made.
    pub(super) fn open(opener: &Opener) -> Result<Self, DbError> {
        let (conn, mode) = Self::prepare(opener).map_err(|error| failed(error, CONNECTION))?;
        if mode == "wal" {
            return Ok(conn);
        }
        let path = opener.path.display();
        let message = format!(
            "{path} cannot use write-ahead logging (it uses {mode}): the data dir must be on a local file system"
        );
        Err(DbError::Unavailable(message.into()))
    }

    /// The connection, and the mode of its journal.
    fn prepare(opener: &Opener) -> rusqlite::Result<(Self, String)> {
        // Without CREATE: a file that was moved away must not be recreated empty.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let mut sqlite = Connection::open_with_flags(&opener.path, flags)?;
        sqlite.busy_timeout(opener.busy)?;
        // FULL: with NORMAL a power failure may undo commits that were answered. No mmap: mapped pages count as RSS.
        // No checkpoint by SQLite itself: the writer has to know when a new log begins.
        sqlite.execute_batch(&format!(
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = ON;
             PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0;
             PRAGMA cache_size = -{}; PRAGMA journal_size_limit = {};
             PRAGMA wal_autocheckpoint = 0;",
            opener.cache_kib,
            if opener.checkpoints == Checkpoints::Own { LOG_SIZE } else { -1 },
        ))?;
        if opener.checkpoints == Checkpoints::External {
            sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        }
        let log_pages = Arc::new(AtomicU32::new(0));
        if opener.is_writer {
            let pages = log_pages.clone();
            sqlite.wal_hook(Some(move |_: &mut Wal, count| {
                pages.store(u32::try_from(count).unwrap_or_default(), Ordering::Relaxed);
                Ok(())
            }))?;
        }
        // A statement is planned once, independently of its values.
        sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        sqlite.set_prepared_statement_cache_capacity(128);
        let opened = Instant::now();
        let deadline = Arc::new(AtomicU64::new(u64::MAX));
        let ends = deadline.clone();
        sqlite.progress_handler(STEPS, Some(move || elapsed(opened) > ends.load(Ordering::Relaxed)))?;
        let mode = sqlite.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if let Some(pages) = opener.max_pages {
            sqlite.execute_batch(&format!("PRAGMA max_page_count = {pages}"))?;
        }
        if !opener.is_writer {
            sqlite.execute_batch("PRAGMA query_only = ON")?;
        }
        Ok((Self { sqlite, opened, deadline, log_pages, translated: RefCell::default() }, mode))
    }

    /// Sets how long all following statements together may run.
    pub(super) fn allow(&self, time: Duration) {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.deadline.store(elapsed(self.opened).saturating_add(time), Ordering::Relaxed);
    }

    /// A statement without parameters or result: `BEGIN IMMEDIATE`, `COMMIT`, …
    pub(super) fn control(&self, sql: &str) -> Result<(), DbError> {
        let done = self.sqlite.prepare_cached(sql).and_then(|mut statement| statement.raw_execute());
        done.map(drop).map_err(|error| failed(error, CONNECTION))
    }

    /// A `PRAGMA` that returns a number.
    pub(super) fn control_value(&self, sql: &str) -> Result<i64, DbError> {
        self.sqlite.query_row(sql, [], |row| row.get(0)).map_err(|error| failed(error, CONNECTION))
    }

    /// The texts of the first column.
    pub(super) fn texts(&self, sql: &str) -> Result<Vec<String>, DbError> {
        let fail = |error: rusqlite::Error| failed(error, CONNECTION);
        let mut statement = self.sqlite.prepare(sql).map_err(fail)?;
        let rows = statement.query_map([], |row| row.get(0)).map_err(fail)?;
        rows.collect::<Result<_, _>>().map_err(fail)
    }

    /// Copies the log into the file in this mode. Returns whether all of it was copied, so that the next commit can
    /// begin a new log.
    pub(super) fn checkpoint(&self, mode: &str) -> Result<bool, DbError> {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let (busy, all, copied): (i64, i64, i64) = self
            .sqlite
            .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], read)
            .map_err(|error| failed(error, CONNECTION))?;
        Ok(busy == 0 && all == copied)
    }

    /// Pages in the log after the last commit of this connection.
    pub(super) fn log_pages(&self) -> u32 {
        self.log_pages.load(Ordering::Relaxed)
    }

    /// The number of the log: see [`super::sqlite_check`].
    pub(super) fn number(&self) -> Result<i64, DbError> {
        self.control_value("PRAGMA user_version")
    }

    /// Sets the number of the log, within the transaction that begins it.
    pub(super) fn set_number(&self, number: i64) -> Result<(), DbError> {
        let set = format!("PRAGMA user_version = {}", number.min(i32::MAX.into()));
        self.sqlite.execute_batch(&set).map_err(|error| failed(error, CONNECTION))
    }

    /// Whether closing the last connection leaves the log as it is.
    pub(super) fn keep_log(&self, is_kept: bool) -> Result<(), DbError> {
        let set = self.sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, is_kept);
        set.map(drop).map_err(|error| failed(error, CONNECTION))
    }

    /// Runs a query for at most this long.
    pub(super) fn query(&self, query: &Query, time: Duration) -> Result<Vec<Row>, DbError> {
        self.allow(time);
        Ok(self.run("query", query.sql, &query.params)?.rows)
    }

    /// Runs the statements in order inside the caller's transaction, and checks their expectations. Additions are
    /// collected in `sums`, for [`Conn::add`].
    pub(super) fn apply(&self, batch: &[Statement], sums: &mut Sums) -> Result<Committed, DbError> {
        let mut outcomes = Vec::with_capacity(batch.len());
        for statement in batch {
            if let (Expect::Added, [Value::Int(number)]) = (statement.expect, statement.params.as_slice()) {
                match sums.iter_mut().find(|(sql, _)| *sql == statement.sql) {
                    Some((_, sum)) => *sum += number,
                    None => sums.push((statement.sql, *number)),
                }
                outcomes.push(Outcome { name: statement.name, affected: 0, rows: Vec::new() });
                continue;
            }
            let outcome = self.run(statement.name, statement.sql, &statement.params)?;
            statement.check(outcome.affected)?;
            outcomes.push(outcome);
        }
        Ok(Committed(outcomes))
    }

    /// Runs each adding statement once.
    pub(super) fn add(&self, sums: &Sums) -> Result<(), DbError> {
        sums.iter().try_for_each(|(sql, sum)| self.run("add", sql, &[Value::Int(*sum)]).map(drop))
    }

    fn run(&self, name: &'static str, sql: &'static str, params: &[Value]) -> Result<Outcome, DbError> {
        let fail = |error: rusqlite::Error| failed(error, name);
        let mut translated = self.translated.borrow_mut();
        let text = translated.entry(sql).or_insert_with(|| sql.replace('$', "?").into());
        let mut statement = self.sqlite.prepare_cached(text).map_err(fail)?;
        let count = statement.parameter_count();
        if count != params.len() {
            let message = format!("{} parameters for a statement with {count}: {sql}", params.len());
            return Err(DbError::Defect(message.into()));
        }
        for (place, value) in params.iter().enumerate() {
            statement.raw_bind_parameter(place + 1, value).map_err(fail)?;
        }
        let columns = statement.column_count();
        if columns == 0 {
            let affected = statement.raw_execute().map_err(fail)?;
            return Ok(Outcome { name, affected: affected as u64, rows: Vec::new() });
        }
        let mut rows = Vec::new();
        let mut found = statement.raw_query();
        while let Some(row) = found.next().map_err(fail)? {
            let values = (0..columns).map(|column| value(row.get_ref(column).map_err(fail)?));
            rows.push(Row(values.collect::<Result<_, _>>()?));
        }
        Ok(Outcome { name, affected: rows.len() as u64, rows })
    }

    /// Migrates the schema in one exclusive transaction; a second process waits for it, then has nothing to do.
    pub(super) fn migrate(&self, known: &[Migration], identity: &Identity, now: Millis) -> Result<(), DbError> {
        let fail = |error: rusqlite::Error| failed(error, MIGRATION);
        // It is rolled back if dropped before its commit.
        let transaction = Transaction::new_unchecked(&self.sqlite, TransactionBehavior::Exclusive).map_err(fail)?;
        self.sqlite.execute_batch(migrate::REMEMBER).map_err(fail)?;
        let applied = self.run(MIGRATION, migrate::APPLIED, &[])?.rows;
        let rows = identity.query(&applied).map(|sql| self.run(MIGRATION, sql, &[])).transpose()?;
        identity.check(rows.as_ref().map(|found| found.rows.as_slice()))?;
        for migration in migrate::pending(known, &applied, Engine::Sqlite)? {
            self.sqlite.execute_batch(&migration.sql(Engine::Sqlite)).map_err(fail)?;
            self.run(MIGRATION, migrate::RECORD, &migration.record(Engine::Sqlite, now))?;
        }
        transaction.commit().map_err(fail)
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(value) => ValueRef::Integer(*value),
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
            Self::Bytes(value) => ValueRef::Blob(value),
        }))
    }
}

fn value(value: ValueRef<'_>) -> Result<Value, DbError> {
    match value {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(value) => Ok(Value::Int(value)),
        ValueRef::Text(value) => Ok(Value::Text(String::from_utf8_lossy(value).into_owned())),
        ValueRef::Blob(value) => Ok(Value::Bytes(value.to_vec())),
        ValueRef::Real(_) => {
            Err(DbError::Defect("a floating-point column: only BIGINT, TEXT and bytes are allowed".into()))
        }
    }
}

/// Converts SQLite's error for the caller of the statement of this name.
pub(super) fn failed(error: rusqlite::Error, name: &'static str) -> DbError {
    if let Some(ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID) =
        error.sqlite_extended_error_code()
    {
        return DbError::Duplicate(name);
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => DbError::Late("a statement"),
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::OutOfMemory
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::FileLockingProtocolFailed,
        ) => DbError::Unavailable(Failure(error).into()),
        _ => DbError::Defect(error.to_string().into()),
    }
}

/// A failure that the statement did not cause.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failure(rusqlite::Error);

/// SQLite's code of a failure that the statement did not cause.
pub(super) fn code(error: &DbError) -> Option<ErrorCode> {
    let DbError::Unavailable(source) = error else { return None };
    source.downcast_ref::<Failure>()?.0.sqlite_error_code()
}

/// Whether the database itself is damaged.
pub(super) fn is_damage(error: &DbError) -> bool {
    matches!(code(error), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Whether there may be no space for a write: the disk is full, or a quota is used up.
pub(super) fn is_full(error: &DbError) -> bool {
    let DbError::Unavailable(source) = error else { return false };
    let Some(Failure(error)) = source.downcast_ref::<Failure>() else { return false };
    matches!(
        error.sqlite_extended_error_code(),
        Some(ffi::SQLITE_FULL | ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE)
    )
}

fn elapsed(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Creates the database file if it is missing, 0600 in a folder made 0700, and tightens the mode of an existing one. To
/// be called before the first connection: closing any descriptor of a file drops every POSIX lock that the process
/// holds on it, SQLite's too, so nothing but SQLite may open the file once a connection exists. An existing file is
/// therefore not opened at all. SQLite gives its `-wal` and `-shm` files the mode of the main file.
pub(super) fn make_file(path: &Path) -> Result<(), DbError> {
    let make = || -> std::io::Result<()> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        match OpenOptions::new().create_new(true).write(true).mode(0o600).open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                set_permissions(path, Permissions::from_mode(0o600))
            }
            made => made.map(drop),
        }
    };
    make().map_err(|error| DbError::Unavailable(format!("{}: {error}", path.display()).into()))
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    /// SQLite plans a statement again when a value that its plan depends on changes: for a look-up of a token that was
    /// a third of all the work.
    #[test]
    fn a_plan_does_not_depend_on_values() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("authd.db");
        make_file(&path).unwrap();
        let opener = Opener {
            path,
            cache_kib: 1024,
            busy: Duration::ZERO,
            is_writer: true,
            max_pages: None,
            checkpoints: Checkpoints::Own,
        };
        let conn = Conn::open(&opener).unwrap();
        conn.migrate(migrate::ALL, &Identity::any(), 0).unwrap();
        for sql in [
            "SELECT name FROM secrets WHERE slot = $1",
            "UPDATE tokens SET revoked_at = 1, live_name = NULL WHERE id = $1 AND revoked_at IS NULL",
            "UPDATE secrets SET revoked = 1 WHERE slot = 7 OR (token_id = $1 AND replaced_until IS NOT NULL)",
        ] {
            for value in ["a", "b", "c", "d"] {
                conn.run("test", sql, &[value.into()]).unwrap();
            }
            let statement = conn.sqlite.prepare_cached(&sql.replace('$', "?")).unwrap();
            assert_eq!(statement.get_status(StatementStatus::RePrepare), 0, "{sql}");
        }
    }
}
