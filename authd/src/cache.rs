//! A bounded cache in front of the database, keyed by the hash of a presented secret: a token or a session token.
//!
//! Invariants: a refill that read the database before a change cannot restore the value that the change removed. Each
//! shard has a generation: [`Cache::forget`] raises it, and a refill that started under an older one is not stored. The
//! check and the store are under the generation's lock, which hits never take. If other nodes share the database, whose
//! changes do not reach this cache yet, a value is used for a few seconds only.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::sync;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::env::{Env, Millis, SECOND};
use crate::error::{Error, Result};
use crate::keyed_mutex::{KeyGuard, KeyedMutex};

/// `[cache]`: the cache of tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Its maximum size, in bytes.
    pub max_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_bytes: 64 << 20 }
    }
}

/// SHA-256 of the secret that is looked up.
pub type Hash = [u8; 32];

const SHARDS: usize = 64;
/// Number of unknown hashes that are cached, so that a repeated look-up of one reads nothing.
const UNKNOWN: usize = 4096;

/// How long a cached value is used if other nodes share the database.
const MAX_STALENESS: Millis = 5 * SECOND;

/// How long a read waits for its turn.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Overhead of an allocation, in bytes.
pub const ALLOCATION: usize = 16;
/// Overhead of an entry, in bytes: key, pointer, the cache's bookkeeping; counters and header of the allocation.
const SLOT: usize = size_of::<Hash>() + size_of::<Arc<()>>() + 32 + ALLOCATION;

#[derive(Debug)]
pub struct Entry<T> {
    value: T,
    /// When the read began.
    read_at: Millis,
}

impl<T> Deref for Entry<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A value that is cached or was just read.
pub type Cached<T> = Arc<Entry<T>>;

/// Weighs an entry by the bytes of its allocations.
#[derive(Debug)]
struct Bytes<T>(fn(&T) -> usize);

impl<T> Clone for Bytes<T> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<T> Weighter<Hash, Cached<T>> for Bytes<T> {
    fn weight(&self, _: &Hash, entry: &Cached<T>) -> u64 {
        (SLOT + size_of::<Entry<T>>() + (self.0)(entry)) as u64
    }
}

/// Whether cached values may be used. The caches of a process share one.
#[derive(Clone, Debug)]
pub struct CacheTrust {
    /// Other nodes may change what is kept here.
    is_shared: bool,
    /// The number of commits whose outcome is unknown.
    suspensions: Arc<AtomicUsize>,
}

/// While this exists, no cached value is used.
#[derive(Debug)]
pub struct Suspension(Arc<AtomicUsize>);

impl CacheTrust {
    pub fn new(is_shared: bool) -> Self {
        Self { is_shared, suspensions: Arc::default() }
    }

    /// To be held until the outcome of a commit is known and the cached values that it changed are removed.
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

/// The generation and the time at the start of a refill, before its database read.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    generation: u64,
    read_at: Millis,
}

/// Values by hash, bounded in bytes, with the generations that reject old refills.
#[derive(Debug)]
pub struct Cache<T> {
    values: sync::Cache<Hash, Cached<T>, Bytes<T>>,
    trust: CacheTrust,
    unknown: sync::Cache<Hash, ()>,
    generations: [Mutex<u64>; SHARDS],
    /// Serializes misses of the same key.
    keys: KeyedMutex<Hash>,
    reads: Semaphore,
}

/// The right to read one key: the lock of the key, and one permit of the concurrent reads.
pub type Turn<'a> = (KeyGuard<'a, Hash>, Option<SemaphorePermit<'a>>);

