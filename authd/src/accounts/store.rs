//! The SQL of counted logins.

use shared::api::users::Lockout;
use shared::time::Time;

use super::lockout::{MAX_STEP_UPS, STEP_UP_WINDOW};
use crate::db::{Committed, Db, Query, Row, Statement};
use crate::env::{Millis, SKEW};
use crate::error::Result;
use crate::page::Page;

// $1 key, $2 now, $3 failures until a lock (more than one), $4 milliseconds of the first lock (each further one is
// longer by as much), $7 and $9 the keys of the address and of the person; an attempt of one that has to wait is not
// counted. A lock that ends after $8, and not at $6 (never), is void: a wrong clock has set it.
const COUNT_NAME: &str = "\
    INSERT INTO login_attempts AS a (key, failures, window_start, locked_until, blocked, last_at) \
    SELECT CAST($1 AS TEXT), 1, CAST($2 AS BIGINT), 0, 0, CAST($2 AS BIGINT) \
    WHERE NOT EXISTS (SELECT 1 FROM login_attempts w WHERE w.key IN ($7, $9) AND w.blocked > 0) \
    ON CONFLICT (key) DO UPDATE SET \
      blocked = CASE WHEN a.locked_until > $2 AND (a.locked_until <= $8 OR a.locked_until = $6) \
        THEN a.blocked + 1 ELSE 0 END, \
      failures = CASE WHEN a.locked_until > $2 AND (a.locked_until <= $8 OR a.locked_until = $6) \
        THEN a.failures ELSE a.failures + 1 END, \
      locked_until = CASE WHEN a.locked_until > $2 AND (a.locked_until <= $8 OR a.locked_until = $6) \
        THEN a.locked_until \
        WHEN a.failures + 1 >= $5 THEN $6 \
        WHEN (a.failures + 1) % $3 = 0 THEN $2 + $4 * ((a.failures + 1) / $3) ELSE 0 END, \
      last_at = $2 \
    RETURNING blocked, locked_until";
// Of an address or of a person. $3 attempts in a window, $4 milliseconds of the window, $5 the latest possible end of a
// lock, $6 the latest possible start of a window: later ones are void.
const COUNT_IN_WINDOW: &str = "\
    INSERT INTO login_attempts AS a (key, failures, window_start, locked_until, blocked, last_at) \
    VALUES ($1, 1, $2, 0, 0, $2) \
    ON CONFLICT (key) DO UPDATE SET \
      blocked = CASE WHEN a.locked_until > $2 AND a.locked_until <= $5 THEN a.blocked + 1 ELSE 0 END, \
      failures = CASE WHEN a.locked_until > $2 AND a.locked_until <= $5 THEN a.failures \
        WHEN a.window_start + $4 > $2 AND a.window_start <= $6 THEN a.failures + 1 ELSE 1 END, \
      window_start = CASE WHEN a.locked_until > $2 AND a.locked_until <= $5 THEN a.window_start \
        WHEN a.window_start + $4 > $2 AND a.window_start <= $6 THEN a.window_start ELSE $2 END, \
      locked_until = CASE WHEN a.locked_until > $2 AND a.locked_until <= $5 THEN a.locked_until \
        WHEN a.window_start + $4 > $2 AND a.window_start <= $6 AND a.failures + 1 >= $3 \
          THEN a.window_start + $4 ELSE 0 END, \
      last_at = $2 \
    RETURNING blocked, locked_until";
const TAKE_BACK: &str = "UPDATE login_attempts SET failures = failures - 1, locked_until = 0 \
     WHERE key = $1 AND failures > 0 AND blocked = 0";
const LIST: &str = "SELECT key, failures, last_at, locked_until FROM login_attempts \
     WHERE failures > 0 AND key > $1 AND key < 'step_up:' \
       AND ($2 = 1 OR (locked_until > $3 AND (locked_until = $5 OR locked_until <= \
       CASE WHEN key LIKE 'name:%' THEN CAST($6 AS BIGINT) ELSE CAST($7 AS BIGINT) END))) \
     ORDER BY key LIMIT $4";
