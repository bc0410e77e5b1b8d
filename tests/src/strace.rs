//! System calls of a running daemon: watched, delayed or refused by strace on some of its threads.

use crate::TIMEOUT;
use crate::authd::Authd;
use crate::process::{Process, Spec};
use crate::until;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The calls that wait for the disk.
const SYNCS: &str = "fsync,fdatasync";

/// strace on some threads of a daemon. When dropped it goes away, and the threads run on without it.
#[derive(Debug)]
pub struct Strace {
    process: Process,
    log: PathBuf,
}

impl Strace {
    /// Returns when it watches all these threads. `args` says which calls, and what happens to them.
    ///
    /// # Panics
    /// When it cannot attach.
    pub fn attach(authd: &Authd, threads: &[u32], args: &[&str]) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = |kind: &str| authd.dir().join(format!("strace-{number}.{kind}"));
        let (log, said) = (file("calls"), file("log"));
        let mut spec = Spec::new("strace").args(args).arg("-o").arg(&log);
        for thread in threads {
            spec = spec.args(["-p", &thread.to_string()]);
        }
        let mut process = spec.start(&said);
        process.wait(TIMEOUT, "attached strace", || {
            let said = std::fs::read_to_string(&said).ok()?;
            // a thread that has ended meanwhile is none to watch
            let tried = said.lines().filter(|line| line.ends_with("attached") || line.contains("PTRACE_SEIZE"));
            (tried.count() >= threads.len()).then_some(())
        });
        Self { process, log }
    }

    /// What was called so far, a line each; the last one may still be under way.
    pub fn calls(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned();
        text.lines().map(str::to_owned).collect()
    }

    /// How many calls were refused so far.
    pub fn refused(&self) -> usize {
        self.calls().iter().filter(|line| line.contains("(INJECTED)")).count()
    }

    /// Leaves the threads alone, and answers what was called.
    ///
    /// # Panics
    /// When it does not go away.
    pub fn detach(mut self) -> Vec<String> {
        self.process.signal(rustix::process::Signal::TERM);
        until(TIMEOUT, "the end of strace", || self.process.exited());
        self.calls()
    }
}

/// Calls of the writer, each with the file that it is about, and without what is written.
const WRITER_CALLS: [&str; 5] = ["-y", "-s", "0", "-e", "trace=pwrite64,fsync,fdatasync"];

fn is_sync(line: &str) -> bool {
    line.contains("sync(")
}

/// Whether this call waits for something that was written to the log just before: the last step of a commit. (A log that
/// is only to be copied into the file is synced as well, with nothing written to it.)
fn is_commit(calls: &[String], index: usize) -> bool {
    let of_the_log = |line: &String| line.contains("-wal>");
    let before = index.checked_sub(1).and_then(|before| calls.get(before));
    let wrote = before.is_some_and(|line| line.contains("pwrite64(") && of_the_log(line));
    is_sync(&calls[index]) && of_the_log(&calls[index]) && wrote
}

/// One wait for the disk that takes long.
#[derive(Debug)]
pub struct Stall {
    strace: Strace,
    nth: usize,
}

impl Stall {
    /// From now on, the `nth` (counted from 1) time that the writer waits for the disk takes `time` longer.
    ///
    /// # Panics
    /// When strace cannot attach.
    pub fn prepare(authd: &Authd, nth: usize, time: Duration) -> Self {
        Self::of(authd, nth, &format!("delay_enter={}", time.as_micros()))
    }

    /// The same, and then it fails.
    ///
    /// # Panics
    /// When strace cannot attach.
    pub fn failing(authd: &Authd, nth: usize, time: Duration) -> Self {
        Self::of(authd, nth, &format!("delay_enter={}:error=EIO", time.as_micros()))
    }

    fn of(authd: &Authd, nth: usize, what: &str) -> Self {
        let inject = format!("inject={SYNCS}:{what}:when={nth}");
        let args = [&WRITER_CALLS[..], &["-e", &inject]].concat();
        Self { strace: Strace::attach(authd, &[authd.writer()], &args), nth }
    }

    /// The writer waits, or has waited.
    pub fn begun(&self) -> bool {
        self.hit().is_some()
    }

    /// Which commit the stall has hit, counted from 1; 0 when it was no commit. None when it has not begun.
    pub fn hit(&self) -> Option<usize> {
        let calls = self.strace.calls();
        let stalled = (0..calls.len()).filter(|&index| is_sync(&calls[index])).nth(self.nth - 1)?;
        if !is_commit(&calls, stalled) {
            return Some(0);
        }
        Some((0..=stalled).filter(|&index| is_commit(&calls, index)).count())
    }

    /// The long wait is over.
    pub fn ended(&self) -> bool {
        self.strace.calls().iter().any(|line| line.contains("DELAYED)"))
    }
}

/// How often the writer commits while something is done.
///
/// # Panics
/// When strace cannot attach.
pub fn count_commits<T>(authd: &Authd, act: impl FnOnce() -> T) -> (usize, T) {
    let strace = Strace::attach(authd, &[authd.writer()], &WRITER_CALLS);
    let done = act();
    let calls = strace.detach();
    ((0..calls.len()).filter(|&index| is_commit(&calls, index)).count(), done)
}
