//! The embedded default: SQLite with write-ahead logging, one writer thread and several readers.
//!
//! The writer takes all batches that are waiting, applies each in a savepoint of its own, commits them together and
//! answers only then: one fsync carries many callers, and a batch that fails takes nobody with it. A pool of writing
//! connections was refused: SQLite has one write lock, so they would only wait for each other, with an fsync each.
//!
//! Reads run on reader threads; a point read costs less than handing it over, so it runs where it is asked for.
//! Every queue is bounded and everything has a deadline: too much, or too slow, is [`DbError::Unavailable`].

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::migrate::{self, Migration};
use super::sqlite_conn::{self, Conn, Sums};
use super::{Batch, BoxFuture, Db, DbError, Outcome, Query, Row};
use crate::world::Millis;

/// Bounds of the embedded database. The defaults suit every machine; tests make them small.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Reader threads, and half as many connections for point reads.
    pub readers: usize,
    /// Batches, and likewise reads, that may wait.
    pub queue: usize,
    /// Batches committed by one fsync at most.
    pub group: usize,
    /// How long a caller waits for an answer.
    pub deadline: Duration,
    /// How long a lock of another process is waited for.
    pub busy: Duration,
    /// The file's largest size in pages of 4 KiB: how a test fills the disk.
    pub max_pages: Option<u32>,
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
        }
    }
}

/// Page caches in KiB: the writer's, a reader thread's, a point reader's. Small, for the daemon's memory is promised.
const WRITER_CACHE: u32 = 4096;
const READER_CACHE: u32 = 1024;
const POINT_CACHE: u32 = 2048;

/// A point read waits on a thread that serves requests, so it waits for almost nothing.
const POINT_BUSY: Duration = Duration::from_millis(50);

/// After this long without a batch the writer folds the log back into the database file.
const IDLE: Duration = Duration::from_secs(2);

const THREAD_STACK: usize = 256 * 1024;

/// A SQLite database, open.
pub struct Sqlite {
    path: PathBuf,
    writer: SyncSender<Write>,
    readers: SyncSender<Read>,
    points: Vec<Mutex<Conn>>,
    settings: Settings,
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sqlite").field("settings", &self.settings).finish_non_exhaustive()
    }
}

struct Write {
    batch: Batch,
    /// It is answered when it is on disk.
    durable: bool,
    answer: oneshot::Sender<Result<Vec<Outcome>, DbError>>,
}

struct Read {
    query: Query,
    asked: Instant,
    answer: oneshot::Sender<Result<Vec<Row>, DbError>>,
}

impl Sqlite {
    /// Opens the file, made private, and brings its schema up to date. `now` is what the table of
    /// migrations remembers.
    pub fn open(path: &Path, settings: Settings, now: Millis) -> Result<Self, DbError> {
        Self::open_with(path, settings, migrate::ALL, now)
    }

    /// [`Sqlite::open`] with other migrations, for their tests.
    pub(super) fn open_with(
        path: &Path,
        settings: Settings,
        migrations: &[Migration],
        now: Millis,
    ) -> Result<Self, DbError> {
        sqlite_conn::make_file(path)?;
        let writer = Conn::open(path, WRITER_CACHE, settings.busy)?;
        writer.migrate(migrations, now)?;
        if let Some(pages) = settings.max_pages {
            writer.control_value(&format!("PRAGMA max_page_count = {pages}"))?;
        }
        let (write, writes) = sync_channel(settings.queue);
        spawn("db-writer", move || write_all(&writer, &writes, settings))?;
        let (read, reads) = sync_channel(settings.queue);
        let reads = Arc::new(Mutex::new(reads));
        for _ in 0..settings.readers {
            let reader = Conn::open(path, READER_CACHE, settings.busy)?.read_only()?;
            let reads = reads.clone();
            spawn("db-reader", move || read_all(&reader, &reads, settings))?;
        }
        let point = || Conn::open(path, POINT_CACHE, POINT_BUSY)?.read_only().map(Mutex::new);
        // Few with a cache each that holds the inner pages of a table of a million rows by integer key: under 1 MiB.
        let points = (0..settings.readers.div_ceil(2)).map(|_| point()).collect::<Result<_, _>>()?;
        Ok(Self { path: path.to_owned(), writer: write, readers: read, points, settings })
    }

    async fn write(&self, batch: Batch, durable: bool) -> Result<Vec<Outcome>, DbError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.writer.try_send(Write { batch, durable, answer });
        wait("a commit", queued(sent)?, answered, self.settings.deadline).await
    }

    /// Answers on this thread if a connection is free.
    fn point(&self, query: &Query) -> Option<Result<Vec<Row>, DbError>> {
        let start = SLOT.with(|slot| *slot);
        for place in 0..self.points.len() {
            let conn = match self.points[(start + place) % self.points.len()].try_lock() {
                Ok(conn) => conn,
                // A panic while reading leaves nothing half done.
                Err(TryLockError::Poisoned(conn)) => conn.into_inner(),
                Err(TryLockError::WouldBlock) => continue,
            };
            conn.allow(self.settings.deadline);
            return Some(conn.query(query));
        }
        None
    }
}

