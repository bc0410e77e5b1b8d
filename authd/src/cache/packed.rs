//! Bytes by hash in rings of fixed memory: what a hundred bytes need is a hundred bytes, and no allocation of its own.
//!
//! Each shard is a ring of entries, oldest first, and a table of their places. A full ring gives up its oldest entry,
//! or writes it anew at the end when it was used meanwhile. A cache of separate allocations was refused: with keys,
//! links and the allocator's own bytes it needs twice the memory for a token.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Hash;

const SHARDS: usize = 64;
/// Memory is taken in pieces of at most this size, when they are first written.
const CHUNK: usize = 64 << 10;
/// A place counts units of four bytes in 24 bits, so a shard has at most so many bytes.
const MAX_SHARD: usize = 64 << 20;
/// The bytes of the hash that are kept and compared. The first one chooses the shard; 192 bits tell entries apart.
const KEPT: usize = 24;
/// Of an entry: its length in units, flags, and the kept part of its hash. The value follows.
const FLAGS: usize = 2;
const KEY: usize = 3;
const VALUE: usize = KEY + KEPT;
const USED: u8 = 1;
const GONE: u8 = 2;
/// Entries that one insertion writes anew at most.
const CHANCES: u32 = 3;

/// Byte strings by hash, within a bound.
#[derive(Debug)]
pub struct Packed(Box<[Mutex<Shard>]>);

#[derive(Debug)]
struct Shard {
    chunks: Vec<Box<[u8]>>,
    /// How many chunks there may be, and their size.
    most: usize,
    size: usize,
    /// Where the oldest entry is and where the next one goes: both only grow, and are taken modulo the ring's size.
    head: usize,
    tail: usize,
    /// Open addressing: eight bits of the hash and the entry's unit, counted from one; zero is free.
    table: Vec<u32>,
    largest_table: usize,
    entries: usize,
}

impl Packed {
    /// Takes at most this many bytes, tables included.
    pub fn new(max_bytes: u64) -> Self {
        let bytes = (usize::try_from(max_bytes).unwrap_or(usize::MAX) / SHARDS).min(MAX_SHARD);
        // A sixteenth for the table: a place of four bytes for each 64 bytes of entries.
        let (ring, places) = (bytes - bytes / 16, bytes / 16 / 4);
        let most = ring.div_ceil(CHUNK);
        let size = ring.checked_div(most).unwrap_or_default() & !3;
        let shard = || Shard {
            chunks: Vec::new(),
            most,
            size,
            head: 0,
            tail: 0,
            table: Vec::new(),
            largest_table: if places < 4 { 0 } else { 1 << places.ilog2() },
            entries: 0,
        };
        Self((0..SHARDS).map(|_| Mutex::new(shard())).collect())
    }

    /// Calls `read` with the value, which it may change but not lengthen, and marks it as used.
    pub fn with<R>(&self, hash: &Hash, read: impl FnOnce(&mut [u8]) -> R) -> Option<R> {
        self.shard(hash).find(hash).map(|(entry, _)| {
            entry[FLAGS] |= USED;
            read(&mut entry[VALUE..])
        })
    }

    /// Keeps the value, in place of what was there. One that is too long is not kept.
    pub fn insert(&self, hash: &Hash, value: &[u8]) {
        let mut shard = self.shard(hash);
        shard.remove(hash);
        shard.insert(hash, value);
    }

    pub fn remove(&self, hash: &Hash) {
        self.shard(hash).remove(hash);
    }

    pub fn clear(&self) {
        for shard in &self.0 {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.table.fill(0);
            (shard.head, shard.tail, shard.entries) = (0, 0, 0);
        }
    }

