//! The writer thread: commits groups of batches with one sync each, and copies the log into the file when idle.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::ErrorCode;
use tokio::sync::oneshot;

use super::sqlite::Settings;
use super::sqlite_conn::{self, Conn, Sums};
use super::sqlite_pool::{Reading, Slot};
use super::{Batch, Committed, DbError};
use crate::log::caused;

/// After this long without a batch the writer copies the log back into the database file.
const IDLE: Duration = Duration::from_secs(2);

/// After this many failed attempts to copy the log, and after twice, four times … as many, all connections are
/// reopened.
const FAILED_CHECKPOINTS: u32 = 4;

pub(super) struct Write {
    pub(super) batch: Batch,
    pub(super) begin_by: Instant,
    pub(super) answer: oneshot::Sender<Result<Committed, DbError>>,
}

impl Write {
    /// Whether it is too late to start: the caller has got a time-out, or is about to.
    fn is_late(&self) -> bool {
        Instant::now() >= self.begin_by
    }
}

/// Runs the writer thread until the database is dropped and all queued batches are answered.
pub(super) fn write_all(mut slot: Slot, reading: &Reading, writes: &Receiver<Write>, settings: Settings) {
    let mut checkpointed = true;
    let mut failed_checkpoints = 0_u32;
    let mut busy = 0_u32;
    let mut is_suspect = false;
    let mut log = Log::new(&slot.opener.path);
    loop {
        let first = match writes.recv_timeout(IDLE) {
            Ok(write) => write,
            Err(RecvTimeoutError::Timeout) => {
                reading.open_anew_after_failure(&mut slot);
                if !checkpointed {
                    checkpointed = reading.checkpoint(&mut slot);
                    failed_checkpoints = if checkpointed { 0 } else { failed_checkpoints + 1 };
                    // A long read of another process, or our own lock that could not be released.
                    if failed_checkpoints >= FAILED_CHECKPOINTS && failed_checkpoints.is_power_of_two() {
                        reading.open_anew(&mut slot);
                    }
                }
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        checkpointed = false;
        let mut group = vec![first];
        group.extend(writes.try_iter().take(settings.group.saturating_sub(1)));
        reading.open_anew_after_failure(&mut slot);
        let answers = if is_suspect { copy_log(&mut slot, settings) } else { Ok(()) };
        is_suspect &= answers.is_err();
        match answers.and_then(|()| commit_group(&mut slot, &group, settings)) {
            Ok(answers) => {
                busy = 0;
                for (write, answer) in group.into_iter().zip(answers) {
                    // This fails if the caller has stopped waiting.
                    write.answer.send(answer).ok();
                }
                log.bound(&mut slot, reading);
            }
            Err(error) => {
                // Closing the connection rolls back its transaction.
                slot.conn = None;
                match sqlite_conn::code(&error) {
                    None | Some(ErrorCode::DiskFull) => {}
                    // Another process' lock, which is temporary, or our own, which is not. The first time, this does
                    // not wait for reads.
                    Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
                        if busy == 0 && reading.failed_at().is_none() =>
                    {
                        busy += 1;
                        reading.open_anew_unless_read(&mut slot);
                    }
                    Some(_) => {
                        is_suspect = true;
                        reading.open_anew(&mut slot);
                        reading.set_failed_at(Some(Instant::now()));
                    }
                }
                caused!(None, warn, %error, batches = group.len(), "a commit failed");
                let reason = error.to_string();
                for write in group {
                    write.answer.send(Err(DbError::Unavailable(reason.clone().into()))).ok();
                }
            }
        }
    }
}

/// Copies the whole log into the file, and syncs both. Required before the next commit after a failure: a failed sync
/// may have left a gap in the log, and a later commit would follow that gap.
fn copy_log(slot: &mut Slot, settings: Settings) -> Result<(), DbError> {
    let conn = slot.conn()?;
    conn.allow(settings.deadline);
    match conn.control_value("PRAGMA wal_checkpoint(FULL)")? {
        0 => Ok(()),
        _ => Err(DbError::Unavailable("after a failed write the log could not be copied yet".into())),
    }
}

/// The log's file, whose growth is bounded: on a daemon that is never idle, growth is the only sign of our own lock
/// that could not be released.
struct Log {
    path: PathBuf,
    /// Bytes after which the log is restarted, by reopening all connections if necessary.
    most: u64,
    looked_at: Instant,
}

impl Log {
    /// Twice the size to which SQLite truncates it.
    const MOST: u64 = 32 << 20;
    /// Time between two checks: after each, the kernel updates the file's time stamp at the next write, which costs a
    /// sixth of a small commit.
    const PAUSE: Duration = Duration::from_secs(1);

    fn new(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        Self { path: path.into(), most: Self::MOST, looked_at: Instant::now() }
    }

    /// Checks the file's size periodically, without opening it.
    fn bound(&mut self, writer: &mut Slot, reading: &Reading) {
        if self.looked_at.elapsed() < Self::PAUSE {
            return;
        }
        self.looked_at = Instant::now();
        let size = std::fs::metadata(&self.path).map_or(0, |log| log.len());
        if size <= Self::MOST {
            self.most = Self::MOST;
        } else if size > self.most {
            // A long read may be the cause: the next attempt is at twice the size.
            self.most = size * 2;
            if !reading.checkpoint(writer) {
                reading.open_anew(writer);
            }
        }
    }
}

/// Commits the group in one transaction. Failures that the batch did not cause (disk, lock, time) end the whole group,
/// because SQLite may already have rolled it back.
fn commit_group(slot: &mut Slot, group: &[Write], settings: Settings) -> Result<Answers, DbError> {
    let conn = slot.conn()?;
    conn.allow(settings.deadline);
    begin(conn)?;
    let mut sums = Sums::new();
    let answers = if let Some(answers) = apply_all(conn, group, &mut sums)? {
        answers
    } else {
        // A batch failed, which rolled back the whole group: apply again, each batch in a savepoint.
        begin(conn)?;
        sums.clear();
        group.iter().map(|write| apply(conn, write, &mut sums)).collect::<Result<Vec<_>, _>>()?
    };
    conn.add(&sums)?;
    conn.control("COMMIT")?;
    Ok(answers)
}

fn begin(conn: &Conn) -> Result<(), DbError> {
    if !conn.sqlite.is_autocommit() {
        conn.control("ROLLBACK")?;
    }
    // IMMEDIATE takes the write lock now: an upgrade later would fail at once, without waiting for `busy`.
    conn.control("BEGIN IMMEDIATE")
}

/// The outcome of each batch of a group.
type Answers = Vec<Result<Committed, DbError>>;

/// Applies all batches without savepoints; `None` when one failed. Nearly all groups succeed, and a savepoint would
/// copy every page that its batch touches: a third of the writer's work for a new token.
fn apply_all(conn: &Conn, group: &[Write], sums: &mut Sums) -> Result<Option<Answers>, DbError> {
    let mut done = Vec::with_capacity(group.len());
    for write in group {
        if write.is_late() {
            done.push(Err(DbError::Late("a commit")));
            continue;
        }
        match conn.apply(&write.batch, sums) {
            Err(error) if error.is_unavailable() => return Err(error),
            Err(_) => return Ok(None),
            answer => done.push(answer),
        }
    }
    Ok(Some(done))
}

/// Applies one batch in a savepoint; the outer result is the group's, the inner one the batch's.
fn apply(conn: &Conn, write: &Write, sums: &mut Sums) -> Result<Result<Committed, DbError>, DbError> {
    if write.is_late() {
        return Ok(Err(DbError::Late("a commit")));
    }
    conn.control("SAVEPOINT batch")?;
    let before = sums.clone();
    let answer = conn.apply(&write.batch, sums);
    match answer {
        Ok(_) => {}
        Err(error) if error.is_unavailable() => return Err(error),
        Err(_) if conn.sqlite.is_autocommit() => {
            return Err(DbError::Unavailable("SQLite rolled the whole transaction back".into()));
        }
        Err(_) => {
            *sums = before;
            conn.control("ROLLBACK TO batch")?;
        }
    }
    conn.control("RELEASE batch")?;
    Ok(answer)
}
