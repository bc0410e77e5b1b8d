//! A mutex for each key.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

type Locks<K> = HashMap<K, Arc<tokio::sync::Mutex<()>>>;

/// A set of mutexes, one for each key that is held or waited for.
#[derive(Debug)]
pub struct KeyedMutex<K>(Mutex<Locks<K>>);

impl<K> Default for KeyedMutex<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// Holds a key, or waits for it. Dropping it releases the key.
#[derive(Debug)]
pub struct KeyGuard<'a, K: Eq + Hash> {
    owner: &'a KeyedMutex<K>,
    key: K,
    held: Option<OwnedMutexGuard<()>>,
}

impl<K: Clone + Eq + Hash> KeyedMutex<K> {
    pub async fn lock(&self, key: K) -> KeyGuard<'_, K> {
        let lock = self.locks().entry(key.clone()).or_default().clone();
        let mut guard = KeyGuard { owner: self, key, held: None };
        guard.held = Some(lock.lock_owned().await);
        guard
    }
}

impl<K> KeyedMutex<K> {
    fn locks(&self) -> MutexGuard<'_, Locks<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for KeyGuard<'_, K> {
    fn drop(&mut self) {
        let mut locks = self.owner.locks();
        drop(self.held.take());
        if locks.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_key_has_one_holder_and_leaves_nothing_behind() {
        let mutex = KeyedMutex::default();
        let held = mutex.lock("a").await;
        let other = mutex.lock("b").await;
        assert!(tokio::time::timeout(Duration::from_millis(10), mutex.lock("a")).await.is_err());
        drop((held, other));
        assert!(mutex.locks().is_empty());
        let again = mutex.lock("a").await;
        assert!(again.held.is_some());
    }
}
