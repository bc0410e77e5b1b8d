//! What authd has said about a token, for at most a minute: bounded in entries and bytes, keyed by the token's hash.
//!
//! Only identities are kept, never decisions: whether the scopes suffice is decided at every use. Refusals are not
//! kept at all, so a token that was just made works at once, and no flood of bad ones pushes good ones out.
//!
//! Two things must not bring a forgotten token back: an answer that was under way when it was forgotten (an [`Ask`]
//! notices), and an older answer that comes after a newer one (the moment of the question decides).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::denial::Denial;
use crate::time::Time;

/// The longest time for which anything is believed.
const LONGEST: Duration = Duration::from_secs(60);

/// How much is remembered, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How long an answer may be used for reads, counted from the moment of the question; more than a minute is taken
    /// as a minute, and zero remembers nothing.
    pub max_age: Duration,
    /// Of API tokens, and as many of sessions.
    pub max_entries: usize,
    /// Bytes that they may take, bookkeeping included; for API tokens and for sessions each.
    pub max_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { max_age: LONGEST, max_entries: 10_000, max_bytes: 8 << 20 }
    }
}

/// SHA-256 of a token.
pub(super) type Digest = [u8; 32];

/// A token, used from an address where the service passes it on. authd's answer is about both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    digest: Digest,
    address: Option<IpAddr>,
}

impl Key {
    pub(super) fn new(token: &str, address: Option<IpAddr>) -> Self {
        Self { digest: Sha256::digest(token).into(), address: address.map(|address| address.to_canonical()) }
    }
}

/// What can be kept.
pub(super) trait Keep: fmt::Debug + Send + Sync + 'static {
    /// Bytes on the heap, roughly.
    fn heap_bytes(&self) -> usize;

    /// For how much of its remaining life an answer may be believed.
    fn believable(remaining: Duration) -> Duration;

    /// When the token ends by itself.
    fn expires_at(&self) -> Option<Time>;
}

/// What a question under way will end in; everybody who has the same one waits for it.
pub(super) type Flight<V> = watch::Receiver<Option<Result<Arc<V>, Denial>>>;

pub(super) struct Cache<V> {
    bounds: Bounds,
    state: Mutex<State<V>>,
}

struct State<V> {
    entries: BTreeMap<Key, Entry<V>>,
    /// From the oldest to the newest.
    order: BTreeMap<u64, Key>,
    bytes: usize,
    /// Numbers entries and flights.
    next: u64,
    flights: BTreeMap<Key, (u64, Flight<V>)>,
    asks: HashMap<Digest, Asks>,
}

struct Entry<V> {
    value: Arc<V>,
    asked_at: Duration,
    until: Duration,
    number: u64,
    bytes: usize,
}

/// The questions about one token that are under way.
#[derive(Default)]
struct Asks {
    running: usize,
    /// How often the token was forgotten meanwhile.
    forgotten: u64,
}

impl<V> fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

impl<V: Keep> Cache<V> {
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        let bounds = Bounds { max_age: bounds.max_age.min(LONGEST), ..bounds };
        let state = State {
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            bytes: 0,
            next: 0,
            flights: BTreeMap::new(),
            asks: HashMap::new(),
        };
        Arc::new(Self { bounds, state: Mutex::new(state) })
    }

    /// Nothing in here can panic half-way, so a poisoned lock is as good as any.
    fn state(&self) -> MutexGuard<'_, State<V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.state().entries.len()
    }

    /// What may still be believed, now.
    #[cfg(test)]
    fn find(&self, key: &Key, now: Duration, time: Time) -> Option<Arc<V>> {
        self.state().find(key, now, time)
    }

    /// What may still be believed, else the question that is under way, else a new one: its sender is given to
    /// `start`, which must not block.
    pub(super) fn find_or_fly(
        self: &Arc<Self>,
        key: Key,
        now: Duration,
        time: Time,
        start: impl FnOnce(Takeoff<V>),
    ) -> Found<V> {
        let mut state = self.state();
        if let Some(value) = state.find(&key, now, time) {
            return Found::Value(value);
        }
        if let Some((_, flight)) = state.flights.get(&key) {
            return Found::Joined(flight.clone());
        }
        let (sender, flight) = watch::channel(None);
        let number = state.number();
        state.flights.insert(key, (number, flight.clone()));
        drop(state);
        start(Takeoff { cache: self.clone(), key, number, sender });
        Found::Started(flight)
    }

    /// To be called before authd is asked.
    pub(super) fn ask(self: &Arc<Self>, key: Key, now: Duration, time: Time) -> Ask<V> {
        let mut state = self.state();
        let asks = state.asks.entry(key.digest).or_default();
        asks.running += 1;
        let forgotten = asks.forgotten;
        drop(state);
        Ask { cache: self.clone(), key, asked_at: now, time, forgotten }
    }

    /// Forgets a token, from whatever address it was used. Answers that are under way are not kept, and nobody who
    /// comes later joins a question that was asked before.
    pub(super) fn forget(&self, key: &Key) {
        let mut state = self.state();
        let first = Key { digest: key.digest, address: None };
        let doomed: Vec<Key> =
            state.entries.range(first..).map(|(key, _)| *key).take_while(|found| found.digest == key.digest).collect();
        doomed.iter().for_each(|key| state.remove(key));
        let grounded: Vec<Key> =
            state.flights.range(first..).map(|(key, _)| *key).take_while(|found| found.digest == key.digest).collect();
        for key in grounded {
            state.flights.remove(&key);
        }
        if let Some(asks) = state.asks.get_mut(&key.digest) {
            asks.forgotten += 1;
        }
    }
}

