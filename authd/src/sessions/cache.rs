//! What the cache holds of a session: some hundred and fifty bytes in one place, since a check meets a hundred
//! thousand sessions in any order and waits for memory at each step.

use shared::id::{SessionId, UserId};
use uuid::Uuid;

use super::live::Live;
use crate::cache::packed::Packed;
use crate::cache::{Dated, Hash, Shelf};
use crate::world::Millis;

/// The shelf: each session packed into bytes.
#[derive(Debug)]
pub struct Lives(Packed);

/// Where things are: the session's and the user's id (16 bytes each), four times (8 each), when it was read (4), the
/// end of the username and the length of the names (2 each); then the names.
const USER: usize = 16;
const TIMES: usize = 32;
const READ_AT: usize = 64;
const USERNAME_END: usize = 68;
const LENGTH: usize = 70;
const HEAD: usize = 72;

impl Dated for Live {
    fn read_at(&self) -> u32 {
        self.read_at
    }
}

impl Lives {
    /// Takes at most this many bytes.
    pub fn new(max_bytes: u64) -> Self {
        Self(Packed::new(max_bytes))
    }
}

fn pack(live: &Live) -> Option<Vec<u8>> {
    let length = u16::try_from(live.names_json.len()).ok()?;
    let mut out = Vec::with_capacity(HEAD + live.names_json.len());
    out.extend_from_slice(live.id.0.as_bytes());
    out.extend_from_slice(live.user_id.0.as_bytes());
    for time in [live.created_at, live.renewed_at, live.idle_expires_at, live.absolute_expires_at] {
        out.extend_from_slice(&time.to_le_bytes());
    }
    out.extend_from_slice(&live.read_at.to_le_bytes());
    out.extend_from_slice(&live.username_end.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&live.names_json);
    Some(out)
}

/// `None` if these are not the bytes of a session: then it is read from the database again.
fn unpack(packed: &[u8]) -> Option<Live> {
    let (head, rest) = packed.split_first_chunk::<HEAD>()?;
    let id = |from: usize| Uuid::from_slice(&head[from..from + 16]).ok();
    let time = |place: usize| head[TIMES + 8 * place..][..8].try_into().map(Millis::from_le_bytes).ok();
    let short = |from: usize| u16::from_le_bytes([head[from], head[from + 1]]);
    Some(Live {
        id: SessionId(id(0)?),
        user_id: UserId(id(USER)?),
        names_json: rest.get(..usize::from(short(LENGTH)))?.into(),
        username_end: short(USERNAME_END),
        created_at: time(0)?,
        renewed_at: time(1)?,
        idle_expires_at: time(2)?,
        absolute_expires_at: time(3)?,
        read_at: u32::from_le_bytes(head[READ_AT..][..4].try_into().ok()?),
    })
}

impl Shelf for Lives {
    type Value = Live;

    fn find(&self, hash: &Hash) -> Option<Live> {
        self.0.with(hash, |packed| unpack(packed))?
    }

    fn insert(&self, hash: &Hash, live: &Live) {
        match pack(live) {
            Some(packed) => self.0.insert(hash, &packed),
            None => self.0.remove(hash),
        }
    }

    fn remove(&self, hash: &Hash) {
        self.0.remove(hash);
    }

    fn clear(&self) {
        self.0.clear();
    }

    fn count(&self) -> usize {
        self.0.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(name: &str) -> Live {
        let (id, user) = (SessionId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        Live::new(id, user, "al\"ice", name, 3, 4, 5, 6, 7_000)
    }

    #[test]
    fn what_is_found_is_what_was_kept() {
        let (lives, hash) = (Lives::new(1 << 20), [1; 32]);
        lives.insert(&hash, &live("Zo\u{eb}"));
        let found = lives.find(&hash).unwrap();
        assert_eq!(found, live("Zo\u{eb}"));
        assert_eq!((found.username_json(), found.read_at()), (&b"\"al\\\"ice\""[..], 7));
    }

    #[test]
    fn a_session_that_is_too_long_is_not_kept_and_takes_the_old_one_away() {
        let (lives, hash) = (Lives::new(1 << 20), [1; 32]);
        lives.insert(&hash, &live("short"));
        lives.insert(&hash, &live(&"long".repeat(20_000)));
        assert_eq!(lives.find(&hash), None);
    }
}
