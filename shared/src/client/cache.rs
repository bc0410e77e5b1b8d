//! Cache of authd's answers about tokens, for at most a minute. It is bounded in entries and bytes; keys are hashes.
//!
//! Only identities are cached, never decisions: whether the scopes suffice is decided at every use. Refusals are not
//! cached, so a new token works at once, and a flood of invalid tokens cannot evict valid ones.
//!
//! Two things must not restore a removed token: an answer that was under way at the removal (its [`Question`] is
//! removed too), and an older answer that arrives after a newer one (the questions are numbered).

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::denial::Denial;
use crate::time::Time;

/// The longest time for which an answer is cached.
const LONGEST: Duration = Duration::from_secs(60);

/// The limits of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How long an answer may be used for reads, counted from the start of the question. The maximum is a minute; zero
    /// disables the cache.
    pub max_age: Duration,
    /// Maximum number of API tokens; the same number of sessions is allowed.
    pub max_entries: usize,
    /// Maximum size in bytes, bookkeeping included; for API tokens and for sessions each.
    pub max_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { max_age: LONGEST, max_entries: 10_000, max_bytes: 8 << 20 }
    }
}

/// A token and the client address, if the service passes it on. authd's answer depends on both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    /// SHA-256 of the token.
    digest: [u8; 32],
    address: Option<IpAddr>,
}

impl Key {
    pub(super) fn new(token: &str, address: Option<IpAddr>) -> Self {
        Self { digest: Sha256::digest(token).into(), address: address.map(|address| address.to_canonical()) }
    }

    /// All keys of the same token, with any address.
    fn of_any_address(self) -> RangeInclusive<Self> {
        let last = IpAddr::V6(Ipv6Addr::from_bits(u128::MAX));
        Self { address: None, ..self }..=Self { address: Some(last), ..self }
    }
}

/// A value that can be cached.
pub(super) trait Keep: fmt::Debug + Send + Sync + 'static {
    /// An answer is cached for at most the remaining life of the token divided by this.
    const PARTS_OF_LIFE: u32;

    /// Approximate bytes on the heap.
    fn heap_bytes(&self) -> usize;

    /// When the token expires.
    fn expires_at(&self) -> Option<Time>;
}

/// The future result of a question under way, shared by all who wait for it.
pub(super) type Flight<V> = watch::Receiver<Option<Result<Arc<V>, Denial>>>;

pub(super) struct Cache<V> {
    bounds: Bounds,
    state: Mutex<State<V>>,
}

struct State<V> {
    entries: BTreeMap<Key, Entry<V>>,
    /// From the oldest question to the newest.
    order: BTreeMap<u64, Key>,
    bytes: usize,
    /// The number of the last question.
    last: u64,
    /// Those under way, but for the forgotten ones. By key, those that nobody joins come first; then by number.
    questions: BTreeMap<(Key, bool, u64), Option<Flight<V>>>,
}

struct Entry<V> {
    value: Arc<V>,
    until: Duration,
    /// The number of the question that it answers.
    number: u64,
    bytes: usize,
}

impl<V> fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

impl<V: Keep> Cache<V> {
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        let bounds = Bounds { max_age: bounds.max_age.min(LONGEST), ..bounds };
        let (entries, order, questions) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Arc::new(Self { bounds, state: Mutex::new(State { entries, order, bytes: 0, last: 0, questions }) })
    }

    /// No critical section can panic half-way, so a poisoned lock is still consistent.
    fn state(&self) -> MutexGuard<'_, State<V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.state().entries.len()
    }

    /// The cached value, if it is still valid now.
    #[cfg(test)]
    fn find(&self, key: &Key, now: Duration, time: Time) -> Option<Arc<V>> {
        self.state().find(key, now, time)
    }

    /// The cached value if it is still valid, else the question under way, else a new question that others may join.
    pub(super) fn find_or_ask(self: &Arc<Self>, key: Key, now: Duration, time: Time) -> Found<V> {
        let mut state = self.state();
        if let Some(value) = state.find(&key, now, time) {
            return Found::Value(value);
        }
        let joinable = (key, true, 0)..=(key, true, u64::MAX);
        if let Some(flight) = state.questions.range(joinable).find_map(|(_, flight)| flight.clone()) {
            return Found::Joined(flight);
        }
        let (sender, flight) = watch::channel(None);
        let id = state.ask(key, Some(flight));
        Found::New(Question { cache: self.clone(), id, asked_at: now, time }, sender)
    }

    /// Starts a question that others cannot join.
    pub(super) fn ask(self: &Arc<Self>, key: Key, now: Duration, time: Time) -> Question<V> {
        let id = self.state().ask(key, None);
        Question { cache: self.clone(), id, asked_at: now, time }
    }

    /// Removes a token with all its addresses. Answers that are under way are not cached, and later callers do not join
    /// a question that was asked before.
    pub(super) fn forget(&self, key: &Key) {
        let mut state = self.state();
        let keys = key.of_any_address();
        let questions = (*keys.start(), false, 0)..=(*keys.end(), true, u64::MAX);
        state.questions.extract_if(questions, |_, _| true).for_each(drop);
        let doomed: Vec<Key> = state.entries.range(keys).map(|(key, _)| *key).collect();
        doomed.iter().for_each(|key| state.remove(key));
    }
}

