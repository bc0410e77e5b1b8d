//! The embedded default: SQLite with write-ahead logging, one writer thread and several readers.
//!
//! The writer takes all batches that are waiting, commits them together and answers only then: one fsync carries many
//! callers. When a batch fails they are applied again, each in a savepoint, so that it takes nobody with it. A pool of writing
//! connections was refused: SQLite has one write lock, so they would only wait for each other, with an fsync each.
//!
//! Reads run on reader threads; a point read costs less than handing it over, so it runs where it is asked for.
//! Every queue is bounded, and everything has a deadline before which it must begin. A commit that has begun ends when
//! the disk says so, and its end is always told.
//!
//! After an error that is not the statement's own (a lock that the system refused, a failed read) connections may be of
//! no use for good: a lock that could not be given back is held by the process, and SQLite takes it for another
//! connection's. Such a lock goes only when every connection of the process is closed, so all are opened anew.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::ErrorCode;
use tokio::sync::oneshot;

use super::migrate::{self, Migration};
use super::sqlite_conn::{self, Conn, Sums};
use super::{Batch, BoxFuture, Committed, Db, DbError, LostCommit, Query, Row};
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

/// After this many attempts in vain to copy the log, and after twice, four times … as many, all connections are opened
/// anew.
const UNFOLDED: u32 = 4;

/// A failure is over when none has followed it for this long.
const QUIET: Duration = Duration::from_millis(1500);

const THREAD_STACK: usize = 256 * 1024;

/// A SQLite database, open.
pub struct Sqlite {
    writer: SyncSender<Write>,
    readers: SyncSender<Read>,
    reading: Arc<Reading>,
    opener: Opener,
    settings: Settings,
}

/// The connections that read.
struct Reading {
    /// Those of the reader threads.
    threads: Vec<Mutex<Slot>>,
    /// Those of point reads.
    points: Vec<Mutex<Slot>>,
    /// When a connection failed last; `None` when all have been opened anew since that was over.
    failed_at: Mutex<Option<Instant>>,
}

impl Reading {
    fn query(&self, slot: &mut Slot, query: &Query, time: Duration) -> Result<Vec<Row>, DbError> {
        let answer = slot.query(query, time);
        if answer.as_ref().is_err_and(|error| sqlite_conn::code(error).is_some()) {
            slot.conn = None;
            self.set_failed_at(Some(Instant::now()));
        }
        answer
    }

    fn set_failed_at(&self, at: Option<Instant>) {
        *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    fn failed_at(&self) -> Option<Instant> {
        *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a connection has failed, and not all have been opened anew since that was over.
    fn has_failed(&self) -> bool {
        self.failed_at().is_some()
    }

    /// [`fold`]; whether all of the log was copied.
    fn fold(&self, writer: &mut Slot) -> bool {
        let busy = writer.opener.busy;
        let folded = writer.conn().and_then(|conn| fold(conn, busy));
        if folded.is_err() {
            self.set_failed_at(Some(Instant::now()));
        }
        folded.unwrap_or(false)
    }

    /// Once more when the failure is over: of a lock that could not be given back nobody is told.
    fn open_anew_after_failure(&self, writer: &mut Slot) {
        if self.failed_at().is_some_and(|at| at.elapsed() >= QUIET) {
            let is_open = self.open_anew(writer);
            self.set_failed_at((!is_open).then(Instant::now));
        }
    }

    /// Closes all connections before any is opened again, then opens the writer's; whether that worked. Waits for the
    /// reads that are under way, each of which has a deadline.
    fn open_anew(&self, writer: &mut Slot) -> bool {
        let slots = self.threads.iter().chain(&self.points);
        close(slots.map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner)).collect(), writer)
    }

    /// [`Reading::open_anew`], if nobody reads at the moment.
    fn open_anew_unless_read(&self, writer: &mut Slot) {
        let slots = self.threads.iter().chain(&self.points);
        if let Ok(slots) = slots.map(Mutex::try_lock).collect() {
            close(slots, writer);
        }
    }
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sqlite").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Closes these connections and the writer's, and opens the writer's; whether that worked.
fn close(mut slots: Vec<MutexGuard<'_, Slot>>, writer: &mut Slot) -> bool {
    slots.iter_mut().for_each(|slot| slot.conn = None);
    writer.conn = None;
    writer.conn().is_ok()
}

struct Write {
    batch: Batch,
    begin_by: Instant,
    answer: oneshot::Sender<Result<Committed, DbError>>,
}

impl Write {
    /// Too late to begin: the caller has been told so, or is about to be.
    fn is_late(&self) -> bool {
        Instant::now() >= self.begin_by
    }

