//! Counters in Prometheus' text format, on the admin socket.
//!
//! The hot path adds to a counter of its own thread: one that all threads share would bounce between their caches.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::{Atomic, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use shared::api::tokens::TokenFault;

use crate::registry::Route;
use crate::tokens::FAULTS;

const SHARDS: usize = 8;

/// A counter in pieces, each on a cache line of its own.
#[derive(Debug, Default)]
pub struct Sharded([Line; SHARDS]);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);

impl Sharded {
    fn shard(&self) -> &AtomicU64 {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
        }
        let mine = MINE.with(|mine| {
            if mine.get() == usize::MAX {
                mine.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
            }
            mine.get()
        });
        &self.0[mine].0
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

type Count = Counter<u64, Sharded>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// The requests of one route by the class of their status.
#[derive(Clone, Debug)]
pub struct RouteCounts([Count; 3]);

impl RouteCounts {
    pub fn answered(&self, status: u16) {
        let [ok, refused, failed] = &self.0;
        match status {
            500.. => failed.inc(),
            400.. => refused.inc(),
            _ => ok.inc(),
        };
    }
}

/// How validates ended.
#[derive(Debug)]
pub struct Validations {
    valid: Count,
    refused: [Count; FAULTS.len()],
}

impl Validations {
    pub fn valid(&self) {
        self.valid.inc();
    }

    pub fn refused(&self, fault: TokenFault) {
        self.refused[fault as usize].inc();
    }
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    routes: Vec<RouteCounts>,
    /// Requests that no operation takes: pages and unknown paths.
    pub pages: RouteCounts,
    pub validations: Validations,
    /// Requests of proxies, by policy.
    pub forward: RouteCounts,
    /// Connections open now.
    pub connections: Gauge,
}

impl Metrics {
    pub fn new(routes: &[Route]) -> Self {
        let mut registry = Registry::with_prefix("authd");
        let requests = Family::<RequestLabels, Count>::default();
        let counts = |operation| {
            RouteCounts(
                ["ok", "refused", "failed"]
                    .map(|outcome| requests.get_or_create(&RequestLabels { operation, outcome }).clone()),
            )
        };
        let pages = counts("page");
        let forward = counts("forward");
        let routes = routes.iter().map(|route| counts(route.info.name)).collect();
        registry.register("requests", "Requests by operation and outcome", requests.clone());
        let validations = Family::<OutcomeLabel, Count>::default();
        let outcome = |outcome| validations.get_or_create(&OutcomeLabel { outcome }).clone();
        let counted = Validations {
            valid: outcome("valid"),
            refused: FAULTS.map(|fault| {
                outcome(match fault {
                    TokenFault::TokenNotFound => "token_not_found",
                    TokenFault::TokenRevoked => "token_revoked",
                    TokenFault::TokenExpired => "token_expired",
                    TokenFault::InsufficientScopes => "insufficient_scopes",
                    TokenFault::AddressNotAllowed => "address_not_allowed",
                })
            }),
        };
        registry.register("token_validations", "Validated tokens by outcome", validations.clone());
        let connections = Gauge::default();
        registry.register("connections", "Open connections", connections.clone());
        Self { registry, routes, pages, forward, validations: counted, connections }
    }

    /// The counters of the route at this position of the registry.
    pub fn route(&self, index: usize) -> &RouteCounts {
        &self.routes[index]
    }

    /// In the text format of Prometheus.
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
        let metrics = Metrics::new(&[]);
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| (0..1_000).for_each(|_| metrics.validations.refused(TokenFault::TokenExpired)));
            }
        });
        let text = metrics.encode();
        assert!(text.contains("authd_token_validations_total{outcome=\"token_expired\"} 20000"), "{text}");
    }
}
