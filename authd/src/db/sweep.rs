//! Deletes expired rows, a bounded number at a time, so that a sweep never blocks the writer for long and an
//! interrupted one continues at its next turn. Every row deleted here is already invisible to readers.

use super::{Db, DbError, Statement};
use crate::env::Millis;

/// Rows deleted per statement.
pub const STEP: i64 = 500;

const SWEEP: &str = "sweep";
const IDEMPOTENCY: &str = "DELETE FROM idempotency WHERE key IN \
     (SELECT key FROM idempotency WHERE key >= $1 AND key < $2 AND expires_at <= $3 LIMIT $4)";
/// Deletes invalidations that every node has read long ago: for [`expired`].
pub const INVALIDATIONS: &str = "DELETE FROM invalidations WHERE seq IN \
     (SELECT seq FROM invalidations WHERE at <= $1 ORDER BY at LIMIT $2)";

/// Deletes expired idempotency records whose key begins with this byte: keys are hashes, so each slice is a 256th of
/// the table, which then needs no index by time. Returns the number of deleted rows; fewer than `limit` means that the
/// slice is done.
pub async fn idempotency(db: &dyn Db, slice: u8, now: Millis, limit: u64) -> Result<u64, DbError> {
    // A value longer than a key sorts after every key of the last slice.
    let end = slice.checked_add(1).map_or_else(|| vec![u8::MAX; 33], |next| vec![next]);
    in_steps(db, limit, |step| {
        Statement::any(SWEEP, IDEMPOTENCY, [vec![slice].into(), end.clone().into(), now.into(), step.into()])
    })
    .await
}

/// Runs a `DELETE` with the parameters (time, maximum number of rows) in steps of [`STEP`] until nothing is left or
/// `limit` is reached.
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