impl<V: Keep> State<V> {
    fn ask(&mut self, key: Key, flight: Option<Flight<V>>) -> (Key, bool, u64) {
        self.last += 1;
        let id = (key, flight.is_some(), self.last);
        self.questions.insert(id, flight);
        id
    }

    fn find(&mut self, key: &Key, now: Duration, time: Time) -> Option<Arc<V>> {
        let entry = self.entries.get(key)?;
        // Checks the wall clock too: the monotonic clock may stop while the machine sleeps.
        if now < entry.until && entry.value.expires_at().is_none_or(|end| time < end) {
            return Some(entry.value.clone());
        }
        self.remove(key);
        None
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.number);
            self.bytes -= entry.bytes;
        }
    }

    fn insert(&mut self, key: Key, number: u64, value: Arc<V>, until: Duration, bounds: &Bounds) {
        let bytes = value.heap_bytes() + ENTRY + size_of::<V>();
        let is_outdated = self.entries.get(&key).is_some_and(|entry| entry.number > number);
        if bytes > bounds.max_bytes || bounds.max_entries == 0 || is_outdated {
            return;
        }
        self.remove(&key);
        while self.entries.len() >= bounds.max_entries || self.bytes + bytes > bounds.max_bytes {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.remove(&oldest);
        }
        self.bytes += bytes;
        self.order.insert(number, key);
        self.entries.insert(key, Entry { value, until, number, bytes });
    }
}

/// Bytes of an entry besides its value: the key twice, the tree nodes, the counters of its `Arc`.
const ENTRY: usize = 2 * (size_of::<Key>() + 24) + size_of::<Entry<()>>() + 32;

/// The answer, the flight that will deliver it, or the question to ask.
pub(super) enum Found<V: Keep> {
    Value(Arc<V>),
    Joined(Flight<V>),
    New(Question<V>, watch::Sender<Option<Result<Arc<V>, Denial>>>),
}

/// A question under way. Its answer is cached only if the token was not removed meanwhile.
pub(super) struct Question<V: Keep> {
    cache: Arc<Cache<V>>,
    id: (Key, bool, u64),
    asked_at: Duration,
    time: Time,
}

impl<V: Keep> Question<V> {
    /// Caches the answer, or removes the entry that a denial refutes.
    pub(super) async fn answer(self, asking: impl Future<Output = Result<V, Denial>>) -> Result<Arc<V>, Denial> {
        let answer = asking.await.map(Arc::new);
        match &answer {
            Ok(value) => self.keep(value),
            Err(denial) if denial.reason().is_about_the_token() => self.cache.forget(&self.id.0),
            Err(_) => {}
        }
        answer
    }

    fn keep(&self, value: &Arc<V>) {
        let bounds = &self.cache.bounds;
        let life = value.expires_at().map(|end| {
            let millis = end.millis().saturating_sub(self.time.millis());
            Duration::from_millis(u64::try_from(millis).unwrap_or_default()) / V::PARTS_OF_LIFE
        });
        let age = life.unwrap_or(Duration::MAX).min(bounds.max_age);
        let mut state = self.cache.state();
        if state.questions.contains_key(&self.id) && !age.is_zero() {
            let (key, _, number) = self.id;
            state.insert(key, number, value.clone(), self.asked_at + age, bounds);
        }
    }
}

/// Ends the question, also when its task is cancelled: later callers do not join it.
impl<V: Keep> Drop for Question<V> {
    fn drop(&mut self) {
        self.cache.state().questions.remove(&self.id);
    }
}

#[cfg(test)]
mod tests;
