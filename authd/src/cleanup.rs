//! The periodic cleanup: expired rows are deleted, a bounded number at a time.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::base::Base;
use crate::db::{Db, DbError, sweep};
use crate::env::{DAY, HOUR, Millis, SECOND, SKEW};
use crate::{accounts, audit, ephemeral, mail, sessions, tokens};

const PAUSE: Duration = Duration::from_secs(60);
/// Pause after a turn that left rows, so that the sweep keeps up with a flood of rows.
const HURRY: Duration = Duration::from_secs(1);
/// Maximum number of rows per kind and turn.
const ROWS: u64 = 5_000;
/// How long an invalidation is kept for other nodes to read.
const INVALIDATION_LIFE: i64 = HOUR;
/// How long lists show expired sessions.
const SESSION_LIFE: i64 = 30 * DAY;

/// After the clock was set, nothing is deleted for this long: by a clock that is wrong for a while, everything has expired.
const HOLD: Duration = Duration::from_hours(1);
/// The same after the start: a machine may begin with a wrong clock, which is soon set.
const HOLD_AT_START: Duration = Duration::from_mins(10);

/// Notices that the wall clock was set, by the monotonic one.
struct Steadiness {
    wall: Millis,
    at: Instant,
    hold_until: Instant,
}

impl Steadiness {
    fn new(now: Millis) -> Self {
        let at = Instant::now();
        Self { wall: now, at, hold_until: at + HOLD_AT_START }
    }

    /// Whether the clock was steady for long enough.
    fn is_steady(&mut self, now: Millis) -> bool {
        let passed = Millis::try_from(self.at.elapsed().as_millis()).unwrap_or(Millis::MAX);
        let jump = now.saturating_sub(self.wall).saturating_sub(passed);
        (self.wall, self.at) = (now, Instant::now());
        if jump.abs() > SKEW {
            warn!(seconds = jump / SECOND, "the clock was set: expired rows are kept for an hour");
            self.hold_until = self.at + HOLD;
        }
        self.at >= self.hold_until
    }
}

/// Sweeps once a minute, more often while there is more, until `stop` resolves.
pub async fn run(base: Base, stop: impl Future<Output = ()>) {
    tokio::pin!(stop);
    let mut pause = PAUSE;
    let mut slice = 0_u8;
    let mut clock = Steadiness::new(base.now());
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = &mut stop => return,
        }
        let now = base.now();
        if !clock.is_steady(now) {
            pause = PAUSE;
            continue;
        }
        pause = match sweep_all(base.db.as_ref(), slice, now).await {
            Ok(most) if most >= ROWS => HURRY,
            Ok(_) => {
                slice = slice.wrapping_add(1);
                PAUSE
            }
            Err(error) => {
                warn!(%error, "expired rows could not be deleted; the next turn tries again");
                PAUSE
            }
        };
    }
}

