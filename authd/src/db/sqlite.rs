//! The embedded default: SQLite with write-ahead logging, one writer thread and several readers.
//!
//! The writer takes all waiting batches, commits them together and answers only then: one fsync serves many callers.
//! When a batch fails they are applied again, each in a savepoint, so that only that one fails. A pool of writing
//! connections was rejected: SQLite has one write lock, so they would only wait for each other, with an fsync each.
//!
//! Reads run on reader threads; a point read costs less than handing it over, so it runs on the calling thread. Every
//! queue is bounded, and every job has a deadline for its start. A commit that has started ends when the disk answers,
//! and its outcome is always reported.
//!
//! The start refuses a file that is damaged or that its log does not belong to, and changes nothing then.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::migrate::{self, Migration};
use super::sqlite_backup;
use super::sqlite_check;
use super::sqlite_conn::{self, Conn, Opener};
use super::sqlite_pool::{Reading, Slot};
use super::sqlite_reserve::{Reserve, can_grow};
use super::sqlite_writer::{Write, Writer};
use super::{Batch, BoxFuture, Checkpoints, Committed, Db, DbError, Identity, LostCommit, Query, Row, Urgency, Vitals};
use crate::env::Millis;

/// Limits of the embedded database. The defaults suit every machine; tests make them small.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Reader threads, and half as many connections for point reads.
    pub readers: usize,
    /// Maximum number of waiting batches; the same for reads.
    pub queue: usize,
    /// Maximum number of batches committed by one fsync.
    pub group: usize,
    /// How long a caller waits for an answer.
    pub deadline: Duration,
    /// How long to wait for a lock of another process.
    pub busy: Duration,
    /// The file's maximum size in pages of 4 KiB, with which a test simulates a full disk.
    pub max_pages: Option<u32>,
    pub migrations: &'static [Migration],
    pub checkpoints: Checkpoints,
}

impl Default for Settings {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(2, usize::from);
        Self {
            readers: cores.clamp(2, 8),
            queue: 4096,
            group: 256,
            deadline: Duration::from_secs(5),
            busy: Duration::from_secs(2),
            max_pages: None,
            migrations: migrate::ALL,
            checkpoints: Checkpoints::Own,
        }
    }
}

/// Page caches in KiB: the writer's, a reader thread's, a point reader's. Small, since the daemon's memory is limited.
const WRITER_CACHE: u32 = 4096;
const READER_CACHE: u32 = 1024;
const POINT_CACHE: u32 = 2048;

/// A point read blocks a thread that serves requests, so it waits only briefly.
const POINT_BUSY: Duration = Duration::from_millis(50);

const THREAD_STACK: usize = 256 * 1024;

/// A SQLite database, open.
pub struct Sqlite {
    writer: SyncSender<Write>,
    readers: SyncSender<Read>,
    reading: Arc<Reading>,
    opener: Opener,
    vitals: Arc<Vitals>,
    settings: Settings,
    /// Ends the thread that checks the pages.
    checks: Mutex<Option<SyncSender<()>>>,
    /// A probe of the disk is under way: one that hangs must not be followed by others.
    probes: Arc<AtomicBool>,
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sqlite").finish_non_exhaustive()
    }
}

struct Read {
    query: Query,
    asked: Instant,
    answer: oneshot::Sender<Result<Vec<Row>, DbError>>,
}

