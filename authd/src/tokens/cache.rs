//! The bounded cache of tokens in front of the database.
//!
//! Invariant: what a revoke, a rotation or an extension has removed cannot come back by a refill that read the
//! database before. Each shard has a generation: [`Cache::forget`] raises it, and a refill that started under an
//! older one is not stored. The check and the store are under the shard's lock, which hits never take.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use quick_cache::Weighter;
use quick_cache::sync;

use super::model::{Grant, Scopes, TokenHash};
use crate::error::Result;
use crate::world::Millis;

const SHARDS: usize = 64;
/// Bytes of JSON up to which a set of scopes counts as shared.
const FEW_SCOPES: usize = 256;
/// Unknown tokens that are remembered, so that asking again about one costs no look-up.
const UNKNOWN: usize = 4096;

/// A cached token with the minute at which its use was last marked.
#[derive(Debug)]
pub struct Cached {
    pub grant: Grant,
    pub marked: AtomicU32,
    /// When it was read, in seconds of the clock, cut to 32 bits.
    pub read_at: u32,
}

/// Bytes that an entry takes: itself, its allocations, and the cache's own bookkeeping.
#[derive(Clone, Debug)]
struct Bytes;

const SLOT: usize = size_of::<TokenHash>() + size_of::<Arc<Cached>>() + 32;

impl Weighter<TokenHash, Arc<Cached>> for Bytes {
    fn weight(&self, _: &TokenHash, cached: &Arc<Cached>) -> u64 {
        // Sets of scopes are few and shared, but nobody promises that: large ones weigh in with every token.
        let scopes = cached.grant.scopes.json().len();
        let scopes = if scopes > FEW_SCOPES { 3 * scopes } else { 0 };
        let heap = cached.grant.name_json.len() + size_of_val(&*cached.grant.cidrs) + scopes + 16;
        (SLOT + size_of::<Cached>() + 16 + heap) as u64
    }
}

/// The clock of [`Cached::read_at`].
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "ages are differences, and wrap")]
pub fn clock(now: Millis) -> u32 {
    (now / 1000) as u32
}

/// Proof that a refill began before its database read, and under which generation.
#[derive(Clone, Copy, Debug)]
pub struct Stamp(u64);

/// Tokens by the hash of their secret.
pub struct Cache {
    known: sync::Cache<TokenHash, Arc<Cached>, Bytes>,
    unknown: sync::Cache<TokenHash, ()>,
    generations: [Mutex<u64>; SHARDS],
    scopes: Mutex<HashMap<String, Weak<Scopes>>>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("tokens", &self.known.len()).finish_non_exhaustive()
    }
}

impl Cache {
    /// Holds at most this many bytes.
    pub fn new(max_bytes: u64) -> Self {
        let typical = SLOT + size_of::<Cached>() + 48;
        let items = usize::try_from(max_bytes).unwrap_or(usize::MAX) / typical;
        Self {
            // The estimate sizes bookkeeping that is allocated at once: a daemon that starts small stays small.
            known: sync::Cache::with_weighter(items.min(1_024), max_bytes, Bytes),
            unknown: sync::Cache::new(UNKNOWN),
            generations: std::array::from_fn(|_| Mutex::new(0)),
            scopes: Mutex::default(),
        }
    }

    pub fn find(&self, hash: &TokenHash) -> Option<Arc<Cached>> {
        self.known.get(hash)
    }

    /// Whether the database was asked about this token lately and did not know it.
    pub fn is_unknown(&self, hash: &TokenHash) -> bool {
        self.unknown.get(hash).is_some()
    }

    /// To be taken before the database is read.
    pub fn stamp(&self, hash: &TokenHash) -> Stamp {
        Stamp(*self.generation(hash))
    }

    /// Keeps what was read, unless it was forgotten meanwhile.
    pub fn refill(&self, stamp: Stamp, hash: TokenHash, cached: Option<&Arc<Cached>>) {
        let generation = self.generation(&hash);
        if *generation == stamp.0 {
            match cached {
                Some(cached) => self.known.insert(hash, cached.clone()),
                None => self.unknown.insert(hash, ()),
            }
        }
    }

