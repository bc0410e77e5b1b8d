//! The writer thread: commits groups of batches with one sync each, and copies the log into the file when idle.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::ErrorCode;
use tokio::sync::oneshot;

use super::sqlite::Settings;
use super::sqlite_check::beside;
use super::sqlite_conn::{self, Conn, Sums};
use super::sqlite_pool::{Reading, Slot};
use super::sqlite_reserve::Reserve;
use super::{Batch, Checkpoints, Committed, DbError, Urgency};
use crate::log::caused;

/// After this long without a batch the writer copies the log back into the database file.
const IDLE: Duration = Duration::from_secs(2);

/// Pages of the log after which it is copied, about its size limit, so that a page that many commits change is written
/// to the file once.
const LOG_PAGES: u32 = 4000;

/// After this many failed attempts to copy the log, and after twice, four times … as many, all connections are
/// reopened.
const FAILED_CHECKPOINTS: u32 = 4;

pub(super) struct Write {
    pub(super) batch: Batch,
    pub(super) urgency: Urgency,
    pub(super) begin_by: Instant,
    pub(super) answer: oneshot::Sender<Result<Committed, DbError>>,
}

impl Write {
    /// Whether it is too late to start: the caller has got a time-out, or is about to.
    fn is_late(&self) -> bool {
        Instant::now() >= self.begin_by
    }
}

/// The writer thread's state.
pub(super) struct Writer {
    slot: Slot,
    reading: Arc<Reading>,
    reserve: Reserve,
    settings: Settings,
    log: Log,
    /// All of the log is in the file: the next commit begins a new log, and raises its number.
    begins: bool,
    busy: u32,
    /// After a failed write the log has to be copied before the next commit.
    is_suspect: bool,
}

impl Writer {
    pub(super) fn new(slot: Slot, reading: Arc<Reading>, reserve: Reserve, begins: bool, settings: Settings) -> Self {
        let log = Log::new(beside(&slot.opener.path, "-wal"));
        Self { slot, reading, reserve, settings, log, begins, busy: 0, is_suspect: false }
    }

