//! The connections of the embedded database, and how they are replaced after they have failed.
//!
//! After an error that is not the statement's own (a lock that the system refused, a failed read) connections may be of
//! no use for good: a lock that could not be given back is held by the process, and SQLite takes it for another
//! connection's. Such a lock goes only when every connection of the process is closed, so all are opened anew.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::sqlite_conn::{self, Conn};
use super::sqlite_writer::checkpoint;
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
        let answer = slot.query(query, time);
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

    /// Whether a connection has failed, and not all have been opened anew since that was over.
    pub(super) fn has_failed(&self) -> bool {
        self.failed_at().is_some()
    }

    /// [`checkpoint`]; whether all of the log was copied.
    pub(super) fn checkpoint(&self, writer: &mut Slot) -> bool {
        let busy = writer.opener.busy;
        let checkpointed = writer.conn().and_then(|conn| checkpoint(conn, busy));
        if checkpointed.is_err() {
            self.set_failed_at(Some(Instant::now()));
        }
        checkpointed.unwrap_or(false)
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

/// How a connection of one kind is opened.
#[derive(Clone, Debug)]
pub(super) struct Opener {
    pub(super) path: PathBuf,
    pub(super) cache_kib: u32,
    pub(super) busy: Duration,
    pub(super) is_writer: bool,
    pub(super) max_pages: Option<u32>,
}

impl Opener {
    pub(super) fn open(&self) -> Result<Conn, DbError> {
        let conn = Conn::open(&self.path, self.cache_kib, self.busy)?;
        if let Some(pages) = self.max_pages {
            conn.control_value(&format!("PRAGMA max_page_count = {pages}"))?;
        }
        if self.is_writer { Ok(conn) } else { conn.read_only() }
    }
}

/// A connection that is replaced after it has failed.
pub(super) struct Slot {
    pub(super) opener: Opener,
    pub(super) conn: Option<Conn>,
}

impl Slot {
    pub(super) fn open(opener: Opener) -> Result<Self, DbError> {
        let conn = Some(opener.open()?);
        Ok(Self { opener, conn })
    }

    /// The connection, opened anew if the last one had to be given up.
    pub(super) fn conn(&mut self) -> Result<&Conn, DbError> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.opener.open()?,
        };
        Ok(self.conn.insert(conn))
    }

    /// Reads, for at most this long.
    pub(super) fn query(&mut self, query: &Query, time: Duration) -> Result<Vec<Row>, DbError> {
        let conn = self.conn()?;
        conn.allow(time);
        conn.query(query)
    }
}
