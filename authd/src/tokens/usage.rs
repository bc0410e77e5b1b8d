//! When tokens were last used: written off the hot path, a batch at a time, within a budget of writes.

use std::collections::HashMap;
use std::time::Duration;

use shared::id::TokenId;
use tracing::warn;

use super::{Tokens, store};
use crate::env::Millis;

/// Uses that may wait; more are dropped, and noted again at the next use.
pub const QUEUE: usize = 2048;
/// Rows written in one batch, and at most in one [`PAUSE`]: what a flood of different tokens may cost.
const ROWS: usize = 500;
const PAUSE: Duration = Duration::from_secs(1);

/// A token and when it was used.
pub type Use = (TokenId, Millis);

impl Tokens {
    /// Writes last uses until `stop` resolves, then what is left.
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
            // Let uses of the next moment gather: one commit then carries many.
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

    /// How many uses wait to be written.
    #[cfg(test)]
    pub fn uses_waiting(&self) -> usize {
        self.uses_to_write.try_lock().unwrap().len()
    }

    /// What cannot be written is lost: it is a hint.
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
