//! The periodic cleanup: expired rows are deleted, a bounded number at a time.

use std::time::Duration;

use tracing::warn;

use crate::base::Base;
use crate::db::{DbError, sweep};
use crate::env::{DAY, HOUR};
use crate::{accounts, ephemeral, sessions, tokens};

const PAUSE: Duration = Duration::from_secs(60);
/// Pause after a turn that left rows, so that the sweep keeps up with a flood of rows.
const HURRY: Duration = Duration::from_secs(1);
/// Maximum number of rows per kind and turn.
const ROWS: u64 = 5_000;
/// How long an invalidation is kept for other nodes to read.
const INVALIDATION_LIFE: i64 = HOUR;
/// How long lists show expired sessions.
const SESSION_LIFE: i64 = 30 * DAY;

/// Sweeps once a minute, more often while there is more, until `stop` resolves.
pub async fn run(base: Base, stop: impl Future<Output = ()>) {
    tokio::pin!(stop);
    let mut pause = PAUSE;
    let mut slice = 0_u8;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = &mut stop => return,
        }
        let (db, now) = (base.db.as_ref(), base.now());
        let swept = async {
            let mut most = sweep::idempotency(db, slice, now, ROWS).await?;
            let (attempts, kept) = accounts::SWEEP_ATTEMPTS;
            for (delete, moment) in [
                (sweep::INVALIDATIONS, now - INVALIDATION_LIFE),
                (sessions::store::SWEEP, now - SESSION_LIFE),
                (attempts, now - kept),
                (tokens::SWEEP_SECRETS, now - tokens::SECRET_KEPT),
                (ephemeral::db::SWEEP, now),
            ] {
                most = most.max(sweep::expired(db, delete, moment, ROWS).await?);
            }
            Ok::<_, DbError>(most)
        };
        pause = match swept.await {
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
