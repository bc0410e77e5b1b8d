//! API tokens: scoped, hash-only, validated in microseconds.
//!
//! Invariants: only the SHA-256 of a token is stored; a malformed token is refused by its checksum without a look-up;
//! a revoke is visible to the next validate on this node before the revoke is answered; a failure of storage is never
//! an answer about a token; a caller cannot create, extend or rotate a token with permissions on authd that they lack.

mod idempotency;
mod list;
pub mod model;
mod ops;
mod scope_sets;
mod service_tokens;
pub(crate) mod store;
#[cfg(test)]
mod tests;
mod usage;
mod validate;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc};

use self::model::CachedToken;
pub use self::scope_sets::ScopeSets;
pub use self::service_tokens::revoke_of_service;
pub use self::store::{SECRET_KEPT, SWEEP_SECRETS};
use self::usage::Use;
pub use self::validate::{Found, Recalled, ValidationView, Validations};
use crate::base::Base;
use crate::cache::{self, ALLOCATION, Cache};
use crate::registry::Registry;
use crate::setting::Faults;

/// Maximum number of tokens that are read from the database concurrently: half of the default pool of PostgreSQL, so
/// that a flood of unknown tokens leaves connections for changes.
const READS: usize = 8;

/// `[tokens]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The prefix of every token; letters, digits and `_`.
    pub prefix: String,
    /// Also look up tokens without a checksum, which were imported from another system.
    pub accept_unchecked: bool,
    /// Minimum seconds between two updates of a token's last use.
    pub last_used_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { prefix: "amp_live_".into(), accept_unchecked: false, last_used_seconds: 60 }
    }
}

impl Config {
    pub fn check(&self, faults: &mut Faults) {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        faults.require(
            (1..=32).contains(&self.prefix.len()) && self.prefix.bytes().all(is_word),
            "tokens.prefix (TOKEN_PREFIX) must be 1 to 32 letters, digits or underscores",
        );
        faults.require(
            (1..=86_400).contains(&self.last_used_seconds),
            "tokens.last_used_seconds must be from 1 to 86400",
        );
    }
}

#[derive(Debug)]
pub struct Tokens {
    base: Base,
    config: Config,
    cache: Cache<CachedToken>,
    scope_sets: ScopeSets,
    uses: mpsc::Sender<Use>,
    uses_to_write: Mutex<mpsc::Receiver<Use>>,
    validations: Validations,
}

impl Tokens {
    pub fn new(base: &Base, config: Config, cache: &cache::Config, validations: Validations) -> Arc<Self> {
        let (uses, uses_to_write) = mpsc::channel(usage::QUEUE);
        let heap_bytes = |token: &CachedToken| {
            // A set of scopes that nobody shares is the token's own: as a list, as JSON and as text.
            let own_scopes = if Arc::strong_count(&token.scopes) == 1 { 3 * token.scopes.json.get().len() } else { 0 };
            let cidrs = size_of_val(&*token.cidrs) + ALLOCATION * usize::from(!token.cidrs.is_empty());
            token.name.len() + ALLOCATION + cidrs + own_scopes
        };
        let this = Arc::new(Self {
            base: base.clone(),
            config,
            cache: Cache::new(cache.max_bytes, base.ledger.trust(), READS, heap_bytes),
            scope_sets: ScopeSets::default(),
            uses,
            uses_to_write: Mutex::new(uses_to_write),
            validations,
        });
        base.ledger.subscribe(&this);
        this
    }

    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.add_hot(self, Self::validate_now, Self::validate);
        registry.add(self, Self::create);
        registry.add(self, Self::list);
        registry.add(self, Self::show);
        registry.add(self, Self::revoke);
        registry.add(self, Self::extend);
        registry.add(self, Self::rotate);
    }
}