    /// Runs until the database is dropped and all queued batches are answered.
    pub(super) fn run(mut self, writes: &Receiver<Write>) {
        let mut checkpointed = true;
        let mut failed_checkpoints = 0_u32;
        loop {
            let first = match writes.recv_timeout(IDLE) {
                Ok(write) => write,
                Err(RecvTimeoutError::Timeout) => {
                    self.reading.open_anew_after_failure(&mut self.slot);
                    self.reserve.fill();
                    if !checkpointed && self.is_own_log() {
                        let is_checking = self.reading.is_checking();
                        checkpointed = self.checkpoint();
                        if is_checking {
                            // The length of the log is bounded all the same.
                            continue;
                        }
                        failed_checkpoints = if checkpointed { 0 } else { failed_checkpoints + 1 };
                        // A long read of another process, or our own lock that could not be released.
                        if failed_checkpoints >= FAILED_CHECKPOINTS && failed_checkpoints.is_power_of_two() {
                            self.open_anew();
                        }
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            checkpointed = false;
            let mut group = vec![first];
            group.extend(writes.try_iter().take(self.settings.group.saturating_sub(1)));
            self.reading.open_anew_after_failure(&mut self.slot);
            if !self.reserve.fill() {
                group = refuse(group);
            }
            if group.is_empty() {
                continue;
            }
            match self.commit(&group) {
                Ok(answers) => {
                    self.busy = 0;
                    answer(group, answers);
                    self.bound_log();
                }
                Err(error) if sqlite_conn::is_full(&error) => {
                    self.failed(&error, group.len());
                    self.reserve.set_broken();
                    let urgent = refuse(group);
                    if !urgent.is_empty() {
                        self.commit_from_reserve(urgent);
                    }
                }
                Err(error) => {
                    self.failed(&error, group.len());
                    fail(group, &error);
                }
            }
        }
    }

    fn commit(&mut self, group: &[Write]) -> Result<Answers, DbError> {
        if self.is_suspect {
            self.copy_log()?;
            self.is_suspect = false;
        }
        let answers = commit_group(&mut self.slot, group, self.begins, self.settings)?;
        self.begins = false;
        Ok(answers)
    }

    /// Copies the whole log into the file, and syncs both. Required before the next commit after a failure: a failed
    /// sync may have left a gap in the log, and a later commit would follow that gap.
    fn copy_log(&mut self) -> Result<(), DbError> {
        let is_own = self.is_own_log();
        let conn = self.slot.conn()?;
        conn.allow(self.settings.deadline);
        let is_copied = conn.checkpoint(if is_own { "FULL" } else { "PASSIVE" })?;
        self.begins = is_copied && is_own;
        if is_copied {
            return Ok(());
        }
        Err(DbError::Unavailable("after a failed write the log could not be copied yet".into()))
    }

    /// Commits what takes access away, on a full disk. The log is copied first, so that the commit overwrites it; what
    /// the file or the log still needs comes from the reserve.
    fn commit_from_reserve(&mut self, group: Vec<Write>) {
        loop {
            self.checkpoint();
            match self.commit(&group) {
                Ok(answers) => return answer(group, answers),
                Err(error) => {
                    self.failed(&error, group.len());
                    if !sqlite_conn::is_full(&error) || !self.reserve.release() {
                        return fail(group, &error);
                    }
                }
            }
        }
    }

    /// Drops the connection after a failed commit, or all connections if the failure may last.
    fn failed(&mut self, error: &DbError, batches: usize) {
        caused!(None, warn, %error, batches, "a commit failed");
        self.reading.note(error);
        // Closing the connection rolls back its transaction.
        self.slot.conn = None;
        match sqlite_conn::code(error) {
            None | Some(ErrorCode::DiskFull) => {}
            // Another process' lock, which is temporary, or our own, which is not. The first time, this does not wait
            // for reads.
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
                if self.busy == 0 && self.reading.failed_at().is_none() =>
            {
                self.busy += 1;
                self.reading.open_anew_unless_read(&mut self.slot);
            }
            Some(_) => {
                self.is_suspect = true;
                self.open_anew();
                self.reading.set_failed_at(Some(Instant::now()));
            }
        }
    }

    /// Whether authd copies the log and begins it anew.
    fn is_own_log(&self) -> bool {
        self.settings.checkpoints == Checkpoints::Own
    }

    fn checkpoint(&mut self) -> bool {
        if !self.is_own_log() {
            return false;
        }
        let copied = self.reading.checkpoint(&mut self.slot);
        self.begins |= copied;
        copied
    }

    fn open_anew(&mut self) {
        self.reading.open_anew(&mut self.slot);
    }

    /// Copies the log when it has become long, and restarts it if its file grew without end.
    fn bound_log(&mut self) {
        let Some(conn) = self.slot.conn.as_ref().filter(|_| self.is_own_log()) else { return };
        if conn.log_pages() >= LOG_PAGES {
            match conn.checkpoint("PASSIVE") {
                Ok(copied) => self.begins |= copied,
                Err(error) => {
                    caused!(None, warn, %error, "the log could not be copied into the file");
                    self.reading.note(&error);
                }
            }
        }
        if self.log.is_too_long() && !self.checkpoint() {
            self.open_anew();
        }
    }
}

/// Answers what is not urgent with 503, and returns the rest.
fn refuse(group: Vec<Write>) -> Vec<Write> {
    let (urgent, others) = group.into_iter().partition(|write| write.urgency == Urgency::Urgent);
    fail(others, &DbError::Unavailable("the disk is full: only what takes access away is written".into()));
    urgent
}

fn fail(group: Vec<Write>, error: &DbError) {
    let reason = error.to_string();
    for write in group {
        // This fails if the caller has stopped waiting.
        write.answer.send(Err(DbError::Unavailable(reason.clone().into()))).ok();
    }
}

fn answer(group: Vec<Write>, answers: Answers) {
    for (write, answer) in group.into_iter().zip(answers) {
        write.answer.send(answer).ok();
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

    fn new(path: PathBuf) -> Self {
        Self { path, most: Self::MOST, looked_at: Instant::now() }
    }

    /// Checks the file's size periodically, without opening it.
    fn is_too_long(&mut self) -> bool {
        if self.looked_at.elapsed() < Self::PAUSE {
            return false;
        }
        self.looked_at = Instant::now();
        let size = std::fs::metadata(&self.path).map_or(0, |log| log.len());
        if size <= Self::MOST {
            self.most = Self::MOST;
        } else if size > self.most {
            // A long read may be the cause: the next attempt is at twice the size.
            self.most = size * 2;
            return true;
        }
        false
    }
}

/// Commits the group in one transaction. Failures that the batch did not cause (disk, lock, time) end the whole group,
/// because SQLite may already have rolled it back.
fn commit_group(slot: &mut Slot, group: &[Write], begins: bool, settings: Settings) -> Result<Answers, DbError> {
    let conn = slot.conn()?;
    conn.allow(settings.deadline);
    begin(conn, begins)?;
    let mut sums = Sums::new();
    let answers = if let Some(answers) = apply_all(conn, group, &mut sums)? {
        answers
    } else {
        // A batch failed, which rolled back the whole group: apply again, each batch in a savepoint.
        begin(conn, begins)?;
        sums.clear();
        group.iter().map(|write| apply(conn, write, &mut sums)).collect::<Result<Vec<_>, _>>()?
    };
    conn.add(&sums)?;
    conn.control("COMMIT")?;
    Ok(answers)
}

/// Begins a transaction; the first one of a log raises its number.
fn begin(conn: &Conn, begins_log: bool) -> Result<(), DbError> {
    if !conn.sqlite.is_autocommit() {
        conn.control("ROLLBACK")?;
    }
    // IMMEDIATE takes the write lock now: an upgrade later would fail at once, without waiting for `busy`.
    conn.control("BEGIN IMMEDIATE")?;
    if begins_log { conn.set_number(conn.number()? + 1) } else { Ok(()) }
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