static NEXT_SLOT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

thread_local! {
    /// Each thread starts looking at another connection, and comes back to the one whose pages it has warmed.
    static SLOT: usize = NEXT_SLOT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
}

impl Db for Sqlite {
    fn query(&self, query: Query) -> BoxFuture<'_, Result<Vec<Row>, DbError>> {
        if query.point
            && let Some(answer) = self.point(&query)
        {
            return Box::pin(std::future::ready(answer));
        }
        let (answer, answered) = oneshot::channel();
        let sent = self.readers.try_send(Read { query, asked: Instant::now(), answer });
        Box::pin(async move { wait("a read", queued(sent)?, answered, self.settings.deadline).await })
    }

    fn commit_rows(&self, batch: Batch) -> BoxFuture<'_, Result<Vec<Outcome>, DbError>> {
        Box::pin(self.write(batch, true))
    }

    fn commit_soon(&self, batch: Batch) -> BoxFuture<'_, Result<Vec<Outcome>, DbError>> {
        Box::pin(self.write(batch, false))
    }

    /// Empties the log: the file alone is then the whole database, and may be copied or replaced.
    fn close(&self) -> BoxFuture<'_, Result<(), DbError>> {
        let (path, settings) = (self.path.clone(), self.settings);
        Box::pin(async move {
            let folding = tokio::task::spawn_blocking(move || {
                let conn = Conn::open(&path, READER_CACHE, settings.busy)?;
                conn.allow(settings.deadline);
                conn.control_value("PRAGMA wal_checkpoint(TRUNCATE)")
            });
            match tokio::time::timeout(settings.deadline, folding).await {
                Ok(Ok(Ok(0))) => Ok(()),
                Ok(Ok(Ok(_))) => Err(DbError::Unavailable("somebody else reads it".into())),
                Ok(Ok(Err(error))) => Err(error),
                Ok(Err(error)) => Err(DbError::Unavailable(error.into())),
                Err(_) => Err(DbError::late("emptying the log")),
            }
        })
    }

    fn engine(&self) -> &'static str {
        "sqlite"
    }
}

fn queued<T>(sent: Result<(), TrySendError<T>>) -> Result<(), DbError> {
    sent.map_err(|error| match error {
        TrySendError::Full(_) => DbError::Unavailable("its queue is full".into()),
        TrySendError::Disconnected(_) => DbError::Unavailable("its thread has ended".into()),
    })
}

/// A caller that stops waiting closes its channel, and what was not begun by then is not begun at all.
async fn wait<T>(
    what: &str,
    (): (),
    answered: oneshot::Receiver<Result<T, DbError>>,
    deadline: Duration,
) -> Result<T, DbError> {
    match tokio::time::timeout(deadline, answered).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(DbError::Unavailable("its thread has ended".into())),
        Err(_) => Err(DbError::late(what)),
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), DbError> {
    let thread = thread::Builder::new().name(name.to_owned()).stack_size(THREAD_STACK);
    thread.spawn(run).map(|_| ()).map_err(|error| DbError::Unavailable(error.into()))
}

/// The life of a reader thread: ends when the database is dropped.
fn read_all(conn: &Conn, reads: &Mutex<Receiver<Read>>, settings: Settings) {
    loop {
        let next = reads.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(read) = next else { return };
        if read.answer.is_closed() {
            continue;
        }
        conn.allow(settings.deadline.saturating_sub(read.asked.elapsed()));
        // Nobody is left to hear it if the caller has gone meanwhile.
        read.answer.send(conn.query(&read.query)).ok();
    }
}

