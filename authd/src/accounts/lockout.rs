//! Failed logins, counted per name and per address, and the step-ups of a person, right or wrong, in the database: they
//! survive a restart and hold on every node.
//!
//! Invariant: an attempt is counted before hashing, in one statement that also returns whether it may continue, so that
//! concurrent guesses cannot evade the lock. Whether a name is locked or known is never disclosed; that an address
//! sends too many attempts is (429), and so is that a signed-in person does.

use std::net::IpAddr;
use std::time::Duration;

use shared::api::Done;
use shared::api::users::{ClearLockout, ListLockouts, LockoutList};
use shared::op::Operation;
use shared::problem::Code;

use super::{Accounts, Config, store};
use crate::base::{Base, insist};
use crate::call::Call;
use crate::db::{DbError, Expect, Statement, Urgency};
use crate::env::{DAY, HOUR, Millis, SECOND};
use crate::error::{Error, Result};
use crate::ledger::{Change, Refused};
use crate::names;
use crate::network;
use crate::page::Page;
use crate::users::store::Login;

/// After this many failures in a row a name stays locked until an operator clears it (NIST SP 800-63B §3.2.2).
pub const MAX_FAILURES: i64 = 100;
/// Step-ups of one person in [`STEP_UP_WINDOW`], right or wrong: each costs a hash and an audit row, also those that the
/// lock does not bound because the password is right. A person needs a few.
pub const MAX_STEP_UPS: u32 = 60;
pub const STEP_UP_WINDOW: Millis = HOUR;
/// Effectively for ever: the last second of the year 9999.
const FOREVER: Millis = 253_402_300_799_000;
/// How long the answer to a failed attempt waits until its count is reverted.
const PROMPT: Duration = Duration::from_millis(500);
/// How long authd tries to revert the count of an attempt.
const REVERT_TIMEOUT: Duration = Duration::from_mins(15);
/// How long failures are kept after the last one.
const KEPT: Millis = 30 * DAY;

/// For the sweep: the statement's parameters are the time and the maximum number of rows.
pub const SWEEP_ATTEMPTS: (&str, Millis) = (store::SWEEP, KEPT);

/// One attempt, by name and address; a step-up also by person.
#[derive(Clone, Debug)]
pub struct LoginAttempt {
    name: String,
    address: Option<String>,
    person: Option<String>,
}

impl LoginAttempt {
    /// `folded` is the folded name.
    pub fn new(folded: &str, address: Option<IpAddr>) -> Self {
        // No user has a name that long: all such names share one counter, so that they cannot fill the table.
        let folded = if folded.chars().count() > names::MAX { "" } else { folded };
        Self {
            name: format!("name:{folded}"),
            address: address.map(|address| format!("address:{}", network::of(address))),
            person: None,
        }
    }

    /// A step-up of a person who is signed in.
    pub fn step_up(person: &Login, address: Option<IpAddr>) -> Self {
        let person_key = Some(format!("{}{}", store::STEP_UPS_OF, person.id));
        Self { person: person_key, ..Self::new(&names::fold(&person.username), address) }
    }

    /// Counts the attempt before anything else. Returns whether the name is unlocked, or [`Code::RateLimited`] if the
    /// address or the person has to wait.
    pub async fn count(&self, base: &Base, limits: &Config) -> Result<bool> {
        let (now, locks) = (base.now(), limits.locks());
        let mut batch = Vec::with_capacity(3);
        batch.extend(self.person.as_deref().map(|person| store::count_step_up(person, now)));
        batch.extend(self.address.as_deref().map(|address| store::count_address(address, now, &locks)));
        let waiting = [&self.address, &self.person].map(|key| key.as_deref().unwrap_or_default());
        batch.push(store::count_name(&self.name, waiting, now, &locks));
        let mut counting = base.db.submit(batch, Urgency::Usual);
        let Ok(committed) = tokio::time::timeout(base.db.deadline(), &mut counting).await else {
            // The caller gets a 503. The count may still be committed, and is reverted then.
            let (late, attempt, base) = (base.db.late(), self.clone(), base.clone());
            tokio::spawn(async move {
                if counting.await.is_ok() {
                    attempt.revert(&base).await;
                }
            });
            return Err(late.into());
        };
        let committed = committed?;
        for (counted, what) in [
            (store::ADDRESS, "too many failed logins from this address"),
            (store::STEP_UP, "your password was asked for too often"),
        ] {
            if let Some((false, until)) = store::read_count(&committed, counted)? {
                let seconds = u64::try_from((until - now).div_euclid(SECOND) + 1).unwrap_or(1);
                let detail = format!("{what}; try again in {} min", seconds.div_ceil(60));
                return Err(Error::new(Code::RateLimited, detail).retry_after(seconds));
            }
        }
        let counted = store::read_count(&committed, store::NAME)?;
        let (is_open, _) = counted.ok_or_else(|| Error::internal("a counted attempt has no row"))?;
        Ok(is_open)
    }

