//! Time and randomness as arguments, from an [`Env`].
//!
//! There are two implementations: the operating system's for the daemon, and a fixed one for tests, so that whole
//! answers can be compared. The linter forbids the global clock and randomness everywhere else.

use std::cell::Cell;
use std::fmt::Debug;
use std::sync::Arc;

use uuid::Uuid;

#[cfg(test)]
pub use self::fixed::FixedClock;

/// Milliseconds since the Unix epoch, the representation of time inside authd.
pub type Millis = i64;

/// One second, minute, hour and day in [`Millis`].
pub const SECOND: Millis = 1_000;
pub const MINUTE: Millis = 60 * SECOND;
pub const HOUR: Millis = 60 * MINUTE;
pub const DAY: Millis = 24 * HOUR;

/// How far the clocks of two nodes may be apart. A stored moment further in the future was set by a wrong clock.
///
/// Ages within the process are measured by the monotonic clock instead, which nobody sets.
pub const SKEW: Millis = MINUTE;

/// Whether a stored end is still ahead. One further away than its longest life was set by a wrong clock, and is void.
pub fn is_ahead(end: Millis, now: Millis, longest: Millis) -> bool {
    end > now && end <= now.saturating_add(longest).saturating_add(SKEW)
}

pub trait Clock: Debug + Send + Sync {
    fn now(&self) -> Millis;
}

/// A source of unpredictable bytes.
pub trait Random: Debug + Send + Sync {
    fn fill(&self, bytes: &mut [u8]);

    /// For values that are not secret, such as ids; may be taken from a buffer.
    fn id_bytes(&self) -> [u8; 10] {
        let mut bytes = [0; 10];
        self.fill(&mut bytes);
        bytes
    }
}

/// The clock and the source of randomness. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Env {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Env {
    pub fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self { clock, random }
    }

    pub fn real() -> Self {
        Self::new(Arc::new(SystemClock), Arc::new(SystemRandom))
    }

    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes);
        bytes
    }

    /// A UUIDv7: ids sort by their time of creation (RFC 9562 §5.7).
    pub fn uuid(&self) -> Uuid {
        let millis = u64::try_from(self.now()).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &self.random.id_bytes()).into_uuid()
    }
}

#[derive(Debug)]
struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where authd reads the clock")]
    fn now(&self) -> Millis {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Millis::try_from(since_epoch.as_millis()).unwrap_or(Millis::MAX)
    }
}

#[derive(Debug)]
struct SystemRandom;

impl Random for SystemRandom {
    #[expect(clippy::disallowed_methods, reason = "the one place where authd gets randomness")]
    fn fill(&self, bytes: &mut [u8]) {
        // Without randomness no secret can be created: stopping is the only safe reaction.
        getrandom::fill(bytes).expect("the operating system provides randomness");
    }

    /// One system call for 16 ids of this thread.
    fn id_bytes(&self) -> [u8; 10] {
        thread_local! {
            static STORE: Cell<([[u8; 10]; 16], usize)> = const { Cell::new(([[0; 10]; 16], 0)) };
        }
        let (mut store, mut left) = STORE.get();
        if left == 0 {
            self.fill(store.as_flattened_mut());
            left = store.len();
        }
        left -= 1;
        STORE.set((store, left));
        store[left]
    }
}

/// The implementation for tests, so that whole answers can be compared. Not part of the daemon: it is predictable.
#[cfg(test)]
mod fixed {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    use sha2::{Digest, Sha256};

    use super::{Clock, Env, Millis, Random};

    impl Env {
        /// A clock that moves only by hand, and a reproducible stream of bytes.
        pub fn fixed(now: Millis) -> (Self, Arc<FixedClock>) {
            let clock = Arc::new(FixedClock(AtomicI64::new(now)));
            (Self::new(clock.clone(), Arc::new(SeededRandom(AtomicU64::new(0)))), clock)
        }
    }

    /// A clock that tests move by hand.
    #[derive(Debug)]
    pub struct FixedClock(AtomicI64);

    impl FixedClock {
        pub fn advance(&self, by: Millis) {
            self.0.fetch_add(by, Ordering::SeqCst);
        }
    }

    impl Clock for FixedClock {
        fn now(&self) -> Millis {
            self.0.load(Ordering::SeqCst)
        }
    }

    /// SHA-256 of a counter: distinct, reproducible, and evenly spread.
    #[derive(Debug)]
    struct SeededRandom(AtomicU64);

    impl Random for SeededRandom {
        fn fill(&self, bytes: &mut [u8]) {
            for chunk in bytes.chunks_mut(32) {
                let n = self.0.fetch_add(1, Ordering::SeqCst);
                chunk.copy_from_slice(&Sha256::digest(n.to_be_bytes())[..chunk.len()]);
            }
        }
    }
}