/// The life of the writer thread: ends when the database is dropped and all that was queued is answered.
fn write_all(conn: &Conn, writes: &Receiver<Write>, settings: Settings) {
    let mut folded = true;
    loop {
        let first = match writes.recv_timeout(IDLE) {
            Ok(write) => write,
            Err(RecvTimeoutError::Timeout) => {
                if !folded {
                    folded = fold(conn, settings.busy);
                }
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        folded = false;
        let mut group = vec![first];
        group.extend(writes.try_iter().take(settings.group.saturating_sub(1)));
        group.retain(|write| !write.answer.is_closed());
        conn.allow(settings.deadline);
        commit_group(conn, group);
    }
}

/// After a failure, what an earlier commit left unsynced may never reach the disk, and a later one would stand behind
/// the gap: then the log is first copied into the file, from memory, and that is synced.
fn mend(conn: &Conn) -> Result<(), DbError> {
    if !conn.is_suspect.get() {
        return Ok(());
    }
    match conn.control_value("PRAGMA wal_checkpoint(FULL)")? {
        0 => {
            conn.is_suspect.set(false);
            Ok(())
        }
        _ => Err(DbError::Unavailable("after a failed write the log could not be copied yet".into())),
    }
}

/// Copies the log into the file, so that the next commit begins it anew. Whoever still reads from the log is not waited
/// for: the next idle moment will do. The log keeps its length: writing where the file system has blocks already takes a
/// third less time than making it longer.
fn fold(conn: &Conn, busy: Duration) -> bool {
    conn.allow(Duration::MAX);
    conn.sqlite.busy_timeout(Duration::ZERO).ok();
    let unfinished = conn.control_value("PRAGMA wal_checkpoint(RESTART)");
    conn.sqlite.busy_timeout(busy).ok();
    matches!(unfinished, Ok(0))
}

/// All of the group in one transaction, then the answers. Statements and locks that fail for reasons outside of a
/// batch (disk, lock, time) end the whole group, because SQLite may already have rolled it back.
fn commit_group(conn: &Conn, group: Vec<Write>) {
    let durable = group.iter().any(|write| write.durable);
    let ready = if durable { mend(conn) } else { Ok(()) };
    let outcome = ready.and_then(|()| conn.sync(durable)).and_then(|()| begin(conn)).and_then(|()| {
        let mut sums = Sums::new();
        let done = if let Some(done) = apply_all(conn, &group, &mut sums)? {
            done
        } else {
            // A batch failed, and took with it what was applied so far: once more, each within its own bounds.
            begin(conn)?;
            sums.clear();
            group.iter().map(|write| apply(conn, write, &mut sums)).collect::<Result<Vec<_>, _>>()?
        };
        conn.add(&sums)?;
        conn.control("COMMIT")?;
        Ok(done)
    });
    match outcome {
        Ok(done) => {
            conn.is_unsynced.set(!durable);
            for (write, answer) in group.into_iter().zip(done) {
                write.answer.send(answer).ok();
            }
        }
        Err(error) => {
            if !conn.sqlite.is_autocommit() {
                // If even this fails, the next `begin` tries again.
                conn.control("ROLLBACK").ok();
            }
            conn.is_suspect.set(conn.is_suspect.get() || conn.is_unsynced.get());
            tracing::warn!(%error, batches = group.len(), "a commit failed; nothing of it was applied");
            let reason = error.to_string();
            for write in group {
                write.answer.send(Err(DbError::Unavailable(reason.clone().into()))).ok();
            }
        }
    }
}

fn begin(conn: &Conn) -> Result<(), DbError> {
    if !conn.sqlite.is_autocommit() {
        conn.control("ROLLBACK")?;
    }
    // IMMEDIATE takes the write lock now: an upgrade later would fail at once, without waiting for `busy`.
    conn.control("BEGIN IMMEDIATE")
}

/// What each batch of a group answers.
type Answers = Vec<Result<Vec<Outcome>, DbError>>;

/// All batches without a savepoint between them, or none: `None` when one failed. Nearly all groups pass, and each
/// savepoint would copy every page that its batch touches: a third of the writer's work for a new token.
fn apply_all(conn: &Conn, group: &[Write], sums: &mut Sums) -> Result<Option<Answers>, DbError> {
    let mut done = Vec::with_capacity(group.len());
    for write in group {
        if write.answer.is_closed() {
            // Gone while we waited for the lock: told that it was too slow, so it must not happen any more.
            done.push(Err(DbError::late("a commit")));
            continue;
        }
        match conn.apply(&write.batch, sums) {
            Err(error @ DbError::Unavailable(_)) => return Err(error),
            Err(_) => return Ok(None),
            answer => done.push(answer),
        }
    }
    Ok(Some(done))
}

/// One batch in a savepoint: the outer result is the group's, the inner one the batch's.
fn apply(conn: &Conn, write: &Write, sums: &mut Sums) -> Result<Result<Vec<Outcome>, DbError>, DbError> {
    if write.answer.is_closed() {
        return Ok(Err(DbError::late("a commit")));
    }
    conn.control("SAVEPOINT batch")?;
    let before = sums.clone();
    let answer = conn.apply(&write.batch, sums);
    if answer.is_err() {
        *sums = before;
    }
    match answer {
        Ok(_) => {}
        Err(DbError::Unavailable(error)) => return Err(DbError::Unavailable(error)),
        Err(_) if conn.sqlite.is_autocommit() => {
            return Err(DbError::Unavailable("SQLite rolled the whole transaction back".into()));
        }
        Err(_) => conn.control("ROLLBACK TO batch")?,
    }
    conn.control("RELEASE batch")?;
    Ok(answer)
}