impl Sqlite {
    /// Opens the file, makes it private, checks it, and migrates its schema. `now` is recorded in the table of
    /// migrations.
    pub fn open(path: &Path, settings: Settings, identity: &Identity, now: Millis) -> Result<Self, DbError> {
        let in_file = sqlite_check::number_in_file(path)?;
        sqlite_conn::make_file(path)?;
        let opener = |cache_kib, busy, is_writer| Opener {
            path: path.to_owned(),
            cache_kib,
            busy,
            is_writer,
            max_pages: settings.max_pages.filter(|_| is_writer),
            checkpoints: settings.checkpoints,
        };
        let mut reserve = Reserve::new(path);
        let mut writer = loop {
            match Slot::open(opener(WRITER_CACHE, settings.busy, true)) {
                // The index of the log needs some space.
                Err(error) if sqlite_conn::is_full(&error) && reserve.release() => {}
                opened => break opened.map_err(|error| sqlite_check::explain(error, path))?,
            }
        };
        let migrate = |conn: &Conn| conn.migrate(settings.migrations, identity, now);
        let begins = begin(writer.conn()?, path, in_file, migrate, (settings.checkpoints, now))?;
        let (write, writes) = sync_channel(settings.queue);
        let readers = |count, cache_kib, busy| {
            (0..count).map(|_| Slot::open(opener(cache_kib, busy, false)).map(Mutex::new)).collect::<Result<_, _>>()
        };
        let vitals = Arc::<Vitals>::default();
        let reading = Arc::new(Reading {
            threads: readers(settings.readers, READER_CACHE, settings.busy)?,
            // Few, each with a cache for the inner pages of a table of a million rows by integer key: under 1 MiB.
            points: readers(settings.readers.div_ceil(2), POINT_CACHE, POINT_BUSY)?,
            checker: Mutex::new(Slot { opener: opener(READER_CACHE, settings.busy, false), conn: None }),
            interrupt: Mutex::default(),
            failed_at: Mutex::default(),
            vitals: vitals.clone(),
        });
        let writer = Writer::new(writer, reading.clone(), reserve, begins, settings);
        spawn("db-writer", move || writer.run(&writes))?;
        let (read, reads) = sync_channel(settings.queue);
        let reads = Arc::new(Mutex::new(reads));
        for number in 0..settings.readers {
            let (reading, reads) = (reading.clone(), reads.clone());
            spawn("db-reader", move || read_all(&reading, number, &reads, settings))?;
        }
        let (checks, stop) = sync_channel(0);
        let beside = reading.clone();
        spawn("db-checker", move || sqlite_check::check_behind(&beside, &stop))?;
        let opener = opener(READER_CACHE, settings.busy, true);
        Ok(Self {
            writer: write,
            readers: read,
            reading,
            opener,
            vitals,
            settings,
            checks: Mutex::new(Some(checks)),
            probes: Arc::default(),
        })
    }

    /// Runs the check behind the start now.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let (_running, stop) = sync_channel(0);
        sqlite_check::check_tables(&self.reading, &stop, &mut std::collections::HashSet::new()).unwrap();
    }

    /// Runs the query on this thread if a connection is free.
    fn point(&self, query: &Query) -> Option<Result<Vec<Row>, DbError>> {
        let start = SLOT.with(|slot| *slot);
        let points = &self.reading.points;
        let mut free = (0..points.len()).find_map(|place| match points[(start + place) % points.len()].try_lock() {
            Ok(slot) => Some(slot),
            // A panic during a read leaves no partial change.
            Err(TryLockError::Poisoned(slot)) => Some(slot.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        })?;
        Some(self.reading.query(&mut free, query, self.settings.deadline))
    }
}

/// Checks the file and its log, then migrates. Returns whether the next commit begins a new log. If the file is refused,
/// closing this connection changes nothing.
fn begin(
    conn: &Conn,
    path: &Path,
    in_file: Option<i64>,
    migrate: impl FnOnce(&Conn) -> Result<(), DbError>,
    (checkpoints, now): (Checkpoints, Millis),
) -> Result<bool, DbError> {
    conn.keep_log(true)?;
    let checked = sqlite_check::check_log(conn, path, in_file).and_then(|()| sqlite_check::check_pages(conn, path));
    checked.map_err(|error| sqlite_check::explain(error, path))?;
    migrate(conn).map_err(|error| sqlite_check::explain(error, path))?;
    if checkpoints == Checkpoints::External {
        // Somebody else begins the next log, and does not raise its number.
        if conn.number()? == 0 {
            conn.set_number(sqlite_check::first_number(now)).ok();
        }
        return Ok(false);
    }
    conn.keep_log(false)?;
    // A full disk refuses these, and is no reason not to start.
    let copied = || conn.checkpoint("PASSIVE").unwrap_or(false);
    if conn.number()? == 0 && copied() {
        conn.set_number(sqlite_check::first_number(now)).ok();
    }
    Ok(copied())
}

static NEXT_SLOT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Each thread prefers another connection, whose page cache it then reuses.
    static SLOT: usize = NEXT_SLOT.fetch_add(1, Ordering::Relaxed);
}