impl<V: Keep> State<V> {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn find(&mut self, key: &Key, now: Duration, time: Time) -> Option<Arc<V>> {
        let entry = self.entries.get(key)?;
        // The wall's clock too: the other one may have stood still while the machine slept.
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

    fn insert(&mut self, key: Key, value: Arc<V>, asked_at: Duration, until: Duration, bounds: &Bounds) {
        let bytes = value.heap_bytes() + ENTRY + size_of::<V>();
        if bytes > bounds.max_bytes || bounds.max_entries == 0 {
            return;
        }
        if self.entries.get(&key).is_some_and(|entry| entry.asked_at > asked_at) {
            return;
        }
        self.remove(&key);
        while self.entries.len() >= bounds.max_entries || self.bytes + bytes > bounds.max_bytes {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.remove(&oldest);
        }
        let number = self.number();
        self.bytes += bytes;
        self.order.insert(number, key);
        self.entries.insert(key, Entry { value, asked_at, until, number, bytes });
    }
}

/// What an entry takes beside its value: the key twice, the tree nodes, the counters of its `Arc`.
const ENTRY: usize = 2 * (size_of::<Key>() + 24) + size_of::<Entry<()>>() + 32;

/// The answer, or where it will arrive.
pub(super) enum Found<V> {
    Value(Arc<V>),
    Joined(Flight<V>),
    Started(Flight<V>),
}

/// The right to answer a question for everybody who has it.
pub(super) struct Takeoff<V: Keep> {
    cache: Arc<Cache<V>>,
    pub(super) key: Key,
    number: u64,
    sender: watch::Sender<Option<Result<Arc<V>, Denial>>>,
}

impl<V: Keep> Takeoff<V> {
    pub(super) fn land(self, result: Result<Arc<V>, Denial>) {
        self.sender.send_replace(Some(result));
    }
}

/// However the question ends, also by a cancelled task: nobody joins it any more.
impl<V: Keep> Drop for Takeoff<V> {
    fn drop(&mut self) {
        let mut state = self.cache.state();
        if state.flights.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            state.flights.remove(&self.key);
        }
    }
}

/// A question under way. Its answer is kept only if the token was not forgotten meanwhile.
pub(super) struct Ask<V: Keep> {
    cache: Arc<Cache<V>>,
    key: Key,
    asked_at: Duration,
    time: Time,
    forgotten: u64,
}

impl<V: Keep> Ask<V> {
    pub(super) fn keep(self, value: &Arc<V>) {
        let bounds = &self.cache.bounds;
        let life = value.expires_at().map(|end| {
            let millis = end.millis().saturating_sub(self.time.millis());
            V::believable(Duration::from_millis(u64::try_from(millis).unwrap_or_default()))
        });
        let age = life.unwrap_or(Duration::MAX).min(bounds.max_age);
        let mut state = self.cache.state();
        let is_current = state.asks.get(&self.key.digest).is_some_and(|asks| asks.forgotten == self.forgotten);
        if is_current && !age.is_zero() {
            state.insert(self.key, value.clone(), self.asked_at, self.asked_at + age, bounds);
        }
    }
}

impl<V: Keep> Drop for Ask<V> {
    fn drop(&mut self) {
        let mut state = self.cache.state();
        if let Some(asks) = state.asks.get_mut(&self.key.digest) {
            asks.running -= 1;
            if asks.running == 0 {
                state.asks.remove(&self.key.digest);
            }
        }
    }
}

#[cfg(test)]
mod tests;
