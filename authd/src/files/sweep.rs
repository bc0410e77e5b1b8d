//! Removes objects that belong to no file: what uploads left that did not end, and the content of deleted files.

use std::sync::Arc;
use std::time::Duration;

use shared::id::FileId;

use super::{Files, store};
use crate::env::{MINUTE, Millis, SECOND};
use crate::error::Result;

/// The pause between two sweeps.
const PAUSE: Duration = Duration::from_secs(10);
/// The most objects of one sweep.
const MOST: i64 = 100;
/// When an object is tried again whose removal failed, and when an upload's is looked at again after its removal: a write
/// that was under way may end after it.
const AGAIN: Millis = 30 * SECOND;

impl Files {
    /// Until when an upload that begins now has to be complete.
    pub(super) fn reserved_until(&self) -> Millis {
        self.base.now() + 2 * self.life()
    }

    fn life(&self) -> Millis {
        Millis::try_from(self.config.upload_seconds).unwrap_or(Millis::MAX / (4 * SECOND)) * SECOND
    }

    /// Removes what is left until `stop` resolves.
    pub async fn sweep(self: &Arc<Self>, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            match self.sweep_once().await {
                Ok(most) if most >= MOST => continue,
                Ok(_) => {}
                Err(error) => {
                    let error = error.source_text().map(|source| source.to_string()).unwrap_or(error.detail);
                    tracing::warn!(
                        error,
                        "objects of files that are gone could not be removed; the next turn tries again"
                    );
                }
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = self.left.notified() => {}
                () = &mut stop => return,
            }
        }
    }

    /// Returns how many objects were to be removed.
    pub(super) async fn sweep_once(&self) -> Result<i64> {
        let now = self.base.now();
        let latest = now + (2 * self.life()).max(AGAIN) + MINUTE;
        let (db, mut failed) = (self.base.db.as_ref(), None);
        let due = store::claim_due(db, now, latest, now + AGAIN, MOST).await?;
        for (key, is_upload) in &due {
            match self.objects.remove(&key.to_string(), *is_upload).await {
                Ok(()) => store::removed(db, *key).await?,
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(i64::try_from(due.len()).unwrap_or(MOST)), Err)
    }

    /// Removes the object of an upload that will not be completed; if that fails, the sweep does it.
    pub(super) async fn discard(&self, key: FileId) {
        let discarded: Result<()> = async {
            if store::claim(self.base.db.as_ref(), key, self.base.now() + AGAIN).await? {
                self.objects.remove(&key.to_string(), true).await?;
            }
            Ok(())
        }
        .await;
        if let Err(error) = discarded {
            tracing::debug!(%key, code = error.code.as_str(), "an upload's object is left to the sweep");
        }
    }
}
