//! Counters in Prometheus' text format, on the admin socket.
//!
//! The hot path adds to a counter of its own thread: a counter shared by all threads would cause cache contention.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::{Atomic, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::log;

const SHARDS: usize = 8;

/// A counter split into shards, each on its own cache line.
#[derive(Debug, Default)]
pub struct Sharded([Line; SHARDS]);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);

impl Sharded {
    fn shard(&self) -> &AtomicU64 {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
        }
        &self.0[MINE.with(|mine| *mine)].0
    }
}

impl Atomic<u64> for Sharded {
    fn inc(&self) -> u64 {
        self.inc_by(1)
    }

    fn inc_by(&self, by: u64) -> u64 {
        self.shard().fetch_add(by, Ordering::Relaxed)
    }

    fn get(&self) -> u64 {
        self.0.iter().map(|line| line.0.load(Ordering::Relaxed)).sum()
    }
}

/// A counter that the threads of the hot path add to.
pub type Count = Counter<u64, Sharded>;

/// The name of a label and its value.
type Label = (&'static str, &'static str);

/// The requests of one route by the class of their status.
#[derive(Clone, Debug)]
pub struct RouteCounts([Count; 3]);

impl RouteCounts {
    pub fn answered(&self, status: u16) {
        let [ok, refused, failed] = &self.0;
        match status {
            // What authd does not have, which anybody can ask for.
            501 => refused.inc(),
            500.. => failed.inc(),
            400.. => refused.inc(),
            _ => ok.inc(),
        };
    }
}

/// All metrics. Modules create their own counters at the start.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<[Label; 2], Count>,
    pub connections: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("authd");
        let requests = Family::<[Label; 2], Count>::default();
        registry.register("requests", "Requests by operation and outcome", requests.clone());
        let connections = Gauge::default();
        registry.register("connections", "Open connections", connections.clone());
        let dropped = "Lines that were not written because the reader of the log was too slow";
        registry.register("log_lines_dropped", dropped, log::dropped());
        Self { registry, requests, connections }
    }
}

impl Metrics {
    /// The counters of an operation or of another kind of request.
    pub fn requests(&self, operation: &'static str) -> RouteCounts {
        let count = |outcome| self.requests.get_or_create(&[("operation", operation), ("outcome", outcome)]).clone();
        RouteCounts(["ok", "refused", "failed"].map(count))
    }

    /// A family of counters by outcome, in this order.
    pub fn outcomes<const N: usize>(&mut self, name: &str, help: &str, outcomes: [&'static str; N]) -> [Count; N] {
        let family = Family::<[Label; 1], Count>::default();
        self.registry.register(name, help, family.clone());
        outcomes.map(|outcome| family.get_or_create(&[("outcome", outcome)]).clone())
    }

    /// A counter of its own.
    pub fn count(&mut self, name: &str, help: &str) -> Count {
        let count = Count::default();
        self.registry.register(name, help, count.clone());
        count
    }

    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_threads_add_up() {
        let mut metrics = Metrics::default();
        let [count] = metrics.outcomes("token_validations", "…", ["token_expired"]);
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        count.inc();
                    }
                });
            }
        });
        let text = metrics.encode();
        assert!(text.contains("authd_token_validations_total{outcome=\"token_expired\"} 20000"), "{text}");
    }
}
