//! The parts that every module uses.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::background::Background;
use crate::cache::CacheTrust;
use crate::db::Db;
use crate::env::{Env, Millis};
use crate::ephemeral::Ephemeral;
use crate::error::{Error, Result};
use crate::keys::KeyRing;
use crate::ledger::Ledger;

/// The parts that every module uses. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Base {
    pub env: Env,
    /// For reads, and for the few writes that [`crate::ledger`] lists.
    pub db: Arc<dyn Db>,
    pub ledger: Arc<Ledger>,
    pub keys: Arc<KeyRing>,
    pub ephemeral: Arc<dyn Ephemeral>,
    pub background: Arc<Background>,
}

/// Requests that run to their end even if their clients disconnect, in the background: a bounded number, since no
/// connection bounds them.
#[derive(Debug)]
pub struct Detached {
    slots: Arc<Semaphore>,
    background: Arc<Background>,
}

/// Maximum number of detached requests of a kind.
const MOST_DETACHED: u32 = 1024;

impl Detached {
    pub fn new(background: &Arc<Background>) -> Self {
        Self { slots: Arc::new(Semaphore::new(MOST_DETACHED as usize)), background: background.clone() }
    }

    pub fn run<T: Send + 'static>(
        &self,
        request: impl Future<Output = Result<T>> + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send {
        // Some are large, and are passed on.
        let request = Box::pin(request);
        async move {
            let slot = self.slots.clone().try_acquire_owned();
            let slot = slot.map_err(|full| Error::unavailable("too many logins at the same time; try again", full))?;
            let request = async move {
                let _slot = slot;
                request.await
            };
            self.background.run_to_end(request).await.map_err(Error::internal)?
        }
    }

    /// Waits for the requests that still run.
    pub async fn finish(&self, timeout: Duration) {
        if tokio::time::timeout(timeout, self.slots.acquire_many(MOST_DETACHED)).await.is_err() {
            tracing::warn!("some logins or renewals did not end and are aborted");
        }
    }
}

/// Pauses of [`insist`]: the first, doubled up to the longest.
const INSIST_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Repeats work in the background until it is done (true) or `time` has passed: for what must be reverted after a
/// dependency failed, which fails as well until the dependency works again.
pub fn insist<Work: Future<Output = bool> + Send>(time: Duration, work: impl Fn() -> Work + Send + 'static) {
    tokio::spawn(tokio::time::timeout(time, async move {
        let (mut pause, longest) = INSIST_PAUSE;
        while !work().await {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }));
}

impl Base {
    /// `is_shared`: other nodes may change the same rows.
    pub fn new(env: Env, db: Arc<dyn Db>, keys: Arc<KeyRing>, ephemeral: Arc<dyn Ephemeral>, is_shared: bool) -> Self {
        let ledger = Arc::new(Ledger::new(db.clone(), env.clone(), CacheTrust::new(is_shared)));
        Self { env, db, ledger, keys, ephemeral, background: Arc::default() }
    }

    pub fn now(&self) -> Millis {
        self.env.now()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn, ready};
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn detached_requests_are_bounded_also_without_their_clients() {
        let detached = Detached::new(&Arc::default());
        for _ in 0..MOST_DETACHED {
            let mut request = Box::pin(detached.run(pending::<Result<()>>()));
            assert!(poll_fn(|context| Poll::Ready(request.as_mut().poll(context))).await.is_pending());
        }
        assert_eq!(detached.run(ready(Ok(()))).await.unwrap_err().code.as_str(), "unavailable");
    }
}
