//! The last uses of tokens, written outside of the hot path in batches, within a budget of writes.

use std::collections::HashMap;
use std::time::Duration;

use shared::id::TokenId;
use tracing::warn;

use super::{Tokens, store};
use crate::env::Millis;

/// Maximum number of waiting uses; others are dropped, and recorded at the next use.
pub const QUEUE: usize = 2048;
/// Maximum number of rows in a batch and in a [`PAUSE`], which bounds the cost of a flood of different tokens.
const ROWS: usize = 500;
const PAUSE: Duration = Duration::from_secs(1);

/// A token and when it was used.
pub type Use = (TokenId, Millis);

impl Tokens {
    /// Writes last uses until `stop` resolves, then the remaining ones.
    pub async fn write_last_uses(&self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut receiver = self.uses_to_write.lock().await;
        let mut uses = Vec::with_capacity(ROWS);
        loop {
            tokio::select! {
                _ = receiver.recv_many(&mut uses, ROWS) => {}
                () = &mut stop => break,
            }
            self.write(&mut uses).await;
            // A pause collects more uses, so that one commit writes many.
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = &mut stop => break,
            }
        }
        while let Ok(used) = receiver.try_recv() {
            uses.push(used);
        }
        self.write(&mut uses).await;
    }

    /// The number of waiting uses.
    #[cfg(test)]
    pub fn uses_waiting(&self) -> usize {
        self.uses_to_write.try_lock().unwrap().len()
    }

    /// A failed write loses the uses, which are only hints.
    async fn write(&self, uses: &mut Vec<Use>) {
        if uses.is_empty() {
            return;
        }
        // Two secrets of one token mark separately, in any order.
        let mut latest: HashMap<TokenId, Millis> = HashMap::new();
        for (token, at) in uses.drain(..) {
            let last = latest.entry(token).or_default();
            *last = at.max(*last);
        }
        if let Err(error) = self.base.db.commit(store::mark_used(latest)).await {
            warn!(%error, "the last uses of some tokens could not be written");
        }
    }
}
