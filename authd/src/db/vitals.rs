//! What an engine met while it worked: damage, and commits that could not be done. `/health` reports it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::DbError;

/// A failed commit is reported for this long, even if others have succeeded since.
const REPORTED: Duration = Duration::from_secs(10);

/// The state of an engine. Recording a commit takes no lock.
#[derive(Debug)]
pub struct Vitals {
    begun: Instant,
    /// What is damaged, as it was first met. It stays until the restart, which checks the whole database.
    damage: OnceLock<String>,
    /// Whether the last commit failed.
    is_failing: AtomicBool,
    /// Milliseconds after `begun` of the last failure; zero if there was none.
    failed_at: AtomicU64,
}

impl Default for Vitals {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            damage: OnceLock::new(),
            is_failing: AtomicBool::new(false),
            failed_at: AtomicU64::new(0),
        }
    }
}

impl Vitals {
    /// Records the end of a commit. An expectation that was not met is a commit that worked.
    pub fn record<T>(&self, end: &Result<T, DbError>) {
        match end {
            Err(error) if error.is_unavailable() => self.set_failed(),
            _ if self.is_failing.load(Ordering::Relaxed) => self.is_failing.store(false, Ordering::Relaxed),
            _ => {}
        }
    }

    /// A commit failed, or its caller waited in vain.
    pub fn set_failed(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.failed_at.store(now.max(1), Ordering::Relaxed);
        self.is_failing.store(true, Ordering::Relaxed);
    }

    /// Whether commits succeed: the last one did, and no recent one failed.
    pub fn can_write(&self) -> bool {
        let failed_at = self.failed_at.load(Ordering::Relaxed);
        let is_recent = failed_at > 0 && self.begun.elapsed() < Duration::from_millis(failed_at) + REPORTED;
        !is_recent && !self.is_failing.load(Ordering::Relaxed)
    }

    /// Something in the database is damaged.
    pub fn set_damaged(&self, what: &str) {
        if self.damage.set(what.to_owned()).is_ok() {
            tracing::error!(what, "the database is damaged: stop authd and restore the backup");
        }
    }

    pub fn damage(&self) -> Option<&str> {
        self.damage.get().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_commit_is_reported_although_others_succeed() {
        let vitals = Vitals::default();
        vitals.record(&Err::<(), _>(DbError::ExpectationFailed("a conflict is no failure")));
        assert!(vitals.can_write());
        vitals.record(&Err::<(), _>(DbError::Late("a commit")));
        vitals.record(&Ok(()));
        assert!(!vitals.can_write(), "the failure is recent");
        vitals.failed_at.store(0, Ordering::Relaxed);
        assert!(vitals.can_write(), "the failure is long past");
        vitals.is_failing.store(true, Ordering::Relaxed);
        assert!(!vitals.can_write(), "nothing has succeeded since");
    }
}