    /// How many entries there are.
    pub fn count(&self) -> usize {
        self.0.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).entries).sum()
    }

    fn shard(&self, hash: &Hash) -> MutexGuard<'_, Shard> {
        self.0[usize::from(hash[0]) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kept(hash: &Hash) -> &[u8] {
    &hash[hash.len() - KEPT..]
}

/// Where the search in a table begins, and the bits that a place repeats.
fn home(kept: &[u8]) -> (usize, u32) {
    let word = u32::from_be_bytes([kept[0], kept[1], kept[2], kept[3]]);
    (word as usize, u32::from(kept[4]) << 24)
}

impl Shard {
    fn ring(&self) -> usize {
        self.most * self.size
    }

    fn entry(&mut self, at: usize) -> &mut [u8] {
        let at = at % self.ring();
        let from = at % self.size;
        let chunk = &mut self.chunks[at / self.size];
        let length = 4 * usize::from(u16::from_le_bytes([chunk[from], chunk[from + 1]]));
        &mut chunk[from..from + length]
    }

    /// The bytes of an entry that `place` of the table names.
    fn named(&mut self, place: u32) -> &mut [u8] {
        self.entry((place as usize & 0x00ff_ffff).saturating_sub(1) * 4)
    }

    /// The entry and its position in the table.
    fn find(&mut self, hash: &Hash) -> Option<(&mut [u8], usize)> {
        let mask = self.table.len().checked_sub(1)?;
        let (start, tag) = home(kept(hash));
        let mut position = start & mask;
        loop {
            let place = self.table[position];
            if place == 0 {
                return None;
            }
            if place & 0xff00_0000 == tag && self.named(place)[KEY..VALUE] == *kept(hash) {
                return Some((self.named(place), position));
            }
            position = (position + 1) & mask;
        }
    }

    fn remove(&mut self, hash: &Hash) {
        if let Some((entry, position)) = self.find(hash) {
            entry[FLAGS] |= GONE;
            self.free(position);
        }
    }

    /// Empties a position of the table; those that follow move up, so that no search breaks off at the gap.
    fn free(&mut self, position: usize) {
        let mask = self.table.len() - 1;
        let (mut gap, mut next) = (position, (position + 1) & mask);
        while self.table[next] != 0 {
            let place = self.table[next];
            let (start, _) = home(&self.named(place)[KEY..VALUE]);
            // Its search passes the gap when its way to where it stands is at least as long as the way from the gap.
            if next.wrapping_sub(start) & mask >= next.wrapping_sub(gap) & mask {
                self.table[gap] = place;
                gap = next;
            }
            next = (next + 1) & mask;
        }
        self.table[gap] = 0;
        self.entries -= 1;
    }

    fn insert(&mut self, hash: &Hash, value: &[u8]) {
        let length = (VALUE + value.len()).next_multiple_of(4);
        let (true, Ok(units)) = (length <= self.size, u16::try_from(length / 4)) else { return };
        if self.largest_table == 0 {
            return;
        }
        let mut chances = CHANCES;
        while self.entries + 1 > self.largest_table / 4 * 3 || self.room(length).is_none() {
            self.give_up(&mut chances);
        }
        let Some(at) = self.room(length) else { return };
        let entry = self.place(at, units, kept(hash));
        entry[VALUE..VALUE + value.len()].copy_from_slice(value);
    }

    /// Where an entry of this length can go without giving up another one.
    fn room(&self, length: usize) -> Option<usize> {
        let left = self.size - self.tail % self.size;
        // An entry does not go across the end of a chunk.
        let at = if left < length { self.tail + left } else { self.tail };
        (at + length - self.head <= self.ring()).then_some(at)
    }

    /// Writes the head of an entry at the end of the ring, and its place into the table.
    fn place(&mut self, at: usize, units: u16, kept: &[u8]) -> &mut [u8] {
        if (self.entries + 1) * 4 > self.table.len() * 3 {
            self.grow();
        }
        if at != self.tail {
            // Whoever comes here from the front learns that the rest of this chunk is empty: no entry has no length.
            self.bytes(self.tail)[..2].fill(0);
        }
        self.tail = at + 4 * usize::from(units);
        let place = u32::try_from(at % self.ring() / 4 + 1).unwrap_or_default();
        self.entries += 1;
        self.point(place, kept);
        let entry = &mut self.bytes(at)[..4 * usize::from(units)];
        entry.fill(0);
        entry[..2].copy_from_slice(&units.to_le_bytes());
        entry[KEY..VALUE].copy_from_slice(kept);
        entry
    }

    /// The bytes from here to the end of the chunk.
    fn bytes(&mut self, at: usize) -> &mut [u8] {
        let at = at % self.ring();
        while self.chunks.len() <= at / self.size {
            self.chunks.push(vec![0; self.size].into_boxed_slice());
        }
        &mut self.chunks[at / self.size][at % self.size..]
    }

    fn point(&mut self, place: u32, kept: &[u8]) {
        let mask = self.table.len() - 1;
        let (start, tag) = home(kept);
        let mut position = start & mask;
        while self.table[position] != 0 {
            position = (position + 1) & mask;
        }
        self.table[position] = place | tag;
    }

    fn grow(&mut self) {
        let larger = (self.table.len() * 2).clamp(2, self.largest_table);
        let smaller = std::mem::replace(&mut self.table, vec![0; larger]);
        for place in smaller.into_iter().filter(|place| *place != 0) {
            let mut key = [0; KEPT];
            key.copy_from_slice(&self.named(place)[KEY..VALUE]);
            self.point(place & 0x00ff_ffff, &key);
        }
    }

    /// Takes the oldest entry out of the ring, and puts it back at the end if it was used and has a chance left.
    fn give_up(&mut self, chances: &mut u32) {
        let left = self.size - self.head % self.size;
        let length = if self.head == self.tail { 0 } else { self.entry(self.head).len() };
        if length == 0 {
            // The rest of the chunk is empty; the ring may be too.
            self.head += left;
            self.tail = self.tail.max(self.head);
            return;
        }
        let mut copy = self.entry(self.head).to_vec();
        if copy[FLAGS] & GONE == 0 {
            let place = u32::try_from(self.head % self.ring() / 4 + 1).unwrap_or_default();
            self.forget_place(place, &copy[KEY..VALUE]);
        }
        self.head += length;
        if copy[FLAGS] & (USED | GONE) == USED
            && *chances > 0
            && let Some(at) = self.room(length)
        {
            *chances -= 1;
            copy[FLAGS] = 0;
            let units = u16::from_le_bytes([copy[0], copy[1]]);
            self.place(at, units, &copy[KEY..VALUE]).copy_from_slice(&copy);
        }
    }

    fn forget_place(&mut self, place: u32, kept: &[u8]) {
        let mask = self.table.len() - 1;
        let (start, tag) = home(kept);
        let mut position = start & mask;
        while self.table[position] != 0 {
            if self.table[position] == place | tag {
                return self.free(position);
            }
            position = (position + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;

    fn hash(number: u32) -> Hash {
        Sha256::digest(number.to_be_bytes()).into()
    }

    fn value_of(packed: &Packed, number: u32, length: usize) -> Option<Vec<u8>> {
        packed.with(&hash(number), |value| value[..length].to_vec())
    }

    fn memory(packed: &Packed) -> usize {
        let of = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap();
            shard.chunks.iter().map(|chunk| chunk.len()).sum::<usize>() + 4 * shard.table.capacity()
        };
        packed.0.iter().map(of).sum()
    }

    #[test]
    fn a_full_cache_is_full_of_entries_and_within_its_bound() {
        let packed = Packed::new(8 << 20);
        for number in 0..200_000 {
            packed.insert(&hash(number), &[7; 60]);
        }
        assert!(memory(&packed) <= 8 << 20, "{}", memory(&packed));
        assert!(packed.count() * 100 > 8 << 20, "{} entries of 88 bytes", packed.count());
        assert!(value_of(&packed, 0, 60).is_none() && value_of(&packed, 199_999, 60).is_some());
    }

    #[test]
    fn what_is_used_stays_longer() {
        let packed = Packed::new(1 << 20);
        for number in 0..100_000 {
            packed.insert(&hash(number), &[7; 60]);
            value_of(&packed, 0, 60);
        }
        assert!(value_of(&packed, 0, 60).is_some());
    }

    #[test]
    fn nothing_fits_into_nothing() {
        for bytes in [0, 64, 640, 6_400] {
            let packed = Packed::new(bytes);
            for number in 0..100 {
                packed.insert(&hash(number), &[7; 60]);
                packed.insert(&hash(number), &vec![7; 100_000]);
            }
            assert!(memory(&packed) <= usize::try_from(bytes).unwrap());
        }
    }

    proptest! {
        /// Whatever happens, what is found is what was put there last.
        #[test]
        fn it_is_a_map_that_forgets(
            kib in 8_u64..200,
            steps in prop::collection::vec((0_u32..300, 0_u8..8, 1_usize..300), 1..2_000),
        ) {
            let (packed, mut truth) = (Packed::new(kib << 10), HashMap::new());
            for (step, (number, action, length)) in steps.into_iter().enumerate() {
                match action {
                    0 => {
                        packed.remove(&hash(number));
                        truth.remove(&number);
                    }
                    1..5 => {
                        let mut value = vec![step.to_le_bytes()[0]; length];
                        value[0] = step.to_le_bytes()[1];
                        packed.insert(&hash(number), &value);
                        truth.insert(number, value);
                    }
                    5 if step % 500 == 0 => {
                        packed.clear();
                        truth.clear();
                    }
                    _ => {
                        let expected = truth.get(&number);
                        let found = value_of(&packed, number, expected.map_or(0, Vec::len));
                        prop_assert!(found.is_none() || found.as_ref() == expected);
                    }
                }
                prop_assert!(packed.count() <= truth.len());
            }
        }
    }
}
