//! A bounded cache in front of the database, by the hash of what somebody presents: a token, a session's secret.
//!
//! Invariants: what a change has removed cannot come back by a refill that read the database before. Each shard has a
//! generation: [`Guarded::forget`] raises it, and a refill that started under an older one is not stored. The check and
//! the store are under the generation's lock, which hits never take; a shelf may have locks of its own. And where other
//! nodes share the database, whose changes do not reach this cache yet, nothing is believed for long.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quick_cache::Weighter;
use quick_cache::sync;

use crate::world::Millis;

pub mod packed;

/// SHA-256 of what is looked up.
pub type Hash = [u8; 32];

const SHARDS: usize = 64;
/// Unknown hashes that are remembered, so that asking again about one costs no look-up.
const UNKNOWN: usize = 4096;

/// Seconds for which a cached value is believed where other nodes share the database.
const MAX_STALENESS: u32 = 5;

/// The time in seconds, cut to 32 bits: when something was read.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "ages are differences, and wrap")]
pub fn clock(now: Millis) -> u32 {
    (now / 1000) as u32
}

/// A value that knows its size.
pub trait Weigh {
    /// Bytes of its allocations, beside itself.
    fn heap_bytes(&self) -> usize;
}

/// A value that remembers when it was read.
pub trait Dated {
    /// By [`clock`], taken before the read.
    fn read_at(&self) -> u32;
}

impl<T: Dated> Dated for Arc<T> {
    fn read_at(&self) -> u32 {
        self.as_ref().read_at()
    }
}

/// What an allocation takes beside its bytes.
pub const ALLOCATION: usize = 16;
/// What an entry takes beside its value: key, pointer, the cache's bookkeeping; counters and head of the allocation.
const SLOT: usize = size_of::<Hash>() + size_of::<Arc<()>>() + 32 + ALLOCATION;

#[derive(Clone, Debug)]
struct Bytes;

impl<T: Weigh> Weighter<Hash, Arc<T>> for Bytes {
    fn weight(&self, _: &Hash, value: &Arc<T>) -> u64 {
        (SLOT + size_of::<T>() + value.heap_bytes()) as u64
    }
}

/// Whether cached values may be used. The caches of a process share one.
#[derive(Clone, Debug)]
pub struct CacheTrust {
    /// Other nodes may change what is kept here.
    is_shared: bool,
    /// How many commits there are whose outcome is not known.
    suspensions: Arc<AtomicUsize>,
}

/// No cached value is used while this lives.
#[derive(Debug)]
pub struct Suspension(Arc<AtomicUsize>);

impl CacheTrust {
    /// `is_shared`: other nodes share the database.
    pub fn new(is_shared: bool) -> Self {
        Self { is_shared, suspensions: Arc::default() }
    }

    /// To be held until the outcome of a commit is known, and what it changed is forgotten.
    pub fn suspend(&self) -> Suspension {
        self.suspensions.fetch_add(1, Ordering::SeqCst);
        Suspension(self.suspensions.clone())
    }

    fn is_suspended(&self) -> bool {
        self.suspensions.load(Ordering::SeqCst) > 0
    }
}

impl Drop for Suspension {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Proof that a refill began before its database read, and under which generation.
#[derive(Clone, Copy, Debug)]
pub struct Stamp(u64);

/// Where values are kept: behind [`Guarded`], which decides what may be kept.
pub trait Shelf {
    type Value: Dated;

    fn find(&self, hash: &Hash) -> Option<Self::Value>;
    fn insert(&self, hash: &Hash, value: &Self::Value);
    fn remove(&self, hash: &Hash);
    fn clear(&self);
    fn count(&self) -> usize;
}

/// Values of any shape, each an allocation, bounded in bytes.
pub struct Shared<T: Weigh>(sync::Cache<Hash, Arc<T>, Bytes>);

impl<T: Weigh> std::fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("values", &self.0.len()).finish_non_exhaustive()
    }
}

impl<T: Weigh + Dated> Shelf for Shared<T> {
    type Value = Arc<T>;

    fn find(&self, hash: &Hash) -> Option<Arc<T>> {
        self.0.get(hash)
    }

    fn insert(&self, hash: &Hash, value: &Arc<T>) {
        self.0.insert(*hash, value.clone());
    }

    fn remove(&self, hash: &Hash) {
        self.0.remove(hash);
    }

    fn clear(&self) {
        self.0.clear();
    }

    fn count(&self) -> usize {
        self.0.len()
    }
}

/// The cache of a room: values by hash on a shelf, and the generations that keep out what is old.
pub struct Guarded<S> {
    pub shelf: S,
    trust: CacheTrust,
    unknown: sync::Cache<Hash, ()>,
    generations: [Mutex<u64>; SHARDS],
}

/// A cache of shared values.
pub type Cache<T> = Guarded<Shared<T>>;

impl<S: Shelf> std::fmt::Debug for Guarded<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("values", &self.shelf.count()).finish_non_exhaustive()
    }
}

impl<T: Weigh + Dated> Cache<T> {
    /// Holds at most this many bytes.
    pub fn new(max_bytes: u64, trust: CacheTrust) -> Self {
        let items = usize::try_from(max_bytes).unwrap_or(usize::MAX) / (SLOT + size_of::<T>());
        // The estimate sizes bookkeeping that is allocated at once: a daemon that starts small stays small.
        Self::on(Shared(sync::Cache::with_weighter(items.min(1_024), max_bytes, Bytes)), trust)
    }
}

