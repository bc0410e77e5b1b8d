//! What the cache holds of a token: about sixty bytes, and the sets of scopes, which are few.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use ipnet::IpNet;
use uuid::Uuid;

use super::model::{Grant, Scopes, TokenHash};
use crate::cache::packed::Packed;
use crate::cache::{Dated, Guarded, Shelf};
use crate::error::Result;
use crate::world::Millis;

/// Tokens by the hash of their secret.
pub type Cache = Guarded<Tokens>;

/// A cached token.
#[derive(Debug)]
pub struct Cached {
    pub grant: Grant,
    /// The minute at which its use was last marked.
    pub marked: u32,
    /// When it was read, by [`crate::cache::clock`].
    pub read_at: u32,
}

impl Dated for Cached {
    fn read_at(&self) -> u32 {
        self.read_at
    }
}

/// The shelf: each token packed into bytes.
#[derive(Debug)]
pub struct Tokens {
    packed: Packed,
    scope_sets: ScopeSets,
}

/// No set of scopes has this number: the scopes stand in the token itself.
const OWN_SCOPES: u32 = u32::MAX;
/// Where things are: the mark (4 bytes), when it was read (4), the end (8), the id (16), the number of its set of
/// scopes (4), revoked (1), the lengths of the name, of the networks and of scopes of its own (2 each); then these.
const MARKED: usize = 0;
const HEAD: usize = 43;

impl Tokens {
    /// Takes at most this many bytes.
    pub fn new(max_bytes: u64) -> Self {
        Self { packed: Packed::new(max_bytes), scope_sets: ScopeSets::default() }
    }

    /// One shared value for equal scopes.
    pub fn scopes(&self, json: &str) -> Result<Arc<Scopes>> {
        self.scope_sets.intern(json)
    }

    /// Claims the marking of this minute: true for exactly one caller while the token is cached.
    pub fn claim(&self, hash: &TokenHash, minute: u32) -> bool {
        let claim = |packed: &mut [u8]| {
            let is_new = packed[MARKED..][..4] != minute.to_le_bytes();
            packed[MARKED..][..4].copy_from_slice(&minute.to_le_bytes());
            is_new
        };
        self.packed.with(hash, claim).unwrap_or(true)
    }

    fn pack(&self, cached: &Cached) -> Option<Vec<u8>> {
        let grant = &cached.grant;
        let set = self.scope_sets.number(&grant.scopes).unwrap_or(OWN_SCOPES);
        let own_scopes = if set == OWN_SCOPES { grant.scopes.json() } else { "" };
        let cidrs = if grant.cidrs.is_empty() { Vec::new() } else { serde_json::to_vec(&grant.cidrs).ok()? };
        let mut out = Vec::with_capacity(HEAD + grant.name_json.len() + cidrs.len() + own_scopes.len());
        out.extend_from_slice(&cached.marked.to_le_bytes());
        out.extend_from_slice(&cached.read_at.to_le_bytes());
        out.extend_from_slice(&grant.expires_at.to_le_bytes());
        out.extend_from_slice(grant.token_id.as_bytes());
        out.extend_from_slice(&set.to_le_bytes());
        out.push(u8::from(grant.revoked));
        let pieces = [grant.name_json.as_bytes(), &cidrs, own_scopes.as_bytes()];
        for piece in pieces {
            out.extend_from_slice(&u16::try_from(piece.len()).ok()?.to_le_bytes());
        }
        pieces.into_iter().for_each(|piece| out.extend_from_slice(piece));
        Some(out)
    }

    /// `None` if these are not the bytes of a token: then it is read from the database again.
    fn unpack(&self, packed: &[u8]) -> Option<Cached> {
        let (head, rest) = packed.split_at_checked(HEAD)?;
        let number = |from: usize| head[from..][..4].try_into().map(u32::from_le_bytes).ok();
        let length = |from: usize| usize::from(u16::from_le_bytes([head[from], head[from + 1]]));
        let (name, rest) = rest.split_at_checked(length(37))?;
        let (cidrs, rest) = rest.split_at_checked(length(39))?;
        let scopes = match number(32)? {
            OWN_SCOPES => Arc::new(Scopes::from_json(std::str::from_utf8(rest.get(..length(41))?).ok()?).ok()?),
            set => self.scope_sets.find(set)?,
        };
        let cidrs: Vec<IpNet> = if cidrs.is_empty() { Vec::new() } else { serde_json::from_slice(cidrs).ok()? };
        let grant = Grant {
            token_id: Uuid::from_slice(&head[16..32]).ok()?,
            scopes,
            name_json: std::str::from_utf8(name).ok()?.into(),
            expires_at: Millis::from_le_bytes(head[8..16].try_into().ok()?),
            revoked: head[36] != 0,
            cidrs: cidrs.into(),
        };
        Some(Cached { grant, marked: number(MARKED)?, read_at: number(4)? })
    }
}