    fn answer(self, answer: Result<Committed, DbError>) {
        // Nobody is left to hear it if the caller has gone.
        self.answer.send(answer).ok();
    }
}

struct Read {
    query: Query,
    asked: Instant,
    answer: oneshot::Sender<Result<Vec<Row>, DbError>>,
}

/// How a connection of one kind is opened.
#[derive(Clone, Debug)]
struct Opener {
    path: PathBuf,
    cache_kib: u32,
    busy: Duration,
    is_writer: bool,
    max_pages: Option<u32>,
}

impl Opener {
    fn open(&self) -> Result<Conn, DbError> {
        let conn = Conn::open(&self.path, self.cache_kib, self.busy)?;
        if let Some(pages) = self.max_pages {
            conn.control_value(&format!("PRAGMA max_page_count = {pages}"))?;
        }
        if self.is_writer { Ok(conn) } else { conn.read_only() }
    }
}

/// A connection that is replaced after it has failed.
struct Slot {
    opener: Opener,
    conn: Option<Conn>,
}

impl Slot {
    fn open(opener: Opener) -> Result<Self, DbError> {
        let conn = Some(opener.open()?);
        Ok(Self { opener, conn })
    }

    /// The connection, opened anew if the last one had to be given up.
    fn conn(&mut self) -> Result<&Conn, DbError> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.opener.open()?,
        };
        Ok(self.conn.insert(conn))
    }

    /// Reads, for at most this long.
    fn query(&mut self, query: &Query, time: Duration) -> Result<Vec<Row>, DbError> {
        let conn = self.conn()?;
        conn.allow(time);
        conn.query(query)
    }
}

impl Sqlite {
    /// Opens the file, made private, and brings its schema up to date. `now` is what the table of migrations remembers.
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
        let opener = |cache_kib, busy, is_writer| Opener {
            path: path.to_owned(),
            cache_kib,
            busy,
            is_writer,
            max_pages: settings.max_pages.filter(|_| is_writer),
        };
        let mut writer = Slot::open(opener(WRITER_CACHE, settings.busy, true))?;
        writer.conn()?.migrate(migrations, now)?;
        let (write, writes) = sync_channel(settings.queue);
        let reader = |opener: Opener| Slot::open(opener).map(Mutex::new);
        let of_thread = || reader(opener(READER_CACHE, settings.busy, false));
        let of_points = || reader(opener(POINT_CACHE, POINT_BUSY, false));
        let reading = Arc::new(Reading {
            threads: (0..settings.readers).map(|_| of_thread()).collect::<Result<_, _>>()?,
            // Few with a cache each that holds the inner pages of a table of a million rows by integer key: under 1 MiB.
            points: (0..settings.readers.div_ceil(2)).map(|_| of_points()).collect::<Result<_, _>>()?,
            failed_at: Mutex::default(),
        });
        let beside = reading.clone();
        spawn("db-writer", move || write_all(writer, &beside, &writes, settings))?;
        let (read, reads) = sync_channel(settings.queue);
        let reads = Arc::new(Mutex::new(reads));
        for number in 0..settings.readers {
            let (reading, reads) = (reading.clone(), reads.clone());
            spawn("db-reader", move || read_all(&reading, number, &reads, settings))?;
        }
        Ok(Self { writer: write, readers: read, reading, opener: opener(READER_CACHE, settings.busy, true), settings })
    }

    /// Answers on this thread if a connection is free.
    fn point(&self, query: &Query) -> Option<Result<Vec<Row>, DbError>> {
        let start = SLOT.with(|slot| *slot);
        let points = &self.reading.points;
        for place in 0..points.len() {
            let mut slot = match points[(start + place) % points.len()].try_lock() {
                Ok(slot) => slot,
                // A panic while reading leaves nothing half done.
                Err(TryLockError::Poisoned(slot)) => slot.into_inner(),
                Err(TryLockError::WouldBlock) => continue,
            };
            return Some(self.reading.query(&mut slot, query, self.settings.deadline));
        }
        None
    }
}