impl<S: Shelf> Guarded<S> {
    pub fn on(shelf: S, trust: CacheTrust) -> Self {
        let generations = std::array::from_fn(|_| Mutex::new(0));
        Self { shelf, trust, unknown: sync::Cache::new(UNKNOWN), generations }
    }

    /// What is kept and may still be believed.
    pub fn find(&self, hash: &Hash, now: Millis) -> Option<S::Value> {
        if self.trust.is_suspended() {
            return None;
        }
        let is_fresh =
            |value: &S::Value| !self.trust.is_shared || clock(now).wrapping_sub(value.read_at()) < MAX_STALENESS;
        self.shelf.find(hash).filter(is_fresh)
    }

    /// Whether the database was asked about this hash lately and did not know it.
    pub fn is_unknown(&self, hash: &Hash) -> bool {
        !self.trust.is_shared && !self.trust.is_suspended() && self.unknown.get(hash).is_some()
    }

    /// To be taken before the database is read.
    pub fn stamp(&self, hash: &Hash) -> Stamp {
        Stamp(*self.generation(hash))
    }

    /// Keeps what was read (`None`: the database does not know it), unless it was forgotten meanwhile.
    pub fn refill(&self, stamp: Stamp, hash: Hash, value: Option<&S::Value>) {
        let generation = self.generation(&hash);
        if *generation == stamp.0 {
            match value {
                Some(value) => self.shelf.insert(&hash, value),
                None => self.unknown.insert(hash, ()),
            }
        }
    }

    /// Forgets one value: when this returns, nobody finds what was cached of it before.
    pub fn forget(&self, hash: &Hash) {
        let mut generation = self.generation(hash);
        *generation += 1;
        self.shelf.remove(hash);
        self.unknown.remove(hash);
    }

    /// Forgets everything: for when it is not known what changed.
    pub fn forget_all(&self) {
        let mut all: Vec<MutexGuard<'_, u64>> =
            self.generations.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner)).collect();
        all.iter_mut().for_each(|generation| **generation += 1);
        self.shelf.clear();
        self.unknown.clear();
    }

    fn generation(&self, hash: &Hash) -> MutexGuard<'_, u64> {
        self.generations[usize::from(hash[0]) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Text(String);

    impl Weigh for Text {
        fn heap_bytes(&self) -> usize {
            self.0.capacity() + ALLOCATION
        }
    }

    impl Dated for Text {
        fn read_at(&self) -> u32 {
            7
        }
    }

    fn text() -> Arc<Text> {
        Arc::new(Text("what is cached".into()))
    }

    #[test]
    fn a_refill_that_raced_with_a_revoke_loses() {
        let cache = Cache::new(1 << 20, CacheTrust::new(false));
        let hash = [1; 32];
        let before = cache.stamp(&hash);
        cache.forget(&hash);
        cache.refill(before, hash, Some(&text()));
        assert!(cache.find(&hash, 0).is_none(), "a read from before the revoke must not be stored");
        cache.refill(cache.stamp(&hash), hash, Some(&text()));
        assert!(cache.find(&hash, 0).is_some());
        cache.forget(&hash);
        assert!(cache.find(&hash, 0).is_none());
    }

    #[test]
    fn forgetting_everything_also_beats_refills_under_way() {
        let cache = Cache::new(1 << 20, CacheTrust::new(false));
        let (a, b) = ([1; 32], [2; 32]);
        let (stamp_a, stamp_b) = (cache.stamp(&a), cache.stamp(&b));
        cache.forget_all();
        cache.refill(stamp_a, a, Some(&text()));
        cache.refill(stamp_b, b, None);
        assert!(cache.find(&a, 0).is_none() && !cache.is_unknown(&b));
    }

    #[test]
    fn no_cached_value_is_used_while_an_outcome_is_not_known() {
        let trust = CacheTrust::new(false);
        let cache = Cache::new(1 << 20, trust.clone());
        let (known, unknown) = ([1; 32], [2; 32]);
        cache.refill(cache.stamp(&known), known, Some(&text()));
        cache.refill(cache.stamp(&unknown), unknown, None);
        let (first, second) = (trust.suspend(), trust.suspend());
        for held in [first, second] {
            assert!(cache.find(&known, 0).is_none() && !cache.is_unknown(&unknown));
            drop(held);
        }
        assert!(cache.find(&known, 0).is_some() && cache.is_unknown(&unknown));
    }

    #[test]
    fn what_other_nodes_may_change_is_not_believed_for_long() {
        let hash = [1; 32];
        for (is_shared, late) in [(false, true), (true, false)] {
            let cache = Cache::new(1 << 20, CacheTrust::new(is_shared));
            cache.refill(cache.stamp(&hash), hash, Some(&text()));
            cache.refill(cache.stamp(&[2; 32]), [2; 32], None);
            assert!(cache.find(&hash, 7_000).is_some() && cache.find(&hash, 11_999).is_some());
            assert_eq!(cache.find(&hash, 12_000).is_some(), late);
            assert_eq!(cache.is_unknown(&[2; 32]), late, "somebody else may have made it");
        }
    }

    #[test]
    fn it_stays_within_its_bound() {
        let cache = Cache::new(1 << 20, CacheTrust::new(false));
        for number in 0..50_000_u32 {
            let mut hash = [0; 32];
            hash[..4].copy_from_slice(&number.to_le_bytes());
            cache.refill(cache.stamp(&hash), hash, Some(&text()));
        }
        assert!(cache.shelf.0.weight() <= 1 << 20, "{}", cache.shelf.0.weight());
        assert!(cache.shelf.count() > 1_000, "{}", cache.shelf.count());
    }
}
