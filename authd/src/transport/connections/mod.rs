//! The open connections: what each holds, since when it is quiet, and which one gives way at a limit.
//!
//! Invariants: connections and the bytes of requests that are not complete are bounded as a whole. Below the bounds
//! nobody is refused anything. At a bound the network that holds most gives way, its longest quiet connection first, so
//! that one network cannot take what others need. A connection is only closed while it executes no request, except
//! that one whose peer does not read is given up.
//!
//! The tables are walked once a second and at a bound; a request itself only adds to counters of its own connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::debug;

mod connection;
mod late;
mod relief;

pub use self::connection::{Connection, Running, Stream};
use self::connection::{Order, at_least_zero};
pub use self::late::Late;
use self::late::Proxied;
use self::relief::Candidate;
use super::config::Config;
use super::forwarded;
use super::http::Origin;
use crate::caller::Caller;
use crate::memory;
use crate::metrics::Metrics;
use crate::network;

/// The memory of an open connection in bytes, measured: hyper's two buffers and the futures.
const CONNECTION: usize = 20 << 10;
/// How long a connection that is told to finish may stay open without a request.
const FINISH: Duration = Duration::from_secs(1);
/// The same on HTTP/2, if answers are still being written.
const FINISH_ANSWERS: Duration = Duration::from_secs(5);
/// How long a peer may take to read what was written. A client that sends requests but never reads would hold its
/// connection for ever.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest and the shortest interval between two walks at no bound.
const WALK: Duration = Duration::from_secs(1);
const SHORTEST_WALK: Duration = Duration::from_millis(100);
/// Between two walks at a bound.
const PAUSE: Duration = Duration::from_millis(2);
/// When this many bytes were freed they are given back to the system, at most once in this time.
const BURST: usize = 16 << 20;
const GIVE_BACK: Duration = Duration::from_secs(5);
/// At a bound this part of it is freed at once, so that the tables are not walked for every newcomer.
const FREED: usize = 64;

/// Whose share a connection or a request counts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Share {
    /// A /24 of IPv4 or a /56 of IPv6.
    Network(IpAddr),
    /// A local user on the admin socket, by uid.
    User(u32),
}

impl Share {
    fn of(address: IpAddr) -> Self {
        Self::Network(network::masked(address, 24, 56))
    }
}

/// A connection in the table.
#[derive(Debug)]
struct Entry {
    connection: Arc<Connection>,
    /// [`Connection::progress`] and the writes when it was last looked at.
    seen: ((u64, u64), u64),
    /// Since when it executes no request, and nothing of an answer was written.
    quiet_since: Instant,
    stalled_since: Option<Instant>,
    /// Since when it is told to finish.
    finishing: Option<Instant>,
}

impl Entry {
    fn bytes(&self) -> usize {
        CONNECTION + self.connection.held()
    }

    /// Tells the connection to finish; at once if it never had a request or is in the middle of a head.
    fn finish(&mut self, now: Instant) {
        self.finishing.get_or_insert(now);
        let connection = &self.connection;
        let is_bare = connection.began.load(Relaxed) == 0 || connection.head.load(Relaxed) > 0;
        connection.order(if is_bare && connection.running() == 0 { Order::Close } else { Order::Finish });
    }
}

#[derive(Debug, Default)]
struct Tables {
    next: u64,
    open: HashMap<u64, Entry>,
    /// How many of them were told to finish.
    finishing: usize,
    proxied: HashMap<u64, Arc<Proxied>>,
    is_stopping: bool,
}

/// The bounds, in what they are counted in.
#[derive(Clone, Copy)]
enum Counted {
    Connections,
    Bytes,
}

/// Whether a connection that was told to finish, and executes nothing, has had its time.
fn is_finished(connection: &Connection, since: Instant, quiet_since: Instant, now: Instant) -> bool {
    if connection.is_http2.load(Relaxed) {
        // Its peer may go on asking as long as it does not confirm the end.
        let limit = if connection.is_answered() { FINISH } else { FINISH_ANSWERS };
        return now - since >= limit;
    }
    now - since.max(quiet_since) >= FINISH
}

/// What may give way.
enum Who {
    Open(u64),
    Proxied(Arc<Proxied>),
}

/// Every open connection.
#[derive(Debug)]
pub struct Connections {
    limit: usize,
    max_held: usize,
    first_head: Duration,
    idle: Duration,
    trusted: Vec<IpNet>,
    counted: Gauge,
    tables: Mutex<Tables>,
    open: AtomicUsize,
    /// Counted bytes beside those of the connections themselves.
    held: AtomicIsize,
    /// A bound was reached, or the first connection was opened.
    attention: Notify,
    emptied: Notify,
}

