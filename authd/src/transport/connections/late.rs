//! A request that waits for the rest of its body.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ::http::HeaderMap;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Share;
use super::connection::{Connection, GROWTH, size_of_head};

/// A request that waits for the rest of its body.
#[derive(Debug)]
pub struct Late {
    connection: Arc<Connection>,
    held: AtomicUsize,
    /// By a trusted proxy: listed in the table, to give way by itself.
    proxied: Option<(u64, Arc<Proxied>)>,
}

/// A late request that a trusted proxy passes on.
#[derive(Debug)]
pub(super) struct Proxied {
    pub(super) share: Share,
    pub(super) since: Instant,
    pub(super) held: AtomicUsize,
    pub(super) gives_way: Notify,
}

impl Late {
    /// `address` is the client's.
    pub fn new(connection: &Arc<Connection>, headers: &HeaderMap, address: Option<IpAddr>) -> Self {
        // A stream of HTTP/2 counts them already.
        let head = if connection.is_http2.load(Relaxed) { 0 } else { size_of_head(headers) };
        connection.late.fetch_add(1, Relaxed);
        let share = address.filter(|_| connection.share.is_none()).map(Share::of);
        let proxied = share.map(|share| connection.table.list(share));
        let late = Self { connection: connection.clone(), held: AtomicUsize::new(0), proxied };
        late.count(head);
        late
    }

    /// Counts bytes of the body.
    pub fn hold(&self, bytes: usize) {
        self.count(GROWTH * bytes);
    }

    fn count(&self, bytes: usize) {
        self.held.fetch_add(bytes, Relaxed);
        if let Some((_, proxied)) = &self.proxied {
            proxied.held.fetch_add(bytes, Relaxed);
        }
        self.connection.hold(bytes);
    }

    /// Resolves when the request has to give way.
    pub async fn gives_way(&self) {
        let by_itself = async {
            match &self.proxied {
                Some((_, proxied)) => proxied.gives_way.notified().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = by_itself => {}
            () = self.connection.told_to_finish() => {}
        }
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.connection.late.fetch_sub(1, Relaxed);
        self.connection.release(self.held.load(Relaxed));
        if let Some((number, _)) = &self.proxied {
            self.connection.table.tables().proxied.remove(number);
        }
    }
}
