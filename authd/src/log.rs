//! The log's way out: a bounded queue before standard error, and a budget for the lines that callers cause.
//!
//! Invariants: nothing waits for whoever reads the log, since a pipe or a journal that nobody reads would stop every
//! request; what does not fit is dropped and counted, and a later line says how much. Lines that anybody can cause are
//! bounded per minute, in all and per network ([`admit`]).
//!
//! The queue is the process' own, as standard error and the subscriber of `tracing` are.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Write};
use std::net::IpAddr;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use tracing::Level;

use crate::network;

/// Bytes that wait for the reader of the log.
const QUEUE_BYTES: usize = 1 << 20;
/// How long the end of the process waits for the reader of the log.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause before the next try at an output that is full and does not block.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

static QUEUE: LazyLock<Queue> = LazyLock::new(Queue::default);

/// Starts the thread that writes to standard error. Lines come through [`line`].
pub fn start() -> io::Result<()> {
    QUEUE.lock().is_open = true;
    let thread = thread::Builder::new().name("log".into());
    let started = thread.spawn(|| QUEUE.write_to(io::stderr(), report)).map(drop);
    started.inspect_err(|_| QUEUE.lock().is_open = false)
}

/// A writer of one formatted line, for `tracing_subscriber`.
pub fn line() -> impl Write {
    &*QUEUE
}

/// Writes text to standard error as it is, in order with the lines of the log.
pub fn say(text: &str) {
    if !QUEUE.push(text.as_bytes()) {
        eprint!("{text}");
    }
}

/// Writes what is left, unless nobody reads it.
pub fn end() {
    QUEUE.end(END_TIMEOUT);
}

/// The lines that were dropped, for the metrics.
pub fn dropped() -> Counter {
    QUEUE.dropped.clone()
}

fn report(lines: u64) {
    let total = QUEUE.dropped.get();
    tracing::warn!(lines, total, "log lines were dropped: the reader of the log was too slow");
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    dropped: Counter,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines that were dropped since the last report.
    unreported: u64,
    is_open: bool,
    is_written: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line, or drops it if the queue is full; false if there is nobody to write it.
    fn push(&self, line: &[u8]) -> bool {
        let mut state = self.lock();
        if !state.is_open {
            return false;
        }
        if state.waiting.len() + line.len() > QUEUE_BYTES {
            self.drop_lines(&mut state, 1);
        } else {
            state.waiting.extend_from_slice(line);
            self.changed.notify_all();
        }
        true
    }

    fn drop_lines(&self, state: &mut State, lines: u64) {
        state.unreported += lines;
        self.dropped.inc_by(lines);
    }

    /// Writes what is queued until the queue has ended. After lines could be written, `report` gets the number of those
    /// that were dropped before.
    fn write_to(&self, mut out: impl Write, report: impl Fn(u64)) {
        let mut lines = Vec::new();
        while self.next(&mut lines) {
            if write_all(&mut out, &lines).is_err() {
                // Without a report: it could not be written either.
                let lost = lines.split(|byte| *byte == b'\n').count() - 1;
                self.drop_lines(&mut self.lock(), u64::try_from(lost).unwrap_or(u64::MAX));
                continue;
            }
            let dropped = std::mem::take(&mut self.lock().unreported);
            if dropped > 0 {
                report(dropped);
            }
        }
    }

    /// Waits for lines, and moves them out of the queue; false at its end.
    fn next(&self, lines: &mut Vec<u8>) -> bool {
        lines.clear();
        let idle = |state: &mut State| state.waiting.is_empty() && state.is_open;
        let mut state = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut state.waiting, lines);
        state.is_written = lines.is_empty();
        self.changed.notify_all();
        !lines.is_empty()
    }

    fn end(&self, timeout: Duration) {
        let mut state = self.lock();
        if std::mem::take(&mut state.is_open) {
            self.changed.notify_all();
            let _ = self.changed.wait_timeout_while(state, timeout, |state| !state.is_written);
        }
    }
}

