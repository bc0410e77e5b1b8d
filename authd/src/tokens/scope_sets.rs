//! Sets of scopes, shared by the cached tokens that hold the same ones.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::model::Scopes;
use crate::error::Result;

/// Sets are usually few. Beyond this many bytes of JSON, further sets are not shared.
const MAX_BYTES: usize = 256 << 10;

/// One shared value for each set of scopes.
#[derive(Debug, Default)]
pub struct ScopeSets(RwLock<Sets>);

#[derive(Debug, Default)]
struct Sets {
    by_json: HashMap<Box<str>, Arc<Scopes>>,
    bytes: usize,
}

impl ScopeSets {
    /// The shared set of a stored JSON array.
    pub fn intern(&self, json: &str) -> Result<Arc<Scopes>> {
        let sets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(scopes) = sets.by_json.get(json) {
            return Ok(scopes.clone());
        }
        drop(sets);
        let scopes = Arc::new(Scopes::from_json(json)?);
        let mut sets = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if sets.bytes + json.len() <= MAX_BYTES && sets.by_json.insert(json.into(), scopes.clone()).is_none() {
            sets.bytes += json.len();
        }
        Ok(scopes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_are_one_value_and_their_number_is_bounded() {
        let sets = ScopeSets::default();
        let set = |number: u32| format!("[\"{number:0100}\"]");
        (0..4_000).for_each(|number| drop(sets.intern(&set(number)).unwrap()));
        assert!(sets.0.read().unwrap().bytes <= MAX_BYTES);
        assert!(Arc::ptr_eq(&sets.intern(&set(1)).unwrap(), &sets.intern(&set(1)).unwrap()));
        assert_eq!(sets.intern(&set(4_000)).unwrap().json.get(), set(4_000));
    }
}