impl Shelf for Tokens {
    type Value = Cached;

    fn find(&self, hash: &TokenHash) -> Option<Cached> {
        self.packed.with(hash, |packed| self.unpack(packed))?
    }

    fn insert(&self, hash: &TokenHash, cached: &Cached) {
        match self.pack(cached) {
            Some(packed) => self.packed.insert(hash, &packed),
            None => self.packed.remove(hash),
        }
    }

    fn remove(&self, hash: &TokenHash) {
        self.packed.remove(hash);
    }

    fn clear(&self) {
        self.packed.clear();
    }

    fn count(&self) -> usize {
        self.packed.count()
    }
}

/// One shared value for each set of scopes, numbered. Sets are few, but nobody promises that: when these bytes of JSON
/// are taken, further sets stand in their tokens.
const MAX_SETS: usize = 256 << 10;

#[derive(Debug, Default)]
struct ScopeSets(RwLock<Sets>);

#[derive(Debug, Default)]
struct Sets {
    list: Vec<Arc<Scopes>>,
    numbers: HashMap<String, u32>,
    bytes: usize,
}

impl ScopeSets {
    /// From the JSON array that is stored.
    fn intern(&self, json: &str) -> Result<Arc<Scopes>> {
        let sets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = sets.numbers.get(json) {
            return Ok(sets.list[*number as usize].clone());
        }
        drop(sets);
        let scopes = Arc::new(Scopes::from_json(json)?);
        let mut sets = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let number = u32::try_from(sets.list.len()).unwrap_or(OWN_SCOPES);
        if sets.bytes + json.len() <= MAX_SETS && !sets.numbers.contains_key(json) {
            sets.bytes += json.len();
            sets.numbers.insert(json.to_owned(), number);
            sets.list.push(scopes.clone());
        }
        Ok(scopes)
    }

    fn number(&self, scopes: &Scopes) -> Option<u32> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).numbers.get(scopes.json()).copied()
    }

    fn find(&self, number: u32) -> Option<Arc<Scopes>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).list.get(number as usize).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cached(tokens: &Tokens, scopes: &str) -> Cached {
        let grant = Grant {
            token_id: Uuid::from_u128(7),
            scopes: tokens.scopes(scopes).unwrap(),
            name_json: "\"ü\"".into(),
            expires_at: 1_800_000_000_000,
            revoked: true,
            cidrs: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()].into(),
        };
        Cached { grant, marked: 3, read_at: 4 }
    }

    #[test]
    fn what_is_found_is_what_was_kept() {
        let (tokens, hash) = (Tokens::new(1 << 20), [1; 32]);
        tokens.insert(&hash, &cached(&tokens, "[\"a\"]"));
        let found = tokens.find(&hash).unwrap();
        assert_eq!(format!("{found:?}"), format!("{:?}", cached(&tokens, "[\"a\"]")));
        assert!(Arc::ptr_eq(&found.grant.scopes, &tokens.scopes("[\"a\"]").unwrap()), "equal scopes are one value");
    }

    #[test]
    fn sets_of_scopes_beyond_the_bound_stand_in_their_tokens() {
        let tokens = Tokens::new(1 << 20);
        let set = |number: u32| format!("[\"{number:0100}\"]");
        (0..4_000).for_each(|number| drop(tokens.scopes(&set(number)).unwrap()));
        assert!(tokens.scope_sets.0.read().unwrap().bytes <= MAX_SETS);
        tokens.insert(&[1; 32], &cached(&tokens, &set(4_000)));
        assert_eq!(tokens.find(&[1; 32]).unwrap().grant.scopes.json(), set(4_000));
    }

    #[test]
    fn one_caller_marks_a_minute() {
        let (tokens, hash) = (Tokens::new(1 << 20), [1; 32]);
        tokens.insert(&hash, &cached(&tokens, "[\"a\"]"));
        assert!(tokens.claim(&hash, 5) && !tokens.claim(&hash, 5) && tokens.claim(&hash, 6));
        assert_eq!(tokens.find(&hash).unwrap().marked, 6);
    }
}