impl<T> Cache<T> {
    /// A cache of at most this many bytes; `heap_bytes` returns the bytes of a value's allocations, without the value.
    /// At most `reads` different keys are read at the same time, so that a flood of unknown ones cannot block others.
    pub fn new(max_bytes: u64, trust: CacheTrust, reads: usize, heap_bytes: fn(&T) -> usize) -> Self {
        let items = usize::try_from(max_bytes).unwrap_or(usize::MAX) / (SLOT + size_of::<Entry<T>>());
        // The estimate sizes the initial bookkeeping; a small one keeps an idle daemon small.
        let values = sync::Cache::with_weighter(items.min(1_024), max_bytes, Bytes(heap_bytes));
        let generations = std::array::from_fn(|_| Mutex::new(0));
        let (unknown, reads) = (sync::Cache::new(UNKNOWN), Semaphore::new(reads));
        Self { values, trust, unknown, generations, keys: KeyedMutex::default(), reads }
    }

    /// The cached value, or the result of `read` from the database, with one read at a time for each key.
    pub async fn get_or_read(
        &self,
        hash: Hash,
        env: &Env,
        read: impl Future<Output = Result<Option<T>>>,
    ) -> Result<Option<Cached<T>>> {
        if let Some(found) = self.find(&hash, env.now()) {
            return Ok(Some(found));
        }
        let _turn = self.turn(hash).await?;
        self.get_or_read_in_turn(hash, env, read).await
    }

    /// [`Cache::get_or_read`] for a caller who has the turn.
    pub async fn get_or_read_in_turn(
        &self,
        hash: Hash,
        env: &Env,
        read: impl Future<Output = Result<Option<T>>>,
    ) -> Result<Option<Cached<T>>> {
        if let Some(found) = self.find(&hash, env.now()) {
            return Ok(Some(found));
        }
        if self.is_unknown(&hash) {
            return Ok(None);
        }
        let stamp = self.stamp(&hash, env.now());
        Ok(read.await?.map(|value| self.refill(stamp, hash, value)))
    }

