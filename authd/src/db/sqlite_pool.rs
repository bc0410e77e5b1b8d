//! The connections of the embedded database, and how they are replaced after they have failed.
//!
//! After an error that is not the statement's own (a lock that the system refused, a failed read) connections may be of
//! no use for good: a lock that could not be given back is held by the process, and SQLite takes it for another
//! connection's. Such a lock goes only when every connection of the process is closed, so all are opened anew.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::sqlite_conn::{self, Conn, Opener};
use super::{DbError, Query, Row};

/// A failure is over when none has followed it for this long.
const QUIET: Duration = Duration::from_millis(1500);

/// The connections that read.
pub(super) struct Reading {
    /// Those of the reader threads.
    pub(super) threads: Vec<Mutex<Slot>>,
    /// Those of point reads.
    pub(super) points: Vec<Mutex<Slot>>,
    /// When a connection failed last; `None` when all have been opened anew since that was over.
    pub(super) failed_at: Mutex<Option<Instant>>,
}

impl Reading {
    pub(super) fn query(&self, slot: &mut Slot, query: &Query, time: Duration) -> Result<Vec<Row>, DbError> {
        let answer = slot.conn().and_then(|conn| conn.query(query, time));
        if answer.as_ref().is_err_and(|error| sqlite_conn::code(error).is_some()) {
            slot.conn = None;
            self.set_failed_at(Some(Instant::now()));
        }
        answer
    }

    pub(super) fn set_failed_at(&self, at: Option<Instant>) {
        *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    pub(super) fn failed_at(&self) -> Option<Instant> {
        *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies the log into the file, so that the next commit begins it anew; whether all of it was. Whoever still reads
    /// from the log is not waited for: the next idle moment will do. The log keeps its length: writing where the file
    /// system has blocks already takes a third less time than making it longer.
    pub(super) fn checkpoint(&self, writer: &mut Slot) -> bool {
        let busy = writer.opener.busy;
        let unfinished = writer.conn().and_then(|conn| {
            conn.allow(Duration::MAX);
            conn.sqlite.busy_timeout(Duration::ZERO).ok();
            let unfinished = conn.control_value("PRAGMA wal_checkpoint(RESTART)");
            conn.sqlite.busy_timeout(busy).ok();
            unfinished
        });
        if unfinished.is_err() {
            self.set_failed_at(Some(Instant::now()));
        }
        unfinished.is_ok_and(|unfinished| unfinished == 0)
    }

    /// Once more when the failure is over: of a lock that could not be given back nobody is told.
    pub(super) fn open_anew_after_failure(&self, writer: &mut Slot) {
        if self.failed_at().is_some_and(|at| at.elapsed() >= QUIET) {
            let is_open = self.open_anew(writer);
            self.set_failed_at((!is_open).then(Instant::now));
        }
    }

    /// Closes all connections before any is opened again, then opens the writer's; whether that worked. Waits for the
    /// reads that are under way, each of which has a deadline.
    pub(super) fn open_anew(&self, writer: &mut Slot) -> bool {
        let slots = self.threads.iter().chain(&self.points);
        close(slots.map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner)).collect(), writer)
    }

    /// [`Reading::open_anew`], if nobody reads at the moment.
    pub(super) fn open_anew_unless_read(&self, writer: &mut Slot) {
        let slots = self.threads.iter().chain(&self.points);
        if let Ok(slots) = slots.map(Mutex::try_lock).collect() {
            close(slots, writer);
        }
    }
}

/// Closes these connections and the writer's, and opens the writer's; whether that worked.
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

    /// The connection, opened anew if the last one had to be given up.
    pub(super) fn conn(&mut self) -> Result<&Conn, DbError> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => Conn::open(&self.opener)?,
        };
        Ok(self.conn.insert(conn))
    }
}
