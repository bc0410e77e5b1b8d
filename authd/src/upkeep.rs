//! What has to be done now and then: rows that have ended are swept, a bounded number at a time.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::app::App;
use crate::db::sweep;
use crate::ephemeral;
use crate::sessions;
use crate::world::{DAY, HOUR};

const PAUSE: Duration = Duration::from_secs(60);
/// Rows per kind and turn.
const ROWS: u64 = 5_000;
/// How long other nodes have to read an invalidation.
const INVALIDATION_LIFE: i64 = HOUR;
/// How long lists still show sessions that expired.
const SESSION_LIFE: i64 = 30 * DAY;

/// Sweeps once a minute until `stop` resolves.
pub async fn run(app: Arc<App>, stop: impl Future<Output = ()>) {
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = &mut stop => return,
        }
        let (db, now) = (app.db.as_ref(), app.world.now());
        let swept = async {
            sweep::idempotency(db, now, ROWS).await?;
            sweep::invalidations(db, now - INVALIDATION_LIFE, ROWS).await?;
            sessions::store::sweep(db, now - SESSION_LIFE, ROWS).await?;
            ephemeral::db::sweep(db, now, ROWS).await
        };
        if let Err(error) = swept.await {
            warn!(%error, "rows that have ended could not be swept; the next turn tries again");
        }
    }
}