    pub async fn turn(&self, hash: Hash) -> Result<Turn<'_>> {
        // The semaphore is never closed, so acquiring succeeds.
        let turn = async { (self.keys.lock(hash).await, self.reads.acquire().await.ok()) };
        tokio::time::timeout(READ_TIMEOUT, turn)
            .await
            .map_err(|late| Error::unavailable("too many look-ups at the same time; try again", late))
    }

    /// The cached value, if it may still be used.
    pub fn find(&self, hash: &Hash, now: Millis) -> Option<Cached<T>> {
        if self.trust.is_suspended() {
            return None;
        }
        // A negative age means that the clock was set back: the age of the value is unknown.
        let is_fresh = |read_at: Millis| (0..MAX_STALENESS).contains(&(now - read_at));
        self.values.get(hash).filter(|entry| !self.trust.is_shared || is_fresh(entry.read_at))
    }

    /// Whether the database recently had no row for this hash.
    pub fn is_unknown(&self, hash: &Hash) -> bool {
        !self.trust.is_shared && !self.trust.is_suspended() && self.unknown.get(hash).is_some()
    }

    /// Takes a stamp; to be called before the database is read.
    pub fn stamp(&self, hash: &Hash, now: Millis) -> Stamp {
        Stamp { generation: *self.generation(hash), read_at: now }
    }

    /// Stores the value that was read, unless it was removed meanwhile, and returns it.
    pub fn refill(&self, stamp: Stamp, hash: Hash, value: T) -> Cached<T> {
        let entry = Arc::new(Entry { value, read_at: stamp.read_at });
        self.unless_forgotten(stamp, &hash, || self.values.insert(hash, entry.clone()));
        entry
    }

    /// Caches that the database has no row for this hash, unless the hash was removed meanwhile.
    pub fn refill_unknown(&self, stamp: Stamp, hash: Hash) {
        self.unless_forgotten(stamp, &hash, || self.unknown.insert(hash, ()));
    }

    fn unless_forgotten(&self, stamp: Stamp, hash: &Hash, store: impl FnOnce()) {
        let generation = self.generation(hash);
        if *generation == stamp.generation {
            store();
        }
    }

    /// Removes one value: after this returns, no reader finds the old value.
    pub fn forget(&self, hash: &Hash) {
        let mut generation = self.generation(hash);
        *generation += 1;
        self.values.remove(hash);
        self.unknown.remove(hash);
    }

    /// Removes all values, for when it is unknown what changed.
    pub fn forget_all(&self) {
        let mut all: Vec<MutexGuard<'_, u64>> =
            self.generations.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner)).collect();
        all.iter_mut().for_each(|generation| **generation += 1);
        self.values.clear();
        self.unknown.clear();
    }

    fn generation(&self, hash: &Hash) -> MutexGuard<'_, u64> {
        self.generations[usize::from(hash[0]) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        "what is cached".into()
    }

    fn cache(is_shared: bool) -> Cache<String> {
        Cache::new(1 << 20, CacheTrust::new(is_shared), 1, |text| text.capacity() + ALLOCATION)
    }

    fn refill(cache: &Cache<String>, hash: Hash) {
        cache.refill(cache.stamp(&hash, 7_000), hash, text());
    }

    #[test]
    fn a_refill_that_raced_with_a_revoke_loses() {
        let (cache, hash) = (cache(false), [1; 32]);
        let before = cache.stamp(&hash, 0);
        cache.forget(&hash);
        cache.refill(before, hash, text());
        assert!(cache.find(&hash, 0).is_none(), "a read from before the revoke must not be stored");
        refill(&cache, hash);
        assert!(cache.find(&hash, 0).is_some());
        cache.forget(&hash);
        assert!(cache.find(&hash, 0).is_none());
    }

    #[test]
    fn forgetting_everything_also_beats_refills_under_way() {
        let (cache, a, b) = (cache(false), [1; 32], [2; 32]);
        let (stamp_a, stamp_b) = (cache.stamp(&a, 0), cache.stamp(&b, 0));
        cache.forget_all();
        cache.refill(stamp_a, a, text());
        cache.refill_unknown(stamp_b, b);
        assert!(cache.find(&a, 0).is_none() && !cache.is_unknown(&b));
    }

    #[test]
    fn no_cached_value_is_used_while_an_outcome_is_not_known() {
        let trust = CacheTrust::new(false);
        let cache = Cache::new(1 << 20, trust.clone(), 1, String::capacity);
        let (known, unknown) = ([1; 32], [2; 32]);
        refill(&cache, known);
        cache.refill_unknown(cache.stamp(&unknown, 0), unknown);
        let (first, second) = (trust.suspend(), trust.suspend());
        for held in [first, second] {
            assert!(cache.find(&known, 0).is_none() && !cache.is_unknown(&unknown));
            drop(held);
        }
        assert!(cache.find(&known, 0).is_some() && cache.is_unknown(&unknown));
    }

    #[test]
    fn what_other_nodes_may_change_is_not_used_for_long() {
        let hash = [1; 32];
        for (is_shared, late) in [(false, true), (true, false)] {
            let cache = cache(is_shared);
            refill(&cache, hash);
            cache.refill_unknown(cache.stamp(&[2; 32], 0), [2; 32]);
            assert!(cache.find(&hash, 7_000).is_some() && cache.find(&hash, 11_999).is_some());
            assert_eq!(cache.find(&hash, 12_000).is_some(), late);
            assert_eq!(cache.find(&hash, 6_999).is_some(), late, "the clock was set back");
            assert_eq!(cache.is_unknown(&[2; 32]), late, "another node may have made it");
        }
    }

    #[test]
    fn it_stays_within_its_bound() {
        let cache = cache(false);
        for number in 0..50_000_u32 {
            let mut hash = [0; 32];
            hash[..4].copy_from_slice(&number.to_le_bytes());
            refill(&cache, hash);
        }
        assert!(cache.values.weight() <= 1 << 20, "{}", cache.values.weight());
        assert!(cache.values.len() > 1_000, "{}", cache.values.len());
    }
}
