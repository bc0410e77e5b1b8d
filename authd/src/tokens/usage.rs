//! When tokens were last used: marked off the hot path, a batch at a time, within a budget of writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use shared::id::TokenId;
use tokio::sync::mpsc;
use tracing::warn;
use uuid::Uuid;

use super::store;
use crate::db::Db;
use crate::world::Millis;

/// Marks that may wait; more are dropped, and made again at the next use.
pub const QUEUE: usize = 2048;
/// Rows written in one batch, and at most in one [`PAUSE`]: what a flood of different tokens may cost.
const ROWS: usize = 500;
const PAUSE: Duration = Duration::from_secs(1);

/// A token was used.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    pub token_id: Uuid,
    pub at: Millis,
}

/// Marks on their way to the database.
#[derive(Debug)]
pub struct Marks(mpsc::Receiver<Mark>);

impl Marks {
    pub(super) fn new(receiver: mpsc::Receiver<Mark>) -> Self {
        Self(receiver)
    }

    /// How many wait.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.0.len()
    }

    /// Writes marks until `stop` resolves, then what is left.
    pub async fn run(mut self, db: Arc<dyn Db>, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut marks = Vec::with_capacity(ROWS);
        loop {
            let stopping = tokio::select! {
                received = self.0.recv_many(&mut marks, ROWS) => received == 0,
                () = &mut stop => true,
            };
            if stopping {
                while let Ok(mark) = self.0.try_recv() {
                    marks.push(mark);
                }
            }
            self.write(db.as_ref(), &mut marks).await;
            if stopping {
                return;
            }
            // Let uses of the next moment gather: one commit then carries many.
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = &mut stop => {
                    while let Ok(mark) = self.0.try_recv() {
                        marks.push(mark);
                    }
                    self.write(db.as_ref(), &mut marks).await;
                    return;
                }
            }
        }
    }

    /// A mark that cannot be written is lost: it is a hint, not a truth.
    async fn write(&mut self, db: &dyn Db, marks: &mut Vec<Mark>) {
        let mut latest: HashMap<Uuid, Millis> = HashMap::with_capacity(marks.len());
        for mark in marks.drain(..) {
            let at = latest.entry(mark.token_id).or_insert(mark.at);
            *at = mark.at.max(*at);
        }
        if latest.is_empty() {
            return;
        }
        let batch = store::mark_used(latest.into_iter().map(|(id, at)| (TokenId(id), at)));
        if let Err(error) = db.commit(batch).await {
            warn!(%error, "the last uses of some tokens could not be written");
        }
    }
}