impl Db for Sqlite {
    fn query(&self, query: Query) -> BoxFuture<'_, Result<Vec<Row>, DbError>> {
        if query.point
            && let Some(answer) = self.point(&query)
        {
            return Box::pin(std::future::ready(answer));
        }
        let (answer, answered) = oneshot::channel();
        let answer = asked(&self.readers, Read { query, asked: Instant::now(), answer }, answered);
        let deadline = self.settings.deadline;
        Box::pin(async move { tokio::time::timeout(deadline, answer).await.unwrap_or(Err(DbError::Late("a read"))) })
    }

    fn submit(&self, batch: Batch, urgency: Urgency) -> BoxFuture<'static, Result<Committed, DbError>> {
        let begin_by = Instant::now() + self.settings.deadline;
        let (answer, answered) = oneshot::channel();
        let end = asked(&self.writer, Write { batch, urgency, begin_by, answer }, answered);
        let vitals = self.vitals.clone();
        Box::pin(async move {
            let end = end.await;
            // That there is space for what is urgent tells nothing of the rest.
            if urgency == Urgency::Usual || end.is_err() {
                vitals.record(&end);
            }
            end
        })
    }

    fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    fn can_grow(&self) -> BoxFuture<'_, bool> {
        if self.probes.swap(true, Ordering::Relaxed) {
            return Box::pin(std::future::ready(false));
        }
        let (path, probes) = (self.opener.path.clone(), self.probes.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let can = can_grow(&path);
            probes.store(false, Ordering::Relaxed);
            can
        });
        let deadline = self.settings.deadline;
        Box::pin(async move { matches!(tokio::time::timeout(deadline, asked).await, Ok(Ok(true))) })
    }

    /// No commit is ever lost: the writer is in this process.
    fn settle(&self, _: LostCommit) -> BoxFuture<'_, Result<Option<bool>, DbError>> {
        Box::pin(std::future::ready(Ok(Some(false))))
    }

    fn deadline(&self) -> Duration {
        self.settings.deadline
    }

    /// Empties the log, so that the file alone is the whole database and can be copied or replaced.
    fn close(&self) -> BoxFuture<'_, Result<(), DbError>> {
        if self.settings.checkpoints == Checkpoints::External {
            return Box::pin(std::future::ready(Ok(())));
        }
        let (opener, deadline) = (self.opener.clone(), self.settings.deadline);
        // A check under way would keep the log.
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).take();
        let reading = self.reading.clone();
        Box::pin(async move {
            let emptying = tokio::task::spawn_blocking(move || {
                let _none = reading.end_check();
                let conn = Conn::open(&opener)?;
                conn.allow(deadline);
                conn.control_value("PRAGMA wal_checkpoint(TRUNCATE)")
            });
            let emptied = tokio::time::timeout(deadline, emptying).await;
            let emptied = emptied.map_err(|_| DbError::Late("emptying the log"))?;
            match emptied.map_err(|error| DbError::Unavailable(error.into()))?? {
                0 => Ok(()),
                _ => Err(DbError::Unavailable("another process reads it".into())),
            }
        })
    }

    fn backup(&self, to: PathBuf) -> BoxFuture<'_, Result<(), DbError>> {
        let opener = self.opener.clone();
        Box::pin(async move {
            let writing = tokio::task::spawn_blocking(move || sqlite_backup::write(&opener, &to));
            writing.await.map_err(|error| DbError::Unavailable(error.into()))?
        })
    }

    fn engine(&self) -> &'static str {
        "sqlite"
    }
}

/// Queues a request to a thread; the returned future is the thread's answer.
fn asked<Q, A>(
    queue: &SyncSender<Q>,
    question: Q,
    answered: oneshot::Receiver<Result<A, DbError>>,
) -> impl Future<Output = Result<A, DbError>> + use<Q, A> {
    let ended = || DbError::Unavailable("its thread has ended".into());
    let sent = queue.try_send(question).map_err(|error| match error {
        TrySendError::Full(_) => DbError::Unavailable("its queue is full".into()),
        TrySendError::Disconnected(_) => ended(),
    });
    async move {
        sent?;
        answered.await.unwrap_or_else(|_| Err(ended()))
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), DbError> {
    let thread = thread::Builder::new().name(name.to_owned()).stack_size(THREAD_STACK);
    thread.spawn(run).map(|_| ()).map_err(|error| DbError::Unavailable(error.into()))
}

/// Runs a reader thread until the database is dropped.
fn read_all(reading: &Reading, number: usize, reads: &Mutex<Receiver<Read>>, settings: Settings) {
    loop {
        let next = reads.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(read) = next else { return };
        if read.answer.is_closed() {
            continue;
        }
        let time = settings.deadline.saturating_sub(read.asked.elapsed());
        let mut slot = reading.threads[number].lock().unwrap_or_else(PoisonError::into_inner);
        let answer = reading.query(&mut slot, &read.query, time);
        drop(slot);
        // This fails if the caller has stopped waiting.
        read.answer.send(answer).ok();
    }
}
