//! One connection: what it holds, and what it is told.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};

use ::http::HeaderMap;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::http::Origin;
use super::{Connections, Share};

/// What a head may have in bytes before it counts: it fits the buffer that every connection has.
const SMALL_HEAD: usize = 8 << 10;
/// The bytes that a received byte takes, measured: buffers grow by doubling, and headers are kept twice.
const GROWTH: usize = 2;
/// The memory of an HTTP/2 stream in bytes, without its headers; measured.
const STREAM: usize = 8 << 10;

/// What a connection is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Order {
    Serve,
    /// Answer the requests that are complete, refuse the others, and close.
    Finish,
    Close,
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    pub origin: Origin,
    /// None for a trusted proxy: its requests count by the address that it forwards.
    pub(super) share: Option<Share>,
    pub(super) table: Arc<Connections>,
    pub(super) is_http2: AtomicBool,
    /// Requests whose heads have arrived.
    pub(super) began: AtomicU64,
    /// Requests whose answers are made.
    ended: AtomicU64,
    /// Requests that wait for the rest of their body.
    pub(super) late: AtomicU64,
    /// Bytes of the head that is arriving; only of HTTP/1.
    pub(super) head: AtomicUsize,
    /// Counted bytes of heads, bodies and streams.
    pub(super) held: AtomicUsize,
    /// The rest of a refused request is read and thrown away.
    discards: AtomicBool,
    /// Successful writes.
    pub(super) wrote: AtomicU64,
    /// A write waits for the peer to read.
    pub(super) stalled: AtomicBool,
    order: AtomicU8,
    /// The task of the connection.
    task: OnceLock<Waker>,
    /// For its requests.
    ordered: Notify,
}

impl Connection {
    pub(super) fn new(origin: Origin, share: Option<Share>, table: Arc<Connections>) -> Self {
        Self {
            origin,
            share,
            table,
            is_http2: AtomicBool::new(false),
            began: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            late: AtomicU64::new(0),
            head: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            discards: AtomicBool::new(false),
            wrote: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            order: AtomicU8::new(Order::Serve as u8),
            task: OnceLock::new(),
            ordered: Notify::new(),
        }
    }

    pub(super) fn order(&self, order: Order) {
        self.order.fetch_max(order as u8, Relaxed);
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
        self.ordered.notify_waiters();
    }

    fn is_told(&self, order: Order) -> bool {
        self.order.load(Relaxed) >= order as u8
    }

    /// Runs the task of the connection to its end, or until the table tells it to close: then there is no output.
    /// `finish` is called once when the connection shall answer what is complete and then end.
    pub async fn serve<F: Future>(&self, serving: F, finish: impl Fn(Pin<&mut F>)) -> Option<F::Output> {
        let mut serving = std::pin::pin!(serving);
        let mut is_finishing = false;
        std::future::poll_fn(|context| {
            // A task has one waker for life.
            self.task.get_or_init(|| context.waker().clone());
            if self.is_told(Order::Close) {
                return Poll::Ready(None);
            }
            if !is_finishing && self.is_told(Order::Finish) {
                is_finishing = true;
                finish(serving.as_mut());
            }
            serving.as_mut().poll(context).map(Some)
        })
        .await
    }

    pub fn is_http2(&self) {
        self.is_http2.store(true, Relaxed);
    }

    pub(super) fn running(&self) -> u64 {
        // `ended` first: it never runs ahead.
        let ended = self.ended.load(Relaxed);
        self.began.load(Relaxed).saturating_sub(ended)
    }

    /// The head of a request is complete.
    pub fn begin(self: Arc<Self>) -> Running {
        self.began.fetch_add(1, Relaxed);
        self.forget_head();
        self.discards.store(false, Relaxed);
        Running { connection: self }
    }

    pub(super) fn forget_head(&self) {
        let head = self.head.load(Relaxed);
        self.head.store(0, Relaxed);
        self.release(GROWTH * head.saturating_sub(SMALL_HEAD));
    }

    /// Counts bytes that were read from the peer, as far as they belong to a head.
    pub fn received(&self, bytes: usize) {
        let belongs_elsewhere = self.is_http2.load(Relaxed) || self.discards.load(Relaxed) || self.running() > 0;
        if belongs_elsewhere {
            return;
        }
        let before = self.head.load(Relaxed);
        self.head.store(before + bytes, Relaxed);
        if before + bytes > SMALL_HEAD {
            self.hold(GROWTH * (before + bytes - before.max(SMALL_HEAD)));
        }
    }

    /// Whether the peer may still be sending what nobody will answer.
    pub fn is_unread(&self) -> bool {
        self.head.load(Relaxed) > 0 || self.discards.load(Relaxed)
    }

    /// From now on what arrives belongs to a request that was refused, until the next one begins.
    pub fn discard(&self) {
        self.discards.store(true, Relaxed);
    }

    /// Notes whether the peer took what was written.
    pub fn wrote(&self, is_taken: bool) {
        if is_taken {
            self.wrote.store(self.wrote.load(Relaxed).wrapping_add(1), Relaxed);
        }
        if self.stalled.load(Relaxed) == is_taken {
            self.stalled.store(!is_taken, Relaxed);
        }
    }

    fn hold(&self, bytes: usize) {
        self.held.fetch_add(bytes, Relaxed);
        self.table.hold(bytes);
    }

    fn release(&self, bytes: usize) {
        if bytes > 0 {
            self.held.fetch_sub(bytes, Relaxed);
            self.table.held.fetch_sub(bytes, Relaxed);
        }
    }
}

/// A request under way, until its answer is made.
#[derive(Debug)]
pub struct Running {
    pub connection: Arc<Connection>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.connection.ended.fetch_add(1, Relaxed);
    }
}

/// A stream of HTTP/2 with the headers of its request, until its answer is written: the peer decides when.
#[derive(Debug)]
pub struct Stream {
    connection: Arc<Connection>,
    bytes: usize,
}

impl Stream {
    pub fn new(connection: &Arc<Connection>, headers: &HeaderMap) -> Self {
        // RFC 9113 §6.5.2 counts 32 bytes for each header.
        let headers: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        let bytes = STREAM + GROWTH * headers;
        connection.hold(bytes);
        Self { connection: connection.clone(), bytes }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.release(self.bytes);
    }
}

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
    pub fn new(connection: &Arc<Connection>, address: Option<IpAddr>) -> Self {
        connection.late.fetch_add(1, Relaxed);
        let share = address.filter(|_| connection.share.is_none()).map(Share::of);
        let proxied = share.map(|share| connection.table.list(share));
        Self { connection: connection.clone(), held: AtomicUsize::new(0), proxied }
    }

    /// Counts bytes of the body.
    pub fn hold(&self, bytes: usize) {
        let bytes = GROWTH * bytes;
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
            () = self.is_ordered() => {}
        }
    }

    async fn is_ordered(&self) {
        loop {
            let mut ordered = std::pin::pin!(self.connection.ordered.notified());
            ordered.as_mut().enable();
            if self.connection.is_told(Order::Finish) {
                return;
            }
            ordered.await;
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
