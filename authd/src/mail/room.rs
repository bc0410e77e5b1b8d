//! How many mails wait, without a look at the table for each request: it would read as many rows as there are mails.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::store;
use crate::db::{Db, DbError};

/// How long a count is taken for true beside this node's own mails: other nodes write and send too.
const FRESH: Duration = Duration::from_secs(5);
/// The same for a count that would refuse a mail.
const FRESH_WHEN_FULL: Duration = Duration::from_secs(1);

/// The number of mails that wait, by the last look at the table and what this node did since.
#[derive(Debug, Default)]
pub(super) struct Room(Mutex<Estimate>);

#[derive(Debug, Default)]
struct Estimate {
    waiting: u32,
    read_at: Option<Instant>,
}

impl Room {
    /// Whether so many mails wait, or more. Requests at the same time do not see each other's mails, so a few more may
    /// come to wait.
    pub async fn is_full(&self, db: &dyn Db, most: u32) -> Result<bool, DbError> {
        if let Some(waiting) = self.known(most) {
            return Ok(waiting >= most);
        }
        let read = store::waiting(db).await;
        let mut estimate = self.estimate();
        match read {
            Ok(waiting) => estimate.waiting = waiting,
            Err(_) => estimate.read_at = None,
        }
        Ok(read? >= most)
    }

    /// The number if it is not too old. One caller at a time is told to read.
    fn known(&self, most: u32) -> Option<u32> {
        let mut estimate = self.estimate();
        let fresh = if estimate.waiting < most { FRESH } else { FRESH_WHEN_FULL };
        if estimate.read_at.is_some_and(|at| at.elapsed() < fresh) {
            return Some(estimate.waiting);
        }
        estimate.read_at = Some(Instant::now());
        None
    }

    /// A mail is about to wait.
    pub fn added(&self) {
        let mut estimate = self.estimate();
        estimate.waiting = estimate.waiting.saturating_add(1);
    }

    /// A mail does not wait any more.
    pub fn removed(&self) {
        let mut estimate = self.estimate();
        estimate.waiting = estimate.waiting.saturating_sub(1);
    }

    fn estimate(&self) -> MutexGuard<'_, Estimate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
