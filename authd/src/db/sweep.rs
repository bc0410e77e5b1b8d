//! Removes what has ended, a bounded number of rows at a time, so that a sweep never holds the writer for long and
//! one that was interrupted simply goes on at its next turn. Every row removed here is already invisible to readers.

use super::{Db, DbError, Statement};
use crate::env::Millis;

/// Rows removed per statement.
pub const STEP: i64 = 500;

const SWEEP: &str = "sweep";
const IDEMPOTENCY: &str = "DELETE FROM idempotency WHERE key IN \
     (SELECT key FROM idempotency WHERE key >= $1 AND key < $2 AND expires_at <= $3 LIMIT $4)";
/// Invalidations that every node must have read long ago: for [`expired`].
pub const INVALIDATIONS: &str = "DELETE FROM invalidations WHERE seq IN \
     (SELECT seq FROM invalidations WHERE at <= $1 ORDER BY at LIMIT $2)";

/// Removes idempotency records that have ended, of those whose key begins with this byte: keys are hashes, so that
/// each slice is a 256th of the table, which then needs no index by time. Answers how many went; fewer than `limit`
/// means all of the slice.
pub async fn idempotency(db: &dyn Db, slice: u8, now: Millis, limit: u64) -> Result<u64, DbError> {
    // Above every key of the last slice is what is longer than a key.
    let end = slice.checked_add(1).map_or_else(|| vec![u8::MAX; 33], |next| vec![next]);
    in_steps(db, limit, |step| {
        Statement::any(SWEEP, IDEMPOTENCY, [vec![slice].into(), end.clone().into(), now.into(), step.into()])
    })
    .await
}

/// Runs a `DELETE` with the parameters (moment, rows at most) in steps of [`STEP`] until nothing is left or `limit`
/// is reached.
pub async fn expired(db: &dyn Db, delete: &'static str, moment: Millis, limit: u64) -> Result<u64, DbError> {
    in_steps(db, limit, |step| Statement::any(SWEEP, delete, [moment.into(), step.into()])).await
}

async fn in_steps(db: &dyn Db, limit: u64, delete: impl Fn(i64) -> Statement) -> Result<u64, DbError> {
    let mut removed = 0;
    while removed < limit {
        let step = STEP.min(i64::try_from(limit - removed).unwrap_or(STEP));
        let affected = db.commit(vec![delete(step)]).await?.affected(SWEEP);
        removed += affected;
        if affected < step.unsigned_abs() {
            break;
        }
    }
    Ok(removed)
}