    /// Forgets a token: when this returns, nobody sees what was cached of it before.
    pub fn forget(&self, hash: &TokenHash) {
        let mut generation = self.generation(hash);
        *generation += 1;
        self.known.remove(hash);
        self.unknown.remove(hash);
    }

    /// Forgets everything: for when it is not known what changed.
    pub fn forget_all(&self) {
        let mut all: Vec<MutexGuard<'_, u64>> =
            self.generations.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner)).collect();
        all.iter_mut().for_each(|generation| **generation += 1);
        self.known.clear();
        self.unknown.clear();
    }

    /// One shared value for each set of scopes that some cached token holds.
    pub fn scopes(&self, json: &str) -> Result<Arc<Scopes>> {
        let mut interned = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scopes) = interned.get(json).and_then(Weak::upgrade) {
            return Ok(scopes);
        }
        if interned.len() == interned.capacity() {
            interned.retain(|_, scopes| scopes.strong_count() > 0);
        }
        let scopes = Arc::new(Scopes::from_json(json)?);
        interned.insert(json.to_owned(), Arc::downgrade(&scopes));
        Ok(scopes)
    }

    fn generation(&self, hash: &TokenHash) -> MutexGuard<'_, u64> {
        self.generations[usize::from(hash[0]) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cached {
    /// Seconds since it was read.
    pub fn age(&self, now: Millis) -> u32 {
        clock(now).wrapping_sub(self.read_at)
    }

    /// Claims the marking of this minute: true for exactly one caller.
    pub fn claim(&self, minute: u32) -> bool {
        let marked = self.marked.load(Ordering::Relaxed);
        marked != minute && self.marked.compare_exchange(marked, minute, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cached(cache: &Cache) -> Arc<Cached> {
        let grant = Grant {
            token_id: uuid::Uuid::nil(),
            scopes: cache.scopes("[\"a\"]").unwrap(),
            name_json: "\"n\"".into(),
            expires_at: i64::MAX,
            revoked: false,
            cidrs: Box::default(),
        };
        Arc::new(Cached { grant, marked: AtomicU32::new(0), read_at: 0 })
    }

    #[test]
    fn a_refill_that_raced_with_a_revoke_loses() {
        let cache = Cache::new(1 << 20);
        let hash = [1; 32];
        let before = cache.stamp(&hash);
        cache.forget(&hash);
        cache.refill(before, hash, Some(&cached(&cache)));
        assert!(cache.find(&hash).is_none(), "a read from before the revoke must not be stored");
        cache.refill(cache.stamp(&hash), hash, Some(&cached(&cache)));
        assert!(cache.find(&hash).is_some());
        cache.forget(&hash);
        assert!(cache.find(&hash).is_none());
    }

    #[test]
    fn forgetting_everything_also_beats_refills_under_way() {
        let cache = Cache::new(1 << 20);
        let (a, b) = ([1; 32], [2; 32]);
        let (stamp_a, stamp_b) = (cache.stamp(&a), cache.stamp(&b));
        cache.forget_all();
        cache.refill(stamp_a, a, Some(&cached(&cache)));
        cache.refill(stamp_b, b, None);
        assert!(cache.find(&a).is_none() && !cache.is_unknown(&b));
    }

    #[test]
    fn it_stays_within_its_bound() {
        let cache = Cache::new(1 << 20);
        for number in 0..50_000_u32 {
            let hash = super::super::model::hash(&number.to_string());
            cache.refill(cache.stamp(&hash), hash, Some(&cached(&cache)));
        }
        assert!(cache.known.weight() <= 1 << 20, "{}", cache.known.weight());
        assert!(cache.known.len() > 1_000, "{}", cache.known.len());
    }

    #[test]
    fn one_caller_marks_a_minute() {
        let cache = Cache::new(1 << 20);
        let cached = cached(&cache);
        assert!(cached.claim(5) && !cached.claim(5) && cached.claim(6));
    }
}