const CLEAR: &str = "DELETE FROM login_attempts WHERE key = $1";
/// Its parameters are the time and the maximum number of rows.
pub const SWEEP: &str = "DELETE FROM login_attempts WHERE key IN \
     (SELECT key FROM login_attempts WHERE last_at <= $1 AND locked_until <= $1 ORDER BY last_at LIMIT $2)";

/// Names of the statements whose outcome is read.
pub const NAME: &str = "count_name";
pub const ADDRESS: &str = "count_address";
pub const STEP_UP: &str = "count_step_up";
/// Clears the attempts of a key.
pub const CLEARED: &str = "clear_attempts";

/// What the key of a person begins with. It sorts after the keys of failures, which are listed.
pub const STEP_UPS_OF: &str = "step_up:";

/// The locks, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Locks {
    /// Failures in a row that lock a name for `first`, each further time longer by as much.
    pub most: u32,
    /// Attempts from an address within a window of the length `first` that block it until the window's end.
    pub most_per_address: u32,
    pub first: Millis,
    /// The number of failures that locks a name until `forever`.
    pub forever_at: i64,
    pub forever: Millis,
}

impl Locks {
    /// The latest possible end of a name's lock that is not for ever.
    fn latest_of_name(&self, now: Millis) -> Millis {
        now + self.first * (self.forever_at / i64::from(self.most) + 1) + SKEW
    }

    /// The latest possible end of an address's lock.
    fn latest_of_address(&self, now: Millis) -> Millis {
        now + self.first + SKEW
    }

    /// Whether a key is locked.
    fn is_locked(&self, key: &str, until: Millis, now: Millis) -> bool {
        let latest = if key.starts_with("name:") { self.latest_of_name(now) } else { self.latest_of_address(now) };
        until > now && (until <= latest || until == self.forever)
    }
}

/// Counts an attempt at a name, unless one of these keys has to wait. For [`read_count`].
pub fn count_name(key: &str, [address, person]: [&str; 2], now: Millis, locks: &Locks) -> Statement {
    let params = [
        key.into(),
        now.into(),
        i64::from(locks.most).into(),
        locks.first.into(),
        locks.forever_at.into(),
        locks.forever.into(),
        address.into(),
        locks.latest_of_name(now).into(),
        person.into(),
    ];
    Statement::any(NAME, COUNT_NAME, params)
}

/// Counts an attempt from an address. For [`read_count`].
pub fn count_address(key: &str, now: Millis, locks: &Locks) -> Statement {
    count_in_window(ADDRESS, key, now, locks.most_per_address, locks.first)
}

/// Counts a step-up of a person. For [`read_count`].
pub fn count_step_up(key: &str, now: Millis) -> Statement {
    count_in_window(STEP_UP, key, now, MAX_STEP_UPS, STEP_UP_WINDOW)
}

fn count_in_window(name: &'static str, key: &str, now: Millis, most: u32, window: Millis) -> Statement {
    let (latest_end, latest_start) = (now + window + SKEW, now + SKEW);
    let params =
        [key.into(), now.into(), i64::from(most).into(), window.into(), latest_end.into(), latest_start.into()];
    Statement::any(name, COUNT_IN_WINDOW, params)
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
pub async fn list(db: &dyn Db, page: &Page<String>, all: bool, now: Millis, locks: &Locks) -> Result<Vec<Lockout>> {
    let params = [
        page.after_or(""),
        i64::from(all).into(),
        now.into(),
        page.rows(),
        locks.forever.into(),
        locks.latest_of_name(now).into(),
        locks.latest_of_address(now).into(),
    ];
    let read = |row: &Row| {
        let mut row = row.cursor();
        let id = row.string()?;
        let failures = u32::try_from(row.int()?).unwrap_or_default();
        let (last_at, until) = (Time::from_millis(row.int()?), row.int()?);
        let locked_until = locks.is_locked(&id, until, now).then(|| Time::from_millis(until));
        Ok(Lockout { id, failures, last_at, locked_until })
    };
    db.query(Query::new(LIST, params)).await?.iter().map(read).collect()
}
