//! Failed logins, counted per name and per address, in the database: they survive a restart and hold on every node.
//!
//! Invariant: an attempt is counted before anything is hashed, in one statement that also tells whether it may go on,
//! so that guesses sent at the same time cannot outrun the lock. Whether a name is locked, or known at all, is never
//! told; that an address sends too much is (429).

use std::net::IpAddr;

use shared::api::users::{ClearLockout, ListLockouts, Lockout, LockoutList};
use shared::problem::Code;
use shared::time::Time;

use crate::app::Ctx;
use crate::audit;
use crate::config::Login;
use crate::db::{Query, Row, Statement};
use crate::error::{Error, Result};
use crate::names;
use crate::world::{DAY, Millis, SECOND};

/// After this many failures in a row a name stays locked until an operator clears it (NIST SP 800-63B §3.2.2).
pub const MAX_FAILURES: i64 = 100;
/// As good as for ever: the last moment of the year 9999.
const FOREVER: Millis = 253_402_300_799_000;
/// How long failures are remembered after the last one.
const KEPT: Millis = 30 * DAY;

// $1 key, $2 now, $3 failures until a lock (more than one), $4 milliseconds of the first lock (each further one is
// longer by as much), $7 the key of the address: one that has to wait counts against no name.
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
const FORGIVE_NAME: &str = "DELETE FROM login_attempts WHERE key = $1";
// Takes one attempt back. A good login takes back its own of its address, and no more: one account must not wash away
// guesses at others.
const TAKE_BACK: &str = "UPDATE login_attempts SET failures = failures - 1, locked_until = 0 WHERE key = $1 AND failures > 0 AND blocked = 0";
const LIST: &str = "SELECT key, failures, last_at, locked_until FROM login_attempts \
     WHERE failures > 0 AND key > $1 AND ($2 = 1 OR locked_until > $3) ORDER BY key LIMIT $4";
const CLEAR: &str = "DELETE FROM login_attempts WHERE key = $1";
const SWEEP: &str = "DELETE FROM login_attempts WHERE key IN \
     (SELECT key FROM login_attempts WHERE last_at <= $1 AND locked_until <= $1 ORDER BY last_at LIMIT $2)";

/// For the sweep: the statement takes the moment and how many at most.
pub const SWEEP_ATTEMPTS: (&str, Millis) = (SWEEP, KEPT);

/// One attempt: whom it is about.
#[derive(Debug)]
pub struct Attempt {
    name: String,
    address: Option<String>,
}

impl Attempt {
    /// `folded` is the name in the one form in which names are compared.
    pub fn new(folded: &str, address: Option<IpAddr>) -> Self {
        // No user has a name that long: all of them share a counter, and none fills the table.
        let folded = if folded.chars().count() > names::MAX { "" } else { folded };
        Self { name: format!("name:{folded}"), address: address.map(|address| format!("address:{}", network(address))) }
    }

    /// Counts the attempt before anything else is done. The answer says whether the name is open; `Err` with
    /// [`Code::RateLimited`] that the address has to wait.
    pub async fn count(&self, ctx: &Ctx, limits: &Login) -> Result<bool> {
        let now = ctx.now();
        let lock = Millis::from(limits.lock_seconds) * SECOND;
        let mut batch = Vec::with_capacity(2);
        if let Some(address) = &self.address {
            let most = i64::from(limits.max_failures_per_address);
            batch.push(Statement::any(COUNT_ADDRESS, [address.as_str().into(), now.into(), most.into(), lock.into()]));
        }
        batch.push(Statement::any(
            COUNT_NAME,
            [
                self.name.as_str().into(),
                now.into(),
                i64::from(limits.max_failures).into(),
                lock.into(),
                MAX_FAILURES.into(),
                FOREVER.into(),
                self.address.as_deref().unwrap_or_default().into(),
            ],
        ));
        let name = batch.len() - 1;
        // What is answered in the end is committed durably, and this with it.
        let outcomes = ctx.app.db.commit_soon(batch).await?;
        let counted = |index: usize| -> Result<Option<(bool, Millis)>> {
            let Some(row) = outcomes.get(index).and_then(|outcome| outcome.rows.first()) else { return Ok(None) };
            Ok(Some((row.int(0)? == 0, row.int(1)?)))
        };
        if let (true, Some((false, until))) = (self.address.is_some(), counted(0)?) {
            let seconds = u64::try_from((until - now).div_euclid(SECOND) + 1).unwrap_or(1);
            let detail = format!("too many failed logins from this address; try again in {} min", seconds.div_ceil(60));
            return Err(Error::new(Code::RateLimited, detail).retry_after(seconds));
        }
        let (is_open, _) = counted(name)?.ok_or_else(|| Error::internal("a counted attempt has no row"))?;
        Ok(is_open)
    }

    /// What a good login takes back.
    pub fn forgive(&self) -> Vec<Statement> {
        let mut batch = vec![Statement::any(FORGIVE_NAME, [self.name.as_str().into()])];
        if let Some(address) = &self.address {
            batch.push(Statement::any(TAKE_BACK, [address.as_str().into()]));
        }
        batch
    }

    /// What an attempt takes back at which no password was tried.
    pub fn take_back(&self) -> Vec<Statement> {
        let keys = std::iter::once(&self.name).chain(&self.address);
        keys.map(|key| Statement::any(TAKE_BACK, [key.as_str().into()])).collect()
    }
}

/// An IPv4 address, or the /64 that an IPv6 address is from: who has one has all of it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::from((u128::from(address) & !u128::from(u64::MAX)).to_be_bytes()),
        address @ IpAddr::V4(_) => address,
    }
}

pub async fn list(ctx: Ctx, op: ListLockouts) -> Result<LockoutList> {
    let limit = op.limit.unwrap_or_default().rows();
    let now = ctx.now();
    let params = [
        op.cursor.unwrap_or_default().into(),
        i64::from(op.all).into(),
        now.into(),
        i64::try_from(limit + 1).unwrap_or(i64::MAX).into(),
    ];
    let rows = ctx.app.db.query(Query::new(LIST, params)).await?;
    let read = |row: &Row| -> Result<Lockout> {
        let locked_until = Some(row.int(3)?).filter(|until| *until > now);
        Ok(Lockout {
            id: row.text(0)?.to_owned(),
            failures: u32::try_from(row.int(1)?).unwrap_or_default(),
            last_at: Time::from_millis(row.int(2)?),
            locked_until: locked_until.map(Time::from_millis),
        })
    };
    let mut lockouts = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
    let next_cursor = (lockouts.len() > limit).then(|| lockouts[limit - 1].id.clone());
    lockouts.truncate(limit);
    Ok(LockoutList { lockouts, next_cursor })
}

pub async fn clear(ctx: Ctx, op: ClearLockout) -> Result<shared::api::Done> {
    let key = match op.id.split_once(':') {
        Some(("name", name)) => format!("name:{}", names::fold(name)),
        Some(("address", address)) => match address.parse::<IpAddr>() {
            Ok(address) => format!("address:{}", network(address)),
            Err(_) => return Err(Error::field("id", "expected name:NAME or address:ADDRESS")),
        },
        _ => return Err(Error::field("id", "expected name:NAME or address:ADDRESS")),
    };
    let mut batch = vec![Statement::one(CLEAR, [key.as_str().into()])];
    batch.push(audit::row(&ctx, "lockouts.clear", Some(&key), serde_json::Map::new()));
    match ctx.app.db.commit(batch).await {
        Ok(_) => Ok(shared::api::Done::default()),
        Err(crate::db::DbError::Unmet(0)) => Err(Error::not_found("lock-out")),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_address() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
    }
}
