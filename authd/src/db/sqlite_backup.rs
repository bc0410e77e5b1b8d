//! A copy of the SQLite database that is made while it is used, and its return.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::ValueRef;
use rustix::fs::statvfs;

use super::migrate::{self, Engine};
use super::sqlite_check::{beside, without_log};
use super::sqlite_conn::{Conn, Opener, failed};
use super::{DbError, Identity, Row, Value};

/// Space on the disk that a copy leaves free, so that commits go on.
const SPARE: u64 = 64 << 20;

/// The name in reports.
const BACKUP: &str = "backup";

/// Writes the database as of now to a new file. One read transaction sees it, while commits go on; SQLite's online backup,
/// which would begin again after each of them, would not end on a busy daemon.
pub(super) fn write(opener: &Opener, to: &Path) -> Result<(), DbError> {
    let io = |error: io::Error| DbError::Unavailable(format!("{}: {error}", to.display()).into());
    let needed = [&opener.path, &beside(&opener.path, "-wal")];
    let needed: u64 = needed.into_iter().map(|path| fs::metadata(path).map_or(0, |file| file.len())).sum();
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let disk = statvfs(folder).map_err(|error| io(error.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < needed + SPARE {
        let message = format!("a copy needs {needed} bytes, and {} has {free} left", folder.display());
        return Err(DbError::Unavailable(message.into()));
    }
    // Private from the first moment; SQLite takes an empty file for a new one.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(io)?;
    let conn = Conn::open(opener)?;
    conn.allow(Duration::MAX);
    let path = to.to_string_lossy();
    let copied = conn.sqlite.execute("VACUUM INTO ?1", [path.as_ref()]);
    copied.map(drop).map_err(|error| failed(error, BACKUP))
}

/// Puts a backup in the place of the database, which nobody uses meanwhile. Nothing is changed if it is refused.
pub fn restore(mut backup: impl Read, database: &Path, identity: &Identity) -> Result<(), DbError> {
    let copy = beside(database, "-restored");
    let io = |error: io::Error| DbError::Unavailable(format!("{}: {error}", copy.display()).into());
    // What an attempt that was interrupted has left.
    fs::remove_file(&copy).ok();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&copy).map_err(io)?;
    let restored = io::copy(&mut backup, &mut file)
        .and_then(|_| file.sync_all())
        .map_err(io)
        .and_then(|()| check(&copy, identity))
        .and_then(|()| put(&copy, database).map_err(io));
    if restored.is_err() {
        fs::remove_file(&copy).ok();
    }
    restored
}

/// Refuses what is not a whole database of authd, of this release or an earlier one, that this root key opens.
fn check(path: &Path, identity: &Identity) -> Result<(), DbError> {
    let refuse = |what: String| DbError::Setting(format!("this is not a backup that can be restored: {what}"));
    let sqlite = without_log(path).map_err(|error| failed(error, BACKUP))?;
    let rows = |sql: &str| -> rusqlite::Result<Vec<Row>> {
        let mut statement = sqlite.prepare(sql)?;
        let columns = statement.column_count();
        let read = |row: &rusqlite::Row<'_>| {
            let values = (0..columns).map(|column| row.get_ref(column).map(value));
            values.collect::<rusqlite::Result<_>>().map(Row)
        };
        statement.query_map([], read)?.collect()
    };
    let found = rows("PRAGMA integrity_check(1)").map_err(|error| refuse(error.to_string()))?;
    match found.first().map(|row| row.cursor().string()).transpose()? {
        Some(ok) if ok == "ok" => {}
        fault => return Err(refuse(fault.unwrap_or_default())),
    }
    let applied = rows(migrate::APPLIED).map_err(|_| refuse("it is not a database of authd".to_owned()))?;
    migrate::pending(migrate::ALL, &applied, Engine::Sqlite).map_err(|error| refuse(error.to_string()))?;
    let Some(sql) = identity.query(&applied) else { return Err(refuse("it is empty".to_owned())) };
    identity.check(Some(&rows(sql).map_err(|error| failed(error, BACKUP))?))
}

fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        ValueRef::Null | ValueRef::Real(_) => Value::Null,
    }
}

fn put(copy: &Path, database: &Path) -> io::Result<()> {
    // The log first: beside another file it would be refused at the start.
    for log in ["-wal", "-shm"].map(|suffix| beside(database, suffix)) {
        match fs::remove_file(log) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(copy, database)?;
    let folder: PathBuf = database.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    File::open(folder).and_then(|folder| folder.sync_all())
}
