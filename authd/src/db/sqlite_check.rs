//! Identity and integrity of the file: whether the log beside it is its own, and whether its pages are whole.
//!
//! SQLite applies a log to whatever file stands beside it, and so mixes an older copy of the file with the changes of a
//! newer one. Each log therefore begins with a commit that raises a number in the file's header (`user_version`), and
//! begins only after all of the log before it was copied into the file. The file that a log belongs to thus has the
//! log's number, or the one before it; any other is refused.
//!
//! Page checks find what breaks the structure of the file and the agreement of its indexes. A value that was altered and
//! is in no index cannot be found: SQLite keeps no checksums.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::DbError;
use super::sqlite_conn::{Conn, failed, is_damage};
use super::sqlite_pool::Reading;
use crate::background::lower_priority;
use crate::env::Millis;

/// The largest file, in bytes, whose pages the start checks: that takes less than a tenth of a second. Others are checked
/// behind it.
const START_BYTES: u64 = 32 << 20;
/// How long the start may check them, on a slow disk.
const START_LIMIT: Duration = Duration::from_secs(2);

/// How long after the start, and how often, every page is checked.
const FIRST_CHECK: Duration = Duration::from_secs(1);
const CHECK_PAUSE: Duration = Duration::from_hours(24);
const RETRY_PAUSE: Duration = Duration::from_mins(5);
/// The checks' thread has a lower priority than usual (0).
const NICENESS: i32 = 10;

/// The first number of a database has these bits zero, which tells it from those of its later logs.
const FIRST_MASK: i64 = 0xfff;

/// The path of one of SQLite's files beside the database, or of ours.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The number in the file alone, without its log; `None` if the file is missing or empty. Refuses a log whose file is gone, which SQLite would delete.
pub(super) fn number_in_file(path: &Path) -> Result<Option<i64>, DbError> {
    let fail = |error: std::io::Error| DbError::Unavailable(format!("{}: {error}", path.display()).into());
    let length = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => return Err(fail(error)),
    };
    if length > 0 {
        return read_number(path).map(Some).map_err(|error| explain(error, path));
    }
    let log = beside(path, "-wal");
    if std::fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        let message = format!(
            "{} is missing or empty, but its log {} is there: put back the file of the same moment. To restore a backup, \
             or to begin a new database, remove the log",
            path.display(),
            log.display()
        );
        return Err(DbError::Unavailable(message.into()));
    }
    Ok(None)
}

/// Whether a file has tables, but none of authd's. One that cannot be read is told when it is opened.
pub(super) fn is_of_another(path: &Path) -> bool {
    const TABLES: &str = "SELECT COUNT(*), COUNT(CASE name WHEN 'migrations' THEN 1 END) FROM sqlite_schema \
         WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    let counts = without_log(path)
        .and_then(|file| file.query_row(TABLES, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))));
    counts.is_ok_and(|(all, own)| all > 0 && own == 0)
}

fn read_number(path: &Path) -> Result<i64, DbError> {
    let number = without_log(path).and_then(|file| file.query_row("PRAGMA user_version", [], |row| row.get(0)));
    number.map_err(|error| failed(error, "number"))
}

/// Opens the file as it is, without its log (`immutable`). SQLite keeps the process' locks on the file when it closes this
/// connection.
pub(super) fn without_log(path: &Path) -> rusqlite::Result<Connection> {
    let name = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(format!("file:{name}?immutable=1"), flags)
}

/// Refuses a log that belongs to another state of the file.
pub(super) fn check_log(conn: &Conn, path: &Path, in_file: Option<i64>) -> Result<(), DbError> {
    let with_log = conn.number()?;
    let Some(in_file) = in_file else { return Ok(()) };
    let is_first = in_file == 0 && with_log & FIRST_MASK == 0;
    if with_log == in_file || with_log == in_file + 1 || is_first {
        return Ok(());
    }
    let message = format!(
        "{} is not the file that its log belongs to (it may be a backup that was put beside the log of a later state): \
         to use the file as it is, remove {} and {}; to keep the later state, put its file back",
        path.display(),
        beside(path, "-wal").display(),
        beside(path, "-shm").display()
    );
    Err(DbError::Unavailable(message.into()))
}

/// The first number of a database; different for databases that begin at different times.
pub(super) fn first_number(now: Millis) -> i64 {
    ((now & 0x3_ffff) + 1) << 12
}

/// Refuses a file with damaged pages, as far as the start looks.
pub(super) fn check_pages(conn: &Conn, path: &Path) -> Result<(), DbError> {
    let is_large = || tracing::info!("the database is large: its pages are checked while authd runs");
    if std::fs::metadata(path).is_ok_and(|file| file.len() > START_BYTES) {
        is_large();
        return Ok(());
    }
    conn.allow(START_LIMIT);
    let found = conn.texts("PRAGMA quick_check(1)");
    conn.allow(Duration::MAX);
    match found {
        Ok(lines) if lines.iter().all(|line| line == "ok") => Ok(()),
        Ok(lines) => Err(damaged(path, &lines.join("; "))),
        Err(DbError::Late(_)) => {
            is_large();
            Ok(())
        }
        Err(error) => Err(explain(error, path)),
    }
}

/// Adds what to do to an error that means damage.
pub(super) fn explain(error: DbError, path: &Path) -> DbError {
    if is_damage(&error) { damaged(path, &error.to_string()) } else { error }
}

fn damaged(path: &Path, what: &str) -> DbError {
    let (path, what) = (path.display(), what.replace('\n', " "));
    let message = format!(
        "{path} is damaged ({what}): restore the backup, or save what can still be read with \
         `sqlite3 {path} .recover | sqlite3 recovered.db`"
    );
    DbError::Unavailable(message.into())
}

/// Checks every table with its indexes, after the start and then once a day, until the database is dropped. One table
/// at a time, so that no check keeps the log from starting anew for long.
pub(super) fn check_behind(reading: &Reading, stop: &Receiver<()>) {
    lower_priority(NICENESS);
    let mut pause = FIRST_CHECK;
    let mut checked = HashSet::new();
    while stop.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        pause = match check_tables(reading, stop, &mut checked) {
            Ok(()) => {
                checked.clear();
                CHECK_PAUSE
            }
            Err(error) => {
                tracing::debug!(%error, "the database could not be checked; it is tried again");
                RETRY_PAUSE
            }
        };
    }
}

/// Checks the tables that are not among those that were checked, and adds them.
pub(super) fn check_tables(
    reading: &Reading,
    stop: &Receiver<()>,
    checked: &mut HashSet<String>,
) -> Result<(), DbError> {
    let vitals = &reading.vitals;
    let tables = match reading.check("SELECT name FROM sqlite_schema WHERE type = 'table'") {
        Err(error) if is_damage(&error) => {
            vitals.set_damaged(&error.to_string());
            return Ok(());
        }
        tables => tables?,
    };
    for table in tables {
        if checked.contains(&table) {
            continue;
        }
        if stop.recv_timeout(Duration::ZERO) != Err(RecvTimeoutError::Timeout) {
            return Ok(());
        }
        match reading.check(&format!("PRAGMA integrity_check('{table}')")) {
            Ok(lines) if lines.iter().all(|line| line == "ok") => {}
            Ok(lines) => vitals.set_damaged(&lines.join("; ")),
            Err(error) if is_damage(&error) => vitals.set_damaged(&error.to_string()),
            Err(error) => return Err(error),
        }
        checked.insert(table);
    }
    Ok(())
}