static NEXT_SLOT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Each thread starts looking at another connection, and comes back to the one whose pages it has warmed.
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
        let sent = queued(self.readers.try_send(Read { query, asked: Instant::now(), answer }));
        Box::pin(async move {
            sent?;
            match tokio::time::timeout(self.settings.deadline, answered).await {
                Ok(answer) => answer.unwrap_or_else(|_| Err(thread_ended())),
                Err(_) => Err(DbError::Late("a read")),
            }
        })
    }

    fn submit(&self, batch: Batch) -> BoxFuture<'static, Result<Committed, DbError>> {
        let (answer, answered) = oneshot::channel();
        let begin_by = Instant::now() + self.settings.deadline;
        let sent = queued(self.writer.try_send(Write { batch, begin_by, answer }));
        Box::pin(async move {
            sent?;
            answered.await.unwrap_or_else(|_| Err(thread_ended()))
        })
    }

    /// No commit is ever lost: the writer is in this process.
    fn settle(&self, _: LostCommit) -> BoxFuture<'_, Result<Option<bool>, DbError>> {
        Box::pin(std::future::ready(Ok(Some(false))))
    }

    fn deadline(&self) -> Duration {
        self.settings.deadline
    }

    /// Empties the log: the file alone is then the whole database, and may be copied or replaced.
    fn close(&self) -> BoxFuture<'_, Result<(), DbError>> {
        let (opener, deadline) = (self.opener.clone(), self.settings.deadline);
        Box::pin(async move {
            let folding = tokio::task::spawn_blocking(move || {
                let conn = opener.open()?;
                conn.allow(deadline);
                conn.control_value("PRAGMA wal_checkpoint(TRUNCATE)")
            });
            match tokio::time::timeout(deadline, folding).await {
                Ok(Ok(Ok(0))) => Ok(()),
                Ok(Ok(Ok(_))) => Err(DbError::Unavailable("somebody else reads it".into())),
                Ok(Ok(Err(error))) => Err(error),
                Ok(Err(error)) => Err(DbError::Unavailable(error.into())),
                Err(_) => Err(DbError::Late("emptying the log")),
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
        TrySendError::Disconnected(_) => thread_ended(),
    })
}

fn thread_ended() -> DbError {
    DbError::Unavailable("its thread has ended".into())
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), DbError> {
    let thread = thread::Builder::new().name(name.to_owned()).stack_size(THREAD_STACK);
    thread.spawn(run).map(|_| ()).map_err(|error| DbError::Unavailable(error.into()))
}

/// The life of a reader thread: ends when the database is dropped.
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
        // Nobody is left to hear it if the caller has gone meanwhile.
        read.answer.send(answer).ok();
    }
}

