//! API tokens: scoped, hash-only, validated in microseconds.
//!
//! Invariants: of a token only its SHA-256 is stored; a malformed token is refused by its checksum without a look-up;
//! a revoke is visible to the next validate on this node before the revoke is answered; a failure of storage is never
//! an answer about a token; nobody mints, extends or rotates a token that may do more on authd than they may.

pub mod cache;
pub mod model;
mod ops;
mod service_tokens;
pub(crate) mod store;
#[cfg(test)]
mod tests;
mod usage;
mod validate;

use tokio::sync::{Mutex, Semaphore, mpsc};

use shared::id::TokenId;

use self::cache::Cache;
pub(crate) use self::ops::revoke_as;
pub(crate) use self::service_tokens::{
    ServiceGrant, create_for_service, list_of_service, revoke_for_service, revoke_of_service,
};
pub(crate) use self::store::{SECRET_KEPT, SWEEP_SECRETS, split};
pub use self::usage::Marks;
pub(crate) use self::validate::{FAULTS, Found, Known};
use crate::cache::CacheTrust;
use crate::config::Config;
use crate::ledger::Invalidation;
use crate::registry::Registry;

/// Different tokens that are read from the database at the same time, at most: half of the default pool of
/// PostgreSQL, so that a flood of unknown tokens leaves connections for changes.
const READS: usize = 8;
/// Misses of the same token, and of those that share its lane, wait for one another.
const LANES: usize = 256;

/// The kind of the invalidations of tokens; their subject is the token's id.
const INVALIDATION: &str = "token";

/// A token has changed.
pub(crate) fn invalidation(token_id: TokenId) -> Invalidation {
    Invalidation::One(INVALIDATION, token_id.to_string())
}

/// The room's state.
#[derive(Debug)]
pub struct Tokens {
    prefix: String,
    accept_unchecked: bool,
    mark_seconds: u64,
    cache: Cache,
    /// One read of a token at a time; the others find it in the cache afterwards.
    lanes: Box<[Mutex<()>]>,
    reads: Semaphore,
    marks: mpsc::Sender<usage::Mark>,
}

impl Tokens {
    /// The marks are for the daemon's background task, [`Marks::run`].
    pub fn new(config: &Config, trust: CacheTrust) -> (Self, Marks) {
        let (marks, receiver) = mpsc::channel(usage::QUEUE);
        let tokens = Self {
            prefix: config.tokens.prefix.clone(),
            accept_unchecked: config.tokens.accept_unchecked,
            mark_seconds: config.tokens.last_used_seconds.max(1),
            cache: Cache::on(cache::Tokens::new(config.cache.max_bytes), trust),
            lanes: (0..LANES).map(|_| Mutex::new(())).collect(),
            reads: Semaphore::new(READS),
            marks,
        };
        (tokens, Marks::new(receiver))
    }
}

pub fn register(registry: &mut Registry) {
    registry.add_direct(|ctx, op| validate::validate_cached(&ctx.app, op), validate::validate);
    registry.add(ops::create);
    registry.add(ops::list);
    registry.add(ops::show);
    registry.add(ops::revoke);
    registry.add(ops::extend);
    registry.add(ops::rotate);
}
