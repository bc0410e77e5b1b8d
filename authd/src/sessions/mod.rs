//! Sessions: one table for all kinds, and one of identities.
//!
//! Invariants: an ended session never becomes live again; every update of a session requires in the same statement that
//! it is live, so that an end and a renewal cannot both succeed; ending deletes the provider's tokens at once; only the
//! hash of a session token is stored; an end is visible to this node's next check before it is answered.

pub mod lookup;
pub mod model;
mod ops;
pub mod signed;
pub mod store;
#[cfg(test)]
pub mod tests;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shared::api::sessions::SessionKind;
use tokio::sync::Notify;

pub use self::lookup::{Found, LiveSession};
pub use self::ops::person;
use crate::base::Base;
use crate::cache::{ALLOCATION, Cache};
use crate::env::{HOUR, MINUTE, Millis, SECOND};
use crate::registry::Registry;
use crate::setting::Faults;
use crate::users::Users;

/// Bytes of cached sessions: about 200,000, with names of usual length.
const CACHE_BYTES: u64 = 64 << 20;
/// Maximum number of sessions that are read or renewed concurrently, so that a flood of unknown tokens does not block
/// the database.
const READS: usize = 64;

/// `[sessions]`: lifetimes of login sessions.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `TOKEN_TTL_SECONDS`: a session ends after this long without a check, 10 to 86,400.
    pub ttl_seconds: u32,
    /// The same for people who have a permission of authd itself, if it is longer: operators read and think between two
    /// commands. Up to 86,400.
    pub operator_ttl_seconds: u32,
    /// `TOKEN_RENEW_THRESHOLD_SECONDS`: a check renews a session that was last renewed at least this long ago.
    pub renew_threshold_seconds: u32,
    /// A session ends after this long even if it is used.
    pub max_seconds: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { ttl_seconds: 300, operator_ttl_seconds: 3_600, renew_threshold_seconds: 30, max_seconds: 12 * 3600 }
    }
}

impl Config {
    pub fn check(&self, faults: &mut Faults) {
        faults.require(
            (10..=86_400).contains(&self.ttl_seconds),
            "sessions.ttl_seconds (TOKEN_TTL_SECONDS) must be from 10 to 86400",
        );
        faults.require(self.operator_ttl_seconds <= 86_400, "sessions.operator_ttl_seconds must be at most 86400");
        faults.require(
            self.renew_threshold_seconds < self.ttl_seconds,
            "sessions.renew_threshold_seconds (TOKEN_RENEW_THRESHOLD_SECONDS) must be less than sessions.ttl_seconds",
        );
        faults.require(
            self.max_seconds >= self.ttl_seconds && self.max_seconds <= 7 * 86_400,
            "sessions.max_seconds must be from sessions.ttl_seconds to 604800",
        );
    }
}

/// Whether the text has the form of a session token, opaque or signed.
pub fn is_token(text: &str) -> bool {
    lookup::is_opaque(text) || signed::is_signed(text)
}

/// The lifetimes of the sessions of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub idle: Millis,
    pub threshold: Millis,
    pub max: Millis,
}

/// A browser's session.
pub const WEB: Limits = Limits { idle: HOUR, threshold: MINUTE, max: 12 * HOUR };

#[derive(Debug)]
pub struct Sessions {
    base: Base,
    users: Arc<Users>,
    /// Of login sessions.
    login: Limits,
    /// The same, of people who have a permission of authd.
    operator: Limits,
    /// The `iss` of signed tokens: the public URL.
    issuer: String,
    cache: Cache<LiveSession>,
    /// Notified when a device session has ended and the outbox has a row.
    pub device_ended: Notify,
}

impl Sessions {
    pub fn new(base: &Base, config: &Config, issuer: &str, users: Arc<Users>) -> Arc<Self> {
        let seconds = |seconds: u32| Millis::from(seconds) * SECOND;
        let heap_bytes = |live: &LiveSession| live.username.len() + live.name.len() + 2 * ALLOCATION;
        let login = Limits {
            idle: seconds(config.ttl_seconds),
            threshold: seconds(config.renew_threshold_seconds),
            max: seconds(config.max_seconds),
        };
        let this = Arc::new(Self {
            base: base.clone(),
            users,
            login,
            operator: Limits { idle: login.idle.max(seconds(config.operator_ttl_seconds)), ..login },
            issuer: issuer.to_owned(),
            cache: Cache::new(CACHE_BYTES, base.ledger.trust(), READS, heap_bytes),
            device_ended: Notify::new(),
        });
        base.ledger.subscribe(&this);
        this
    }

    /// The lifetimes of a person's session of this kind.
    pub fn limits(&self, kind: SessionKind, is_operator: bool) -> Limits {
        match (kind, is_operator) {
            (SessionKind::Web, _) => WEB,
            (_, true) => self.operator,
            (_, false) => self.login,
        }
    }

    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.add(self, Self::whoami);
        registry.add(self, Self::logout);
        registry.add(self, Self::show);
        registry.add(self, Self::end_this);
        registry.add(self, Self::profile);
        registry.add(self, Self::list);
        registry.add(self, Self::list_own);
        registry.add(self, Self::end);
        registry.add(self, Self::end_own);
        registry.add(self, Self::end_all_own);
        registry.add(self, Self::end_all);
    }
}