    /// Resets the counters after a right password and code: all attempts of the name, but only its own of the address,
    /// since one account must not clear guesses at others. A step-up stays counted.
    pub fn forgive(&self) -> Vec<Statement> {
        let mut batch = vec![store::clear(&self.name)];
        batch.extend(self.address.as_deref().map(store::take_back));
        batch
    }

    /// Reverts the count: before the answer if the database is quick, else behind it, once.
    pub async fn revert(&self, base: &Base) {
        let mut reverting = base.db.submit(self.take_back(), Urgency::Usual);
        let outcome = tokio::time::timeout(PROMPT, &mut reverting).await;
        if matches!(outcome, Ok(Ok(_))) {
            return;
        }
        let (attempt, base) = (self.clone(), base.clone());
        tokio::spawn(async move {
            let outcome = match outcome {
                Ok(outcome) => outcome,
                Err(_) => reverting.await,
            };
            // It may have been done already, and a second time would be a guess for free.
            if !matches!(outcome, Ok(_) | Err(DbError::Lost(_))) {
                insist(REVERT_TIMEOUT, move || {
                    let (attempt, base) = (attempt.clone(), base.clone());
                    async move {
                        let outcome = base.db.submit(attempt.take_back(), Urgency::Usual).await;
                        matches!(outcome, Ok(_) | Err(DbError::Lost(_)))
                    }
                });
            }
        });
    }

    /// The statements that revert the count.
    pub fn take_back(&self) -> Vec<Statement> {
        let keys = std::iter::once(&self.name).chain(&self.address);
        keys.map(|key| store::take_back(key)).collect()
    }
}

impl Config {
    fn locks(&self) -> store::Locks {
        store::Locks {
            most: self.max_failures,
            most_per_address: self.max_failures_per_address,
            first: Millis::from(self.lock_seconds) * SECOND,
            forever_at: MAX_FAILURES,
            forever: FOREVER,
        }
    }
}

impl Accounts {
    pub(super) async fn list_lockouts(&self, _: Call, op: ListLockouts) -> Result<LockoutList> {
        let page = Page::new(op.cursor.as_deref(), op.limit)?;
        let lockouts = store::list(self.base.db.as_ref(), &page, op.all, self.base.now(), &self.config.locks()).await?;
        let (lockouts, next_cursor) = page.cut(lockouts, |lockout| lockout.id.clone());
        Ok(LockoutList { lockouts, next_cursor })
    }

    pub(super) async fn clear_lockout(&self, call: Call, op: ClearLockout) -> Result<Done> {
        let key = match op.id.split_once(':') {
            Some(("name", name)) => Some(format!("name:{}", names::fold(name))),
            Some(("address", address)) => {
                address.parse().ok().map(|address| format!("address:{}", network::of(address)))
            }
            _ => None,
        };
        let key = key.ok_or_else(|| Error::field("id", "expected name:NAME or address:ADDRESS"))?;
        let cleared = Statement { expect: Expect::Rows(1), ..store::clear(&key) };
        match self.base.ledger.commit(&call, Change::new(ClearLockout::INFO.name, &key).with([cleared])).await {
            Ok(_) => Ok(Done::default()),
            Err(Refused::ExpectationFailed(store::CLEARED)) => Err(Error::not_found("lock-out")),
            Err(refused) => Err(refused.into()),
        }
    }
}