/// The place of a connection in the table, until it is dropped.
#[derive(Debug)]
pub struct Place {
    number: u64,
    pub connection: Arc<Connection>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connection.forget_buffers();
        let table = &self.connection.table;
        let mut tables = table.tables();
        if tables.open.remove(&self.number).is_some_and(|entry| entry.finishing.is_some()) {
            tables.finishing -= 1;
        }
        table.counted.dec();
        if table.open.fetch_sub(1, Relaxed) == 1 {
            table.emptied.notify_waiters();
        }
    }
}

impl Connections {
    pub fn new(config: &Config, max_connections: usize, metrics: &Metrics) -> Arc<Self> {
        Arc::new(Self {
            limit: max_connections,
            counted: metrics.connections.clone(),
            max_held: config.max_held,
            first_head: Duration::from_secs(config.first_byte_seconds),
            idle: Duration::from_secs(config.head_seconds),
            trusted: config.trusted_proxies.clone(),
            tables: Mutex::default(),
            open: AtomicUsize::new(0),
            held: AtomicIsize::new(0),
            attention: Notify::new(),
            emptied: Notify::new(),
        })
    }

    /// A panic elsewhere leaves the tables whole: each change is one insertion or removal.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new connection in. At the bound others give way; if none can, there is no place.
    pub fn open(self: &Arc<Self>, origin: Origin) -> Option<Place> {
        let share = match &origin {
            Origin::Admin(Caller::Peer { uid, .. }) => Some(Share::User(*uid)),
            Origin::Admin(_) => None,
            Origin::Public(peer) | Origin::Management(peer) => {
                let is_proxy = forwarded::is_trusted(peer.to_canonical(), &self.trusted);
                (!is_proxy).then(|| Share::of(*peer))
            }
        };
        let now = Instant::now();
        let mut tables = self.tables();
        if tables.is_stopping {
            return None;
        }
        if tables.open.len() - tables.finishing >= self.limit {
            self.relieve(&mut tables, Counted::Connections, now);
            if tables.open.len() - tables.finishing >= self.limit {
                return None;
            }
        }
        let connection = Arc::new(Connection::new(origin, share, self.clone()));
        let number = tables.number();
        let entry = Entry {
            connection: connection.clone(),
            seen: ((0, 0), 0),
            quiet_since: now,
            stalled_since: None,
            finishing: None,
        };
        tables.open.insert(number, entry);
        self.counted.inc();
        if self.open.fetch_add(1, Relaxed) == 0 || self.is_over() {
            self.attention.notify_one();
        }
        Some(Place { number, connection })
    }

    fn list(&self, share: Share) -> (u64, Arc<Proxied>) {
        let proxied =
            Arc::new(Proxied { share, since: Instant::now(), held: AtomicUsize::new(0), gives_way: Notify::new() });
        let mut tables = self.tables();
        let number = tables.number();
        tables.proxied.insert(number, proxied.clone());
        (number, proxied)
    }

    fn hold(&self, bytes: usize) {
        self.held.fetch_add(bytes.cast_signed(), Relaxed);
        if self.is_over() {
            self.attention.notify_one();
        }
    }

    fn bytes(&self) -> usize {
        at_least_zero(&self.held) + self.open.load(Relaxed) * CONNECTION
    }

    fn is_over(&self) -> bool {
        self.bytes() > self.max_held
    }

    /// Walks the tables until it is dropped: lets idle and stalled connections go, keeps the bounds, and gives memory
    /// back after a burst.
    pub async fn watch(&self) {
        let interval = WALK.min(self.first_head / 4).min(self.idle / 4).max(SHORTEST_WALK);
        let mut is_over = false;
        // The most that was held since memory was given back, and when that was.
        let (mut most, mut given_back) = (0, Instant::now());
        loop {
            if is_over {
                // What was told to close needs its turn first.
            } else if self.open.load(Relaxed) == 0 && most <= BURST {
                self.attention.notified().await;
            } else {
                let _ = tokio::time::timeout(interval, self.attention.notified()).await;
            }
            is_over = self.is_over();
            self.walk();
            // While nothing can give way, others must have their turn.
            tokio::time::sleep(PAUSE).await;
            let (held, now) = (self.bytes(), Instant::now());
            most = most.max(held);
            if most - held > BURST && now - given_back >= GIVE_BACK {
                // Beside the walks: it may take a while.
                tokio::task::spawn_blocking(memory::give_back);
                (most, given_back) = (held, now);
            }
        }
    }