impl Write for &Queue {
    /// Takes a whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// As `write_all`, also to an output that another process has set not to block.
fn write_all(out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A budget of lines per minute: in all, and of one network once half of all is used.
const WINDOW: Duration = Duration::from_secs(60);
const LINES: u32 = 40;
const LINES_OF_NETWORK: u32 = 5;

/// One for each level of the lines that callers cause, and one for those of the daemon's own: refusals must not use up
/// what failures need.
static BUDGETS: LazyLock<Mutex<[Budget; 4]>> =
    LazyLock::new(|| Mutex::new(std::array::from_fn(|_| Budget::new(Instant::now()))));

/// Whether a line of this level that a caller from this address caused may be logged: yes, with the number of lines before
/// it that might not. `None` as the address stands for the admin socket and the daemon's own parts. See [`caused!`].
pub fn admit(address: Option<IpAddr>, level: Level) -> Option<u64> {
    let mut budgets = BUDGETS.lock().unwrap_or_else(PoisonError::into_inner);
    let budget = match (address, level) {
        (None, _) => 0,
        (_, Level::ERROR) => 1,
        (_, Level::WARN) => 2,
        _ => 3,
    };
    budgets[budget].admit(Instant::now(), address.map(|address| network::masked(address, 24, 56)))
}

/// Logs a line that the caller from an address caused: at this level within the budget, else at debug.
macro_rules! caused {
    ($address:expr, $level:ident, $($line:tt)+) => {
        match $crate::log::admit($address, $crate::log::level::$level) {
            Some(unlogged) => {
                tracing::$level!(unlogged = (unlogged > 0).then_some(unlogged), $($line)+);
            }
            None => tracing::debug!($($line)+),
        }
    };
}
pub(crate) use caused;

/// The levels, as the macros of `tracing` are called.
#[expect(non_upper_case_globals, reason = "the names of macros")]
pub(crate) mod level {
    use tracing::Level;

    pub(crate) const error: Level = Level::ERROR;
    pub(crate) const warn: Level = Level::WARN;
    pub(crate) const info: Level = Level::INFO;
}

#[derive(Debug)]
struct Budget {
    window_start: Instant,
    lines: u32,
    /// At most [`LINES`] networks.
    by_network: HashMap<Option<IpAddr>, u32>,
    unlogged: u64,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self { window_start: now, lines: 0, by_network: HashMap::new(), unlogged: 0 }
    }

    fn admit(&mut self, now: Instant, network: Option<IpAddr>) -> Option<u64> {
        if now.duration_since(self.window_start) >= WINDOW {
            *self = Self { unlogged: self.unlogged, ..Self::new(now) };
        }
        let of_network = self.by_network.get(&network).copied().unwrap_or_default();
        if self.lines >= LINES || (self.lines >= LINES / 2 && of_network >= LINES_OF_NETWORK) {
            self.unlogged += 1;
            return None;
        }
        self.lines += 1;
        self.by_network.insert(network, of_network + 1);
        Some(std::mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    /// An output that takes what the test lets it take; `None` is an error.
    struct Reader {
        turns: mpsc::Receiver<Option<usize>>,
        read: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let Ok(Some(most)) = self.turns.recv() else { return Err(ErrorKind::BrokenPipe.into()) };
            if most == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            let taken = most.min(bytes.len());
            let _ = self.read.send(bytes[..taken].to_vec());
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    type Started = (Arc<Queue>, mpsc::Sender<Option<usize>>, mpsc::Receiver<Vec<u8>>, mpsc::Receiver<u64>);

    fn started() -> Started {
        let queue = Arc::new(Queue::default());
        queue.lock().is_open = true;
        let ((go, turns), (read, lines), (report, reports)) = (mpsc::channel(), mpsc::channel(), mpsc::channel());
        let writing = queue.clone();
        thread::spawn(move || {
            writing.write_to(Reader { turns, read }, |dropped| report.send(dropped).unwrap());
        });
        (queue, go, lines, reports)
    }

    #[test]
    fn a_line_waits_for_no_reader_and_what_is_dropped_is_counted_and_told() {
        let (queue, go, lines, reports) = started();
        let line = [b'x'; 1023].into_iter().chain([b'\n']).collect::<Vec<u8>>();
        // One that the thread holds, and a queue full of others; all of it without a reader.
        assert!(queue.push(&line));
        while !queue.lock().waiting.is_empty() {
            thread::yield_now();
        }
        for _ in 0..1024 + 300 {
            (&*queue).write_all(&line).unwrap();
        }
        assert_eq!((queue.dropped.get(), queue.lock().waiting.len()), (300, QUEUE_BYTES));
        // The reader goes on, in pieces and with a pause.
        for turn in [Some(1000), Some(0), Some(24)] {
            go.send(turn).unwrap();
        }
        assert_eq!(lines.recv().unwrap().len() + lines.recv().unwrap().len(), 1024);
        assert_eq!(reports.recv().unwrap(), 300);
        go.send(Some(usize::MAX)).unwrap();
        assert_eq!(lines.recv().unwrap().len(), QUEUE_BYTES);
        drop(go);
    }

    #[test]
    fn an_output_that_fails_ends_nothing_and_is_told_when_it_works_again() {
        let (queue, go, lines, reports) = started();
        for number in 1..=3 {
            queue.push(b"lost\n");
            go.send(None).unwrap();
            while queue.dropped.get() < number {
                thread::yield_now();
            }
        }
        queue.push(b"seen\n");
        go.send(Some(100)).unwrap();
        assert_eq!((lines.recv().unwrap().as_slice(), reports.recv().unwrap()), (b"seen\n".as_slice(), 3));
    }

    #[test]
    fn the_end_writes_what_is_left_but_does_not_wait_for_ever() {
        let (queue, go, lines, _reports) = started();
        queue.push(b"last\n");
        go.send(Some(100)).unwrap();
        queue.end(Duration::from_secs(60));
        assert_eq!(lines.try_recv().unwrap(), b"last\n");
        assert!(!queue.push(b"too late\n"));

        let (queue, _go, lines, _reports) = started();
        queue.push(b"nobody reads this\n");
        queue.end(Duration::from_millis(10));
        assert!(lines.try_recv().is_err());
    }

    #[test]
    fn what_callers_cause_is_bounded_in_all_and_per_network() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let network = |number: u8| Some(IpAddr::from([192, 0, 2, number]));
        let mut logged = |seconds: u64, network, lines: u32| -> u32 {
            let now = start + Duration::from_secs(seconds);
            (0..lines).map(|_| u32::from(budget.admit(now, network).is_some())).sum()
        };
        assert_eq!(logged(0, network(1), 150), LINES / 2, "one alone gets half");
        assert_eq!(logged(1, network(2), 150), LINES_OF_NETWORK, "and leaves others their share");
        assert_eq!(logged(2, None, 1), 1);
        assert_eq!((3..=255).map(|number| logged(3, network(number), 10)).sum::<u32>(), 14, "up to all");
        // Three networks have logged, the last one 4 of its 10.
        let next = budget.admit(start + WINDOW, network(1));
        assert_eq!(next, Some(6 + 250 * 10), "the next line tells how many were not logged");
        assert_eq!((budget.admit(start + WINDOW, network(1)), budget.by_network.len()), (Some(0), 1));
    }
}