/// One turn. Returns the largest number of rows of a kind that were deleted: [`ROWS`] if there may be more.
async fn sweep_all(db: &dyn Db, slice: u8, now: Millis) -> Result<u64, DbError> {
    let mut most = sweep::idempotency(db, slice, now, ROWS).await?;
    let (attempts, kept) = accounts::SWEEP_ATTEMPTS;
    for (delete, moment) in [
        (sweep::INVALIDATIONS, now - INVALIDATION_LIFE),
        (sessions::store::SWEEP, now - SESSION_LIFE),
        (attempts, now - kept),
        (accounts::SWEEP_LINKS, now),
        (accounts::SWEEP_PENDING, now),
        (tokens::SWEEP_SECRETS, now - tokens::SECRET_KEPT),
        (ephemeral::db::SWEEP, now),
        (mail::SWEEP, now - mail::KEPT),
        (mail::SWEEP_FAILED, mail::failed_end(db, now).await?),
        (audit::SWEEP_REFUSALS, audit::refusals_end(db, now).await?),
    ] {
        most = most.max(sweep::expired(db, delete, moment, ROWS).await?);
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::caller::Caller;
    use crate::db::{Query, Statement};
    use crate::testing::TestApp;

    const FILL: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) \
         INSERT INTO audit (id, at, actor, action, outcome, detail) \
         SELECT 'fill-' || i, CAST($2 AS BIGINT) + i, 'anonymous', 'sessions.login', 'refused', '{}' FROM n";

    async fn rows(app: &TestApp, sql: &'static str) -> i64 {
        app.base.db.query(Query::new(sql, [])).await.unwrap()[0].cursor().int().unwrap()
    }

    const REFUSALS: &str = "SELECT COUNT(*) FROM audit WHERE actor = 'anonymous' AND outcome <> 'ok'";
    const OTHERS: &str = "SELECT COUNT(*) FROM audit WHERE actor <> 'anonymous' OR outcome = 'ok'";

    #[tokio::test]
    async fn failed_logins_are_kept_for_90_days_and_everything_else_for_good() {
        let app = TestApp::new().await;
        let user = app.user("alice", "correct horse battery").await;
        let guess = json!({ "username": "alice", "password": "wrong" });
        app.call_as(Caller::Anonymous, "sessions.login", guess.clone()).await.unwrap_err();
        let token = app.call("sessions.login", json!({ "username": "alice", "password": "correct horse battery" }));
        let token = token.await.unwrap()["token"].as_str().unwrap().to_owned();
        let alice = app.caller(&token).await.unwrap();
        let change = json!({ "password": "wrong", "new_password": "another horse battery" });
        app.call_as(alice, "sessions.change_password", change).await.unwrap_err();
        app.call("users.update", json!({ "id": user, "name": "Alice" })).await.unwrap();
        assert_eq!((rows(&app, REFUSALS).await, rows(&app, OTHERS).await), (1, 3));

        app.clock.advance(89 * DAY);
        app.call_as(Caller::Anonymous, "sessions.login", guess.clone()).await.unwrap_err();
        // The last row stays, so that its number is not used again.
        app.call("users.update", json!({ "id": user, "name": "Alice B" })).await.unwrap();
        let others = rows(&app, OTHERS).await;
        let db = app.base.db.as_ref();
        for (days, left) in [(0, 2), (1, 1), (88, 1), (1, 0)] {
            app.clock.advance(days * DAY);
            sweep_all(db, 0, app.env.now()).await.unwrap();
            assert_eq!((rows(&app, REFUSALS).await, rows(&app, OTHERS).await), (left, others), "{days}");
        }
        // Whatever a statement of ours says.
        for statement in ["DELETE FROM audit", "UPDATE audit SET actor = 'anonymous', outcome = 'refused'"] {
            assert!(db.commit(vec![Statement::any("test", statement, [])]).await.is_err(), "{statement}");
        }
        let listed = app.call("audit.list", json!({})).await.unwrap();
        assert_eq!(listed["entries"].as_array().map(Vec::len), usize::try_from(others).ok(), "{listed}");
        assert_eq!(listed["next_cursor"], Value::Null);
    }

    #[tokio::test]
    async fn failed_logins_are_kept_up_to_a_number_and_deleted_in_bounded_steps() {
        let app = TestApp::new().await;
        let (db, now) = (app.base.db.as_ref(), app.env.now());
        db.commit(vec![Statement::any("fill", FILL, [207_000.into(), (now - DAY).into()])]).await.unwrap();
        for (deleted, left) in [(ROWS, 202_000), (2_000, 200_000), (0, 200_000)] {
            assert_eq!((sweep_all(db, 0, now).await.unwrap(), rows(&app, REFUSALS).await), (deleted, left));
        }
        assert_eq!(rows(&app, "SELECT MIN(at) - (SELECT MAX(at) FROM audit) FROM audit").await, -199_999);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_deleted_by_a_clock_that_was_just_set() {
        let (mut now, mut clock) = (0, Steadiness::new(0));
        let mut after = async |millis: i64, jump: i64| {
            tokio::time::advance(Duration::from_millis(millis.unsigned_abs())).await;
            now += millis + jump;
            clock.is_steady(now)
        };
        assert!(!after(60_000, 0).await && !after(500_000, 0).await, "a machine may start with a wrong clock");
        assert!(after(60_000, 0).await && after(60_000, -500).await && after(3_600_000, 900).await);
        for jump in [365 * DAY, -365 * DAY, 2 * 60_000] {
            assert!(!after(60_000, jump).await);
            assert!(!after(1_800_000, 0).await && after(1_800_000, 0).await, "an hour later");
        }
    }
}
