//! Sessions: one table with kinds, one of identities.
//!
//! Invariants: a session that has ended never comes back; whoever changes one says in the same statement that it must
//! still be alive, so that an end and a renewal cannot both win; ending forgets the provider's tokens at once; of a
//! session's token only the hash is stored; an end is visible to this node's next check before it is answered.

pub mod lookup;
pub mod model;
mod ops;
pub mod store;
#[cfg(test)]
pub mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

pub use self::lookup::{Found, LiveSession, is_token};
pub use self::ops::person;
use crate::base::Base;
use crate::cache::{ALLOCATION, Cache};
use crate::env::{Millis, SECOND};
use crate::registry::Registry;
use crate::users::Users;

/// Bytes of cached sessions: 200,000 of them, with names of the usual length.
const CACHE_BYTES: u64 = 64 << 20;
/// Different sessions that are read or renewed at the same time, at most: a flood of unknown tokens leaves the
/// database to others.
const READS: usize = 64;

/// `[sessions]`: how long login sessions live.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `TOKEN_TTL_SECONDS`: a session ends after this long without a check, 10 to 86,400.
    pub ttl_seconds: u32,
    /// `TOKEN_RENEW_THRESHOLD_SECONDS`: a check renews what was last renewed at least this long ago.
    pub renew_threshold_seconds: u32,
    /// A session ends after this long in any case.
    pub max_seconds: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { ttl_seconds: 300, renew_threshold_seconds: 30, max_seconds: 12 * 3600 }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub idle: Millis,
    pub threshold: Millis,
    pub max: Millis,
}

#[derive(Debug)]
pub struct Sessions {
    base: Base,
    users: Arc<Users>,
    pub limits: Limits,
    cache: Cache<LiveSession>,
    /// A device session has ended: there is something in the outbox.
    pub device_ended: Notify,
}

impl Sessions {
    pub fn new(base: &Base, config: &Config, users: Arc<Users>) -> Arc<Self> {
        let seconds = |seconds: u32| Millis::from(seconds) * SECOND;
        let heap_bytes = |live: &LiveSession| live.username.len() + live.name.len() + 2 * ALLOCATION;
        let this = Arc::new(Self {
            base: base.clone(),
            users,
            limits: Limits {
                idle: seconds(config.ttl_seconds),
                threshold: seconds(config.renew_threshold_seconds),
                max: seconds(config.max_seconds),
            },
            cache: Cache::new(CACHE_BYTES, base.ledger.trust(), READS, heap_bytes),
            device_ended: Notify::new(),
        });
        base.ledger.subscribe(&this);
        this
    }

    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.add(self, Self::whoami);
        registry.add(self, Self::logout);
        registry.add(self, Self::profile);
        registry.add(self, Self::list);
        registry.add(self, Self::list_own);
        registry.add(self, Self::end);
        registry.add(self, Self::end_own);
        registry.add(self, Self::end_all);
    }
}
