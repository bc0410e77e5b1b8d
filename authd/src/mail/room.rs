//! How many mails wait, without a look at the table for each request: it would read as many rows as there are mails.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::store;
use crate::base::Base;
use crate::db::DbError;
use crate::env::{Millis, SECOND};

/// How long a count is taken for true beside this node's own mails: other nodes write and send too.
const FRESH: Millis = 5 * SECOND;
/// The same for a count that would refuse a mail.
const FRESH_WHEN_FULL: Millis = SECOND;

/// The number of mails that wait, by the last look at the table and what this node did since.
#[derive(Debug, Default)]
pub(super) struct Room(Mutex<Estimate>);

#[derive(Debug, Default)]
struct Estimate {
    waiting: u32,
    /// `None` before the first look, and after one that failed.
    read_at: Option<Millis>,
}

impl Room {
    /// Whether so many mails wait, or more. Requests at the same time do not see each other's mails, so a few more may
    /// come to wait.
    pub async fn is_full(&self, base: &Base, most: u32) -> Result<bool, DbError> {
        let now = base.now();
        if let Some(waiting) = self.known(now, most) {
            return Ok(waiting >= most);
        }
        let read = store::waiting(base.db.as_ref()).await;
        let mut estimate = self.estimate();
        match read {
            Ok(waiting) => *estimate = Estimate { waiting, read_at: Some(now) },
            Err(_) => estimate.read_at = None,
        }
        Ok(read? >= most)
    }

    /// The number if it is not too old. When it gets too old, one caller is told to read, and the others go by it for as
    /// long again.
    fn known(&self, now: Millis, most: u32) -> Option<u32> {
        let mut estimate = self.estimate();
        let fresh = if estimate.waiting < most { FRESH } else { FRESH_WHEN_FULL };
        let read_at = estimate.read_at.as_mut()?;
        if (0..fresh).contains(&(now - *read_at)) {
            return Some(estimate.waiting);
        }
        *read_at = now;
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