    fn walk(&self) {
        let now = Instant::now();
        let mut tables = self.tables();
        let mut told = 0;
        for entry in tables.open.values_mut() {
            let connection = &entry.connection;
            let is_idle = connection.running() == 0;
            let (progress, wrote) = (connection.progress(), connection.wrote.load(Relaxed));
            if progress != entry.seen.0 || !entry.connection.is_quiet() {
                entry.quiet_since = now;
            }
            let is_stalled = connection.stalled.load(Relaxed) && wrote == entry.seen.1;
            entry.stalled_since = is_stalled.then(|| entry.stalled_since.unwrap_or(now));
            entry.seen = (progress, wrote);
            let limit = if progress.0 == 0 { self.first_head } else { self.idle };
            if entry.stalled_since.is_some_and(|since| now - since >= WRITE_TIMEOUT) {
                debug!("a connection whose peer does not read was closed");
                connection.order(Order::Close);
            }
            match entry.finishing {
                Some(since) if is_idle && is_finished(connection, since, entry.quiet_since, now) => {
                    connection.order(Order::Close);
                }
                None if is_idle && now - entry.quiet_since >= limit => {
                    entry.finish(now);
                    told += 1;
                }
                _ => {}
            }
        }
        tables.finishing += told;
        if self.is_over() {
            self.relieve(&mut tables, Counted::Bytes, now);
        } else {
            tables.open.values().for_each(|entry| entry.connection.go_on());
        }
    }

    /// Tells the connections of the networks that hold most to finish, until there is room.
    fn relieve(&self, tables: &mut Tables, counted: Counted, now: Instant) {
        let (bound, weigh): (usize, fn(usize) -> usize) = match counted {
            Counted::Connections => (self.limit, |_| 1),
            Counted::Bytes => (self.max_held, |bytes| bytes),
        };
        let mut totals: HashMap<Option<Share>, usize> = HashMap::new();
        let mut candidates = Vec::new();
        let mut all = 0;
        for (number, entry) in tables.open.iter().filter(|(_, entry)| entry.finishing.is_none()) {
            let (share, weight) = (entry.connection.share, weigh(entry.bytes()));
            all += weight;
            // A trusted proxy's connections go last: they are nobody's share.
            *totals.entry(share).or_default() += if share.is_some() { weight } else { 0 };
            if entry.connection.is_quiet() {
                let quiet_since = (entry.quiet_since, *number);
                candidates.push(Candidate { share, weight, quiet_since, who: Who::Open(*number) });
            }
        }
        for (number, proxied) in &tables.proxied {
            let (share, weight) = (Some(proxied.share), weigh(CONNECTION + proxied.held.load(Relaxed)));
            *totals.entry(share).or_default() += weight;
            let quiet_since = (proxied.since, *number);
            candidates.push(Candidate { share, weight, quiet_since, who: Who::Proxied(proxied.clone()) });
        }
        let gone = relief::choose(totals, candidates, (all + bound / FREED + 1).saturating_sub(bound));
        debug!(connections = gone.len(), "give way at a bound");
        for who in gone {
            match who {
                Who::Open(number) => {
                    if let Some(entry) = tables.open.get_mut(&number) {
                        entry.finish(now);
                        // What executes nothing would hold what it holds until the client agrees.
                        if entry.connection.running() == 0 || entry.connection.is_http2.load(Relaxed) {
                            entry.connection.order(Order::Close);
                        }
                        tables.finishing += 1;
                    }
                }
                // Its connection closes after the refusal.
                Who::Proxied(proxied) => proxied.gives_way.notify_one(),
            }
        }
    }

    /// Lets nobody new in, and tells all to finish.
    pub fn stop(&self) {
        let now = Instant::now();
        let mut tables = self.tables();
        tables.is_stopping = true;
        let mut told = 0;
        for entry in tables.open.values_mut() {
            told += usize::from(entry.finishing.is_none());
            entry.finish(now);
        }
        tables.finishing += told;
    }

    /// Resolves when no connection is open.
    pub async fn closed(&self) {
        loop {
            let mut emptied = std::pin::pin!(self.emptied.notified());
            emptied.as_mut().enable();
            if self.open.load(Relaxed) == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Tables {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}
