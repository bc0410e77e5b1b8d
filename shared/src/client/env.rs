//! Time and randomness of the client library, passed as an argument so that tests can move the clock.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use crate::time::Time;

pub(super) trait Env: fmt::Debug + Send + Sync + 'static {
    /// Monotonic time since a fixed moment; it may stop while the machine sleeps.
    fn now(&self) -> Duration;

    /// The wall clock.
    fn time(&self) -> Time;

    /// For spreading retries; not used for secrets.
    fn random(&self) -> u64;
}

/// The clock and randomness of the machine.
#[derive(Debug)]
pub(super) struct Machine {
    start: Instant,
    random: RandomState,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), random: RandomState::new() }
    }
}

impl Env for Machine {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place where the client library asks for the time")]
    fn time(&self) -> Time {
        Time::from_millis(jiff::Timestamp::now().as_millisecond())
    }

    fn random(&self) -> u64 {
        let mut hasher = self.random.build_hasher();
        hasher.write_u128(self.start.elapsed().as_nanos());
        hasher.finish()
    }
}

#[cfg(test)]
pub(super) mod testing {
    use std::sync::Mutex;

    use super::*;

    /// A clock that moves only by hand.
    #[derive(Debug, Default)]
    pub(in crate::client) struct Still(Mutex<Duration>);

    impl Still {
        /// The wall clock at the start.
        pub(in crate::client) const START: i64 = 1_800_000_000_000;

        pub(in crate::client) fn pass(&self, time: Duration) {
            *self.0.lock().unwrap() += time;
        }
    }

    impl Env for Still {
        fn now(&self) -> Duration {
            *self.0.lock().unwrap()
        }

        fn time(&self) -> Time {
            Time::from_millis(Self::START + i64::try_from(self.now().as_millis()).unwrap())
        }

        fn random(&self) -> u64 {
            0
        }
    }
}
