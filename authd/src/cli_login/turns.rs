//! One at a time per device session, within this process. Across processes the session's lease does the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shared::id::SessionId;
use tokio::sync::OwnedMutexGuard;

use crate::error::{Error, Result};

/// How long one waits for the others: longer than a renewal can take, unless several fail before.
const PATIENCE: Duration = Duration::from_secs(20);
/// Above this many sessions at once, those that nobody waits for are forgotten.
const TIDY: usize = 256;

#[derive(Debug, Default)]
pub struct Turns(Mutex<HashMap<SessionId, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits for the turn of a session; it ends when the answer is dropped.
    pub async fn take(&self, session: SessionId) -> Result<OwnedMutexGuard<()>> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if turns.len() >= TIDY {
                turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            }
            turns.entry(session).or_default().clone()
        };
        let waiting = tokio::time::timeout(PATIENCE, turn.lock_owned()).await;
        waiting.map_err(|late| {
            Error::unavailable("this device is being renewed already and it takes long; try again", late)
        })
    }
}
