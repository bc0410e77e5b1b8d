//! The SQL of counted logins.

use shared::api::users::Lockout;
use shared::time::Time;

use crate::db::{Committed, Db, Query, Row, Statement};
use crate::env::Millis;
use crate::error::Result;
use crate::page::Page;

// $1 key, $2 now, $3 failures until a lock (more than one), $4 milliseconds of the first lock (each further one is
// longer by as much), $7 the key of the address; an attempt from an address that has to wait is not counted.
const COUNT_NAME: &str = "\
    INSERT INTO login_attempts AS a (key, failures, window_start, locked_until, blocked, last_at) \
    SELECT CAST($1 AS TEXT), 1, CAST($2 AS BIGINT), 0, 0, CAST($2 AS BIGINT) \
    WHERE NOT EXISTS (SELECT 1 FROM login_attempts w WHERE w.key = $7 AND w.blocked > 0) \
    ON CONFLICT (key) DO UPDATE SET \
      blocked = CASE WHEN a.locked_until > $2 THEN a.blocked + 1 ELSE 0 END, \
      failures = CASE WHEN a.locked_until > $2 THEN a.failures ELSE a.failures + 1 END, \
      locked_until = CASE WHEN a.locked_until > $2 THEN a.locked_until \
        WHEN a.failures + 1 >= $5 THEN $6 \
        WHEN (a.failures + 1) % $3 = 0 THEN $2 + $4 * ((a.failures + 1) / $3) ELSE 0 END, \
      last_at = $2 \
    RETURNING blocked, locked_until";
// $3 attempts in a window, $4 milliseconds of the window.
const COUNT_ADDRESS: &str = "\
    INSERT INTO login_attempts AS a (key, failures, window_start, locked_until, blocked, last_at) \
    VALUES ($1, 1, $2, 0, 0, $2) \
    ON CONFLICT (key) DO UPDATE SET \
      blocked = CASE WHEN a.locked_until > $2 THEN a.blocked + 1 ELSE 0 END, \
      failures = CASE WHEN a.locked_until > $2 THEN a.failures \
        WHEN a.window_start + $4 <= $2 THEN 1 ELSE a.failures + 1 END, \
      window_start = CASE WHEN a.locked_until <= $2 AND a.window_start + $4 <= $2 THEN $2 ELSE a.window_start END, \
      locked_until = CASE WHEN a.locked_until > $2 THEN a.locked_until \
        WHEN a.window_start + $4 > $2 AND a.failures + 1 >= $3 THEN a.window_start + $4 ELSE 0 END, \
      last_at = $2 \
    RETURNING blocked, locked_until";
const TAKE_BACK: &str = "UPDATE login_attempts SET failures = failures - 1, locked_until = 0 \
     WHERE key = $1 AND failures > 0 AND blocked = 0";
const LIST: &str = "SELECT key, failures, last_at, locked_until FROM login_attempts \
     WHERE failures > 0 AND key > $1 AND ($2 = 1 OR locked_until > $3) ORDER BY key LIMIT $4";
const CLEAR: &str = "DELETE FROM login_attempts WHERE key = $1";
/// Its parameters are the time and the maximum number of rows.
pub const SWEEP: &str = "DELETE FROM login_attempts WHERE key IN \
     (SELECT key FROM login_attempts WHERE last_at <= $1 AND locked_until <= $1 ORDER BY last_at LIMIT $2)";

/// Names of the statements whose outcome is read.
pub const NAME: &str = "count_name";
pub const ADDRESS: &str = "count_address";
/// Clears the attempts of a key.
pub const CLEARED: &str = "clear_attempts";

/// Counts an attempt at a name, unless its address has to wait. `most` failures lock it for `lock`, longer each time,
/// and `forever_at` failures until `forever`. For [`read_count`].
pub fn count_name(
    key: &str,
    address: &str,
    now: Millis,
    most: u32,
    lock: Millis,
    (forever_at, forever): (i64, Millis),
) -> Statement {
    let params = [
        key.into(),
        now.into(),
        i64::from(most).into(),
        lock.into(),
        forever_at.into(),
        forever.into(),
        address.into(),
    ];
    Statement::any(NAME, COUNT_NAME, params)
}

/// Counts an attempt from an address: `most` of them within `window` block it until the window's end. For
/// [`read_count`].
pub fn count_address(key: &str, now: Millis, most: u32, window: Millis) -> Statement {
    Statement::any(ADDRESS, COUNT_ADDRESS, [key.into(), now.into(), i64::from(most).into(), window.into()])
}

/// The outcome of the counting statement of this name: whether the key is unlocked, and until when it is locked. `None`
/// if it was not counted.
pub fn read_count(committed: &Committed, name: &str) -> Result<Option<(bool, Millis)>> {
    let Some(row) = committed.rows(name).first() else { return Ok(None) };
    let mut row = row.cursor();
    Ok(Some((row.int()? == 0, row.int()?)))
}

/// Reverts the count of one attempt.
pub fn take_back(key: &str) -> Statement {
    Statement::any("take_back", TAKE_BACK, [key.into()])
}

/// Removes all attempts of a key.
pub fn clear(key: &str) -> Statement {
    Statement::any(CLEARED, CLEAR, [key.into()])
}

/// Attempts by key; with `all`, including those that are not locked now.
pub async fn list(db: &dyn Db, page: &Page<String>, all: bool, now: Millis) -> Result<Vec<Lockout>> {
    let query = Query::new(LIST, [page.after_or(""), i64::from(all).into(), now.into(), page.rows()]);
    db.query(query).await?.iter().map(|row| read(row, now)).collect()
}

fn read(row: &Row, now: Millis) -> Result<Lockout> {
    let mut row = row.cursor();
    Ok(Lockout {
        id: row.string()?,
        failures: u32::try_from(row.int()?).unwrap_or_default(),
        last_at: Time::from_millis(row.int()?),
        locked_until: Some(row.int()?).filter(|until| *until > now).map(Time::from_millis),
    })
}
