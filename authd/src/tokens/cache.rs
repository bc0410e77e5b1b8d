//! What the cache holds of a token.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::model::{Grant, Scopes};
use crate::cache::{ALLOCATION, Weigh, clock};
use crate::error::Result;
use crate::world::Millis;

/// Bytes of JSON up to which a set of scopes counts as shared.
const FEW_SCOPES: usize = 256;

/// A cached token with the minute at which its use was last marked.
#[derive(Debug)]
pub struct Cached {
    pub grant: Grant,
    pub marked: AtomicU32,
    /// When it was read, by [`clock`].
    pub read_at: u32,
}

impl Weigh for Cached {
    fn heap_bytes(&self) -> usize {
        // Sets of scopes are few and shared, but nobody promises that: large ones weigh in with every token.
        let scopes = self.grant.scopes.json().len();
        let scopes = if scopes > FEW_SCOPES { 3 * scopes } else { 0 };
        self.grant.name_json.len() + size_of_val(&*self.grant.cidrs) + scopes + ALLOCATION
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

/// One shared value for each set of scopes that some cached token holds.
#[derive(Debug, Default)]
pub struct ScopeSets(Mutex<HashMap<String, Weak<Scopes>>>);

impl ScopeSets {
    /// From the JSON array that is stored.
    pub fn intern(&self, json: &str) -> Result<Arc<Scopes>> {
        let mut interned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_marks_a_minute() {
        let grant = Grant {
            token_id: uuid::Uuid::nil(),
            scopes: ScopeSets::default().intern("[\"a\"]").unwrap(),
            name_json: "\"n\"".into(),
            expires_at: i64::MAX,
            revoked: false,
            cidrs: Box::default(),
        };
        let cached = Cached { grant, marked: AtomicU32::new(0), read_at: 0 };
        assert!(cached.claim(5) && !cached.claim(5) && cached.claim(6));
    }

    #[test]
    fn equal_sets_of_scopes_are_one() {
        let sets = ScopeSets::default();
        let first = sets.intern("[\"a\"]").unwrap();
        assert!(Arc::ptr_eq(&first, &sets.intern("[\"a\"]").unwrap()));
        assert!(!Arc::ptr_eq(&first, &sets.intern("[\"b\"]").unwrap()));
    }
}