/// The life of the writer thread: ends when the database is dropped and all that was queued is answered.
fn write_all(mut slot: Slot, reading: &Reading, writes: &Receiver<Write>, settings: Settings) {
    let mut folded = true;
    let mut unfolded = 0_u32;
    let mut busy = 0_u32;
    let mut is_suspect = false;
    let mut log = Log::new(&slot.opener.path);
    loop {
        let first = match writes.recv_timeout(IDLE) {
            Ok(write) => write,
            Err(RecvTimeoutError::Timeout) => {
                reading.open_anew_after_failure(&mut slot);
                if !folded {
                    folded = reading.fold(&mut slot);
                    unfolded = if folded { 0 } else { unfolded + 1 };
                    // A long read of somebody else's, or a lock of our own that could not be given back.
                    if unfolded >= UNFOLDED && unfolded.is_power_of_two() {
                        reading.open_anew(&mut slot);
                    }
                }
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        folded = false;
        let mut group = vec![first];
        group.extend(writes.try_iter().take(settings.group.saturating_sub(1)));
        reading.open_anew_after_failure(&mut slot);
        let answers = if is_suspect { copy_log(&mut slot, settings) } else { Ok(()) };
        is_suspect &= answers.is_err();
        match answers.and_then(|()| commit_group(&mut slot, &group, settings)) {
            Ok(answers) => {
                busy = 0;
                log.bound(&mut slot, reading);
                for (write, answer) in group.into_iter().zip(answers) {
                    write.answer(answer);
                }
            }
            Err(error) => {
                // Closing it rolls back what it has begun.
                slot.conn = None;
                match sqlite_conn::code(&error) {
                    None | Some(ErrorCode::DiskFull) => {}
                    // Somebody else's lock, which passes; or one of our own, which does not. No read waits for that the
                    // first time.
                    Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) if busy == 0 && !reading.has_failed() => {
                        busy += 1;
                        reading.open_anew_unless_read(&mut slot);
                    }
                    Some(_) => {
                        is_suspect = true;
                        reading.open_anew(&mut slot);
                        reading.set_failed_at(Some(Instant::now()));
                    }
                }
                tracing::warn!(%error, batches = group.len(), "a commit failed");
                let reason = error.to_string();
                for write in group {
                    write.answer(Err(DbError::Unavailable(reason.clone().into())));
                }
            }
        }
    }
}

/// Copies the whole log into the file, and syncs both. To be done before anything is committed after a failure: a sync
/// that failed may have left a gap in the log, and a later commit would stand behind it.
fn copy_log(slot: &mut Slot, settings: Settings) -> Result<(), DbError> {
    let conn = slot.conn()?;
    conn.allow(settings.deadline);
    match conn.control_value("PRAGMA wal_checkpoint(FULL)")? {
        0 => Ok(()),
        _ => Err(DbError::Unavailable("after a failed write the log could not be copied yet".into())),
    }
}

/// Copies the log into the file, so that the next commit begins it anew. Whoever still reads from the log is not waited
/// for: the next idle moment will do. The log keeps its length: writing where the file system has blocks already takes a
/// third less time than making it longer.
fn fold(conn: &Conn, busy: Duration) -> Result<bool, DbError> {
    conn.allow(Duration::MAX);
    conn.sqlite.busy_timeout(Duration::ZERO).ok();
    let unfinished = conn.control_value("PRAGMA wal_checkpoint(RESTART)");
    conn.sqlite.busy_timeout(busy).ok();
    Ok(unfinished? == 0)
}

/// The log's file, which must not grow for good: on a daemon that is never idle, a lock of our own that could not be given
/// back shows by nothing else.
struct Log {
    path: PathBuf,
    /// Bytes after which the log is to be begun anew, by a new set of connections if it cannot be otherwise.
    most: u64,
}

impl Log {
    /// Twice the size that SQLite cuts it to.
    const MOST: u64 = 32 << 20;

    fn new(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        Self { path: path.into(), most: Self::MOST }
    }

    /// Looks at its size, and does not open it.
    fn bound(&mut self, writer: &mut Slot, reading: &Reading) {
        let size = std::fs::metadata(&self.path).map_or(0, |log| log.len());
        if size <= Self::MOST {
            self.most = Self::MOST;
        } else if size > self.most {
            // A long read may be what it waits for: then the next attempt is at twice the size.
            self.most = size * 2;
            if !reading.fold(writer) {
                reading.open_anew(writer);
            }
        }
    }
}

/// All of the group in one transaction. Statements and locks that fail for reasons outside of a batch (disk, lock, time)
/// end the whole group, because SQLite may already have rolled it back.
fn commit_group(slot: &mut Slot, group: &[Write], settings: Settings) -> Result<Answers, DbError> {
    let conn = slot.conn()?;
    conn.allow(settings.deadline);
    begin(conn)?;
    let mut sums = Sums::new();
    let answers = if let Some(answers) = apply_all(conn, group, &mut sums)? {
        answers
    } else {
        // A batch failed, and took with it what was applied so far: once more, each within its own bounds.
        begin(conn)?;
        sums.clear();
        group.iter().map(|write| apply(conn, write, &mut sums)).collect::<Result<Vec<_>, _>>()?
    };
    conn.add(&sums)?;
    conn.control("COMMIT")?;
    Ok(answers)
}

fn begin(conn: &Conn) -> Result<(), DbError> {
    if !conn.sqlite.is_autocommit() {
        conn.control("ROLLBACK")?;
    }
    // IMMEDIATE takes the write lock now: an upgrade later would fail at once, without waiting for `busy`.
    conn.control("BEGIN IMMEDIATE")
}

/// What each batch of a group answers.
type Answers = Vec<Result<Committed, DbError>>;

/// All batches without a savepoint between them, or none: `None` when one failed. Nearly all groups pass, and each
/// savepoint would copy every page that its batch touches: a third of the writer's work for a new token.
fn apply_all(conn: &Conn, group: &[Write], sums: &mut Sums) -> Result<Option<Answers>, DbError> {
    let mut done = Vec::with_capacity(group.len());
    for write in group {
        if write.is_late() {
            done.push(Err(DbError::Late("a commit")));
            continue;
        }
        match conn.apply(&write.batch, sums) {
            Err(error) if error.is_unavailable() => return Err(error),
            Err(_) => return Ok(None),
            answer => done.push(answer),
        }
    }
    Ok(Some(done))
}

/// One batch in a savepoint: the outer result is the group's, the inner one the batch's.
fn apply(conn: &Conn, write: &Write, sums: &mut Sums) -> Result<Result<Committed, DbError>, DbError> {
    if write.is_late() {
        return Ok(Err(DbError::Late("a commit")));
    }
    conn.control("SAVEPOINT batch")?;
    let before = sums.clone();
    let answer = conn.apply(&write.batch, sums);
    if answer.is_err() {
        *sums = before;
    }
    match answer {
        Ok(_) => {}
        Err(error) if error.is_unavailable() => return Err(error),
        Err(_) if conn.sqlite.is_autocommit() => {
            return Err(DbError::Unavailable("SQLite rolled the whole transaction back".into()));
        }
        Err(_) => conn.control("ROLLBACK TO batch")?,
    }
    conn.control("RELEASE batch")?;
    Ok(answer)
}
