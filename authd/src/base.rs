//! The parts that every module uses.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::RwLock;

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
    /// Read by what runs to its end, written at the end of the daemon.
    running: Arc<RwLock<()>>,
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
        Self { env, db, ledger, keys, ephemeral, running: Arc::default() }
    }

    /// Runs a future to its end even if the caller disconnects.
    pub async fn to_its_end<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let running = self.running.clone().read_owned().await;
        let task = tokio::spawn(async move {
            let _running = running;
            future.await
        });
        task.await.map_err(Error::internal)?
    }

    /// Waits for what runs to its end; nothing new begins.
    pub async fn finish(&self, timeout: Duration) {
        if tokio::time::timeout(timeout, self.running.write()).await.is_err() {
            tracing::warn!("some logins or renewals did not end and are aborted");
        }
    }

    pub fn now(&self) -> Millis {
        self.env.now()
    }
}
