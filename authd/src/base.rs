//! The parts that every module uses.

use std::sync::Arc;

use crate::cache::CacheTrust;
use crate::db::Db;
use crate::env::{Env, Millis};
use crate::ephemeral::Ephemeral;
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
}

impl Base {
    /// `is_shared`: other nodes may change the same rows.
    pub fn new(env: Env, db: Arc<dyn Db>, keys: Arc<KeyRing>, ephemeral: Arc<dyn Ephemeral>, is_shared: bool) -> Self {
        let ledger = Arc::new(Ledger::new(db.clone(), env.clone(), CacheTrust::new(is_shared)));
        Self { env, db, ledger, keys, ephemeral }
    }

    pub fn now(&self) -> Millis {
        self.env.now()
    }
}
