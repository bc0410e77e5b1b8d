//! The connections of the embedded database, and their replacement after failures.
//!
//! After an error that the statement did not cause (a lock that the system refused, a failed read) connections may be
//! permanently unusable: a lock that could not be released is held by the process, and SQLite treats it as another
//! connection's. Such a lock is released only when every connection of the process is closed, so all are reopened.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{ErrorCode, InterruptHandle};

use super::sqlite_conn::{self, Conn, Opener};
use super::vitals::Vitals;
use super::{DbError, Query, Row};

/// A failure is over when no other follows for this long.
const QUIET: Duration = Duration::from_millis(1500);

/// The connections that read.
pub(super) struct Reading {
    /// Those of the reader threads.
    pub(super) threads: Vec<Mutex<Slot>>,
    /// Those of point reads.
    pub(super) points: Vec<Mutex<Slot>>,
    /// The one that checks pages, open only during a check.
    pub(super) checker: Mutex<Slot>,
    /// Ends the check under way.
    pub(super) interrupt: Mutex<Option<InterruptHandle>>,
    /// When a connection failed last; `None` if all were reopened since that failure was over.
    pub(super) failed_at: Mutex<Option<Instant>>,
    pub(super) vitals: Arc<Vitals>,
}

impl Reading {
    pub(super) fn query(&self, slot: &mut Slot, query: &Query, time: Duration) -> Result<Vec<Row>, DbError> {
        let answer = slot.conn().and_then(|conn| conn.query(query, time));
        if let Err(error) = &answer
            && sqlite_conn::code(error).is_some()
        {
            self.note(error);
            slot.conn = None;
            self.set_failed_at(Some(Instant::now()));
        }
        answer
    }

    /// Runs a check without a deadline; [`DbError::Late`] if the connections had to be reopened.
    pub(super) fn check(&self, sql: &str) -> Result<Vec<String>, DbError> {
        let mut slot = self.checker.lock().unwrap_or_else(PoisonError::into_inner);
        let conn = slot.conn()?;
        self.set_interrupt(Some(conn.sqlite.get_interrupt_handle()));
        let found = conn.texts(sql);
        self.set_interrupt(None);
        slot.conn = None;
        found
    }

    fn set_interrupt(&self, handle: Option<InterruptHandle>) {
        *self.interrupt.lock().unwrap_or_else(PoisonError::into_inner) = handle;
    }

    fn interrupt_check(&self) {
        if let Some(check) = &*self.interrupt.lock().unwrap_or_else(PoisonError::into_inner) {
            check.interrupt();
        }
    }

    /// Whether a check is under way, which keeps the log from starting anew.
    pub(super) fn is_checking(&self) -> bool {
        matches!(self.checker.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// Ends the check under way. There is none as long as the checker's connection is held.
    pub(super) fn end_check(&self) -> MutexGuard<'_, Slot> {
        loop {
            match self.checker.try_lock() {
                Ok(slot) => return slot,
                Err(TryLockError::Poisoned(slot)) => return slot.into_inner(),
                // A statement that is about to begin is not interrupted: it is told again.
                Err(TryLockError::WouldBlock) => self.interrupt_check(),
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn slots(&self) -> impl Iterator<Item = &Mutex<Slot>> {
        self.threads.iter().chain(&self.points)
    }

    /// Records damage that an error tells of.
    pub(super) fn note(&self, error: &DbError) {
        if sqlite_conn::is_damage(error) {
            self.vitals.set_damaged(&error.to_string());
        }
    }

    pub(super) fn set_failed_at(&self, at: Option<Instant>) {
        *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    pub(super) fn failed_at(&self) -> Option<Instant> {
        *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies the log into the file, so that the next commit restarts the log; returns whether all of it was copied. It
    /// does not wait for readers of the log: the next idle time will do. The log keeps its length: overwriting
    /// allocated blocks takes a third less time than extending the file.
    pub(super) fn checkpoint(&self, writer: &mut Slot) -> bool {
        let busy = writer.opener.busy;
        let copied = writer.conn().and_then(|conn| {
            conn.allow(Duration::MAX);
            conn.sqlite.busy_timeout(Duration::ZERO).ok();
            let copied = conn.checkpoint("RESTART");
            conn.sqlite.busy_timeout(busy).ok();
            copied
        });
        if let Err(error) = &copied {
            self.note(error);
            // A full disk passes without new connections.
            if sqlite_conn::code(error) != Some(ErrorCode::DiskFull) {
                self.set_failed_at(Some(Instant::now()));
            }
        }
        copied.unwrap_or(false)
    }

    /// Reopens all connections when a failure is over: a lock that could not be released is not reported.
    pub(super) fn open_anew_after_failure(&self, writer: &mut Slot) {
        if self.failed_at().is_some_and(|at| at.elapsed() >= QUIET) {
            let is_open = self.open_anew(writer);
            self.set_failed_at((!is_open).then(Instant::now));
        }
    }

    /// Closes all connections, then opens the writer's; returns whether that worked. Waits for the reads under way,
    /// each of which has a deadline or can be interrupted.
    pub(super) fn open_anew(&self, writer: &mut Slot) -> bool {
        let checker = self.end_check();
        let slots = self.slots().map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner));
        close([checker].into_iter().chain(slots).collect(), writer)
    }

    /// [`Reading::open_anew`], if there are no reads under way.
    pub(super) fn open_anew_unless_read(&self, writer: &mut Slot) {
        if let Ok(slots) = self.slots().chain([&self.checker]).map(Mutex::try_lock).collect() {
            close(slots, writer);
        }
    }
}

/// Closes these connections and the writer's, and reopens the writer's; returns whether that worked.
fn close(mut slots: Vec<MutexGuard<'_, Slot>>, writer: &mut Slot) -> bool {
    slots.iter_mut().for_each(|slot| slot.conn = None);
    writer.conn = None;
    writer.conn().is_ok()
}

/// A connection that is replaced after it has failed.
pub(super) struct Slot {
    pub(super) opener: Opener,
    pub(super) conn: Option<Conn>,
}

impl Slot {
    pub(super) fn open(opener: Opener) -> Result<Self, DbError> {
        let conn = Some(Conn::open(&opener)?);
        Ok(Self { opener, conn })
    }

    /// The connection, reopened if the last one was closed after a failure.
    pub(super) fn conn(&mut self) -> Result<&Conn, DbError> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => Conn::open(&self.opener)?,
        };
        Ok(self.conn.insert(conn))
    }
}
