//! One connection: what it holds, and what it is told.

use std::pin::Pin;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU8, AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};

use ::http::HeaderMap;
use tokio::sync::Notify;

use super::super::http::Origin;
use super::{Connections, Share};

/// What a connection may send at once before it counts, in bytes: it fits the buffer that every connection has.
const SMALL_HEAD: usize = 8 << 10;
/// The bytes of hyper's buffer for a byte that did not fit, measured: it doubles while some of it is in use.
const BUFFER: usize = 3;
/// The bytes that a byte of headers and bodies takes, measured: they are kept twice, or grow by doubling.
pub(super) const GROWTH: usize = 2;
/// The memory of a header beside its text, in bytes.
const HEADER: usize = 144;
/// The memory of an HTTP/2 stream in bytes, without its headers; measured.
const STREAM: usize = 8 << 10;

/// What an HTTP/2 connection may hold of a head that is not complete, in bytes: nobody sees it arrive.
const HTTP2_HEAD: usize = 96 << 10;

/// Above the bound, connections that hold more than this in bytes are not read from.
const LIGHT: usize = 16 << 10;

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
    /// Bytes that were read and belong to no complete head or body, only of HTTP/1: those of the head that is arriving.
    pub(super) head: AtomicUsize,
    /// The most that these bytes ever were: the buffer does not shrink.
    buffer: AtomicUsize,
    /// Counted bytes of heads, bodies and streams.
    held: AtomicIsize,
    /// The rest of a refused request is read and thrown away.
    discards: AtomicBool,
    /// Successful writes.
    pub(super) wrote: AtomicU64,
    /// Answers of HTTP/2 that are written.
    pub(super) answered: AtomicU64,
    /// Pieces of long answers that the peer has taken.
    streamed: AtomicU64,
    /// A write waits for the peer to read.
    pub(super) stalled: AtomicBool,
    /// A read waits until there is room.
    waits: AtomicBool,
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
            buffer: AtomicUsize::new(0),
            held: AtomicIsize::new(0),
            discards: AtomicBool::new(false),
            wrote: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            streamed: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            order: AtomicU8::new(Order::Serve as u8),
            task: OnceLock::new(),
            ordered: Notify::new(),
        }
    }

    pub(super) fn order(&self, order: Order) {
        self.order.fetch_max(order as u8, Relaxed);
        self.wake();
        self.ordered.notify_waiters();
    }

    fn wake(&self) {
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }

    fn is_closing(&self) -> bool {
        self.is_told(Order::Close)
    }

    /// Whether more may be read now. If not, the task is woken when that changes.
    pub fn may_read(&self) -> bool {
        if self.is_closing() {
            return false;
        }
        let must_wait = || self.table.is_over() && self.held() > self.for_heads() + LIGHT;
        if !must_wait() {
            return true;
        }
        self.waits.store(true, SeqCst);
        // There may be room again, and the walk that saw it did not see that this waits.
        !must_wait()
    }

    /// There is room.
    pub(super) fn go_on(&self) {
        if self.waits.swap(false, SeqCst) {
            self.wake();
        }
    }

    /// Resolves when it is told to finish.
    pub(super) async fn told_to_finish(&self) {
        loop {
            let mut ordered = std::pin::pin!(self.ordered.notified());
            ordered.as_mut().enable();
            if self.is_told(Order::Finish) {
                return;
            }
            ordered.await;
        }
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
            // What began meanwhile is answered first, unless the peer does not read.
            if self.is_closing() && (self.is_quiet() || self.stalled.load(Relaxed)) {
                return match serving.as_mut().poll(context) {
                    Poll::Ready(end) => Poll::Ready(Some(end)),
                    // The answers that are made were written, as far as the peer takes them.
                    Poll::Pending => Poll::Ready(None),
                };
            }
            if !is_finishing && self.is_told(Order::Finish) {
                is_finishing = true;
                finish(serving.as_mut());
            }
            serving.as_mut().poll(context).map(Some)
        })
        .await
    }

    /// It speaks HTTP/2.
    pub fn begin_http2(&self) {
        self.is_http2.store(true, Relaxed);
        self.hold(HTTP2_HEAD);
    }

    /// What is counted for heads that nobody sees arrive.
    fn for_heads(&self) -> usize {
        if self.is_http2.load(Relaxed) { HTTP2_HEAD } else { 0 }
    }

    pub(super) fn running(&self) -> u64 {
        // `ended` first: it never runs ahead.
        let ended = self.ended.load(Relaxed);
        self.began.load(Relaxed).saturating_sub(ended)
    }

    /// Whether nothing is lost but requests that are not complete.
    pub(super) fn is_quiet(&self) -> bool {
        self.running() <= self.late.load(Relaxed)
    }

    /// What shows that the connection is used: of HTTP/2 only whole answers and pieces of long ones, since its peer can
    /// make it write pongs.
    pub(super) fn progress(&self) -> (u64, u64) {
        let written = if self.is_http2.load(Relaxed) {
            self.answered.load(Relaxed) + self.streamed.load(Relaxed)
        } else {
            self.wrote.load(Relaxed)
        };
        (self.began.load(Relaxed), written)
    }

    /// The peer takes another piece of a long answer.
    pub fn streamed(&self) {
        self.streamed.fetch_add(1, Relaxed);
    }

    /// Whether each request is answered, and the answer written.
    pub(super) fn is_answered(&self) -> bool {
        let answered = if self.is_http2.load(Relaxed) { &self.answered } else { &self.ended };
        answered.load(Relaxed) >= self.began.load(Relaxed)
    }

    /// The head of a request is complete.
    pub fn begin(self: Arc<Self>) -> Running {
        self.began.fetch_add(1, Relaxed);
        self.head.store(0, Relaxed);
        self.discards.store(false, Relaxed);
        Running { connection: self }
    }

    /// The connection ends.
    pub(super) fn forget_buffers(&self) {
        self.release(self.for_heads() + beyond_small(self.buffer.load(Relaxed)));
    }

    /// Counts bytes that were read from the peer.
    pub fn received(&self, bytes: usize) {
        if self.is_http2.load(Relaxed) {
            return;
        }
        let now = self.head.fetch_add(bytes, Relaxed) + bytes;
        let before = self.buffer.fetch_max(now, Relaxed);
        if now > before.max(SMALL_HEAD) {
            self.hold(beyond_small(now) - beyond_small(before));
        }
    }

    /// Bytes that were read are passed on as a part of a body, and counted there.
    pub fn passed_on(&self, bytes: usize) {
        // Nothing is below zero: what was read is counted before.
        let _ = self.head.fetch_update(Relaxed, Relaxed, |head| Some(head.saturating_sub(bytes)));
    }

    /// A body is complete: what is left of it is what is around its chunks.
    pub fn body_ended(&self) {
        self.head.store(0, Relaxed);
    }

    /// Whether the peer may still be sending what nobody will answer.
    pub fn is_unread(&self) -> bool {
        self.head.load(Relaxed) > 0 || self.discards.load(Relaxed)
    }

    /// Whether it has to end because others need the room: then it waits for nothing.
    pub fn makes_room(&self) -> bool {
        self.is_told(Order::Finish) && !self.table.tables().is_stopping
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

    pub(super) fn held(&self) -> usize {
        at_least_zero(&self.held)
    }

    pub(super) fn hold(&self, bytes: usize) {
        self.held.fetch_add(bytes.cast_signed(), Relaxed);
        self.table.hold(bytes);
    }

    pub(super) fn release(&self, bytes: usize) {
        if bytes > 0 {
            self.held.fetch_sub(bytes.cast_signed(), Relaxed);
            self.table.held.fetch_sub(bytes.cast_signed(), Relaxed);
        }
    }
}

/// The memory of a buffer that held so many bytes, beyond what every connection has.
fn beyond_small(bytes: usize) -> usize {
    BUFFER * bytes.saturating_sub(SMALL_HEAD)
}

/// The value of a counter. It is below zero for a moment when a release overtakes what it releases.
pub(super) fn at_least_zero(counter: &AtomicIsize) -> usize {
    counter.load(Relaxed).max(0).cast_unsigned()
}

/// The memory of a head that is complete, in bytes: its text, and the table of its headers.
pub(super) fn size_of_head(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| GROWTH * (name.as_str().len() + value.len()) + HEADER).sum()
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
        let bytes = STREAM + size_of_head(headers);
        connection.hold(bytes);
        Self { connection: connection.clone(), bytes }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.release(self.bytes);
        self.connection.answered.fetch_add(1, Relaxed);
    }
}
