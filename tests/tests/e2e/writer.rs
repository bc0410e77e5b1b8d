//! The system refuses calls of the database's threads for a moment. While it does, the answer is 503; a moment after,
//! everything works again, and nothing acknowledged is lost.

use serde_json::json;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tests::authd::{Authd, random_token};
use tests::http::Http;
use tests::strace::Strace;
use tests::{TIMEOUT, locks};

/// For so long calls are refused, from the first one on.
const REFUSED_FOR: Duration = Duration::from_millis(1500);
/// Then everything must work within this time.
const WORKS_WITHIN: Duration = Duration::from_secs(3);
/// After a refused lock of the log, SQLite tries by itself for up to ten seconds to begin to read, in a loop that nothing
/// can interrupt (`WAL_RETRY_PROTOCOL_LIMIT`). Only then is it known that the connection is of no more use.
const SQLITE_TRIES_FOR: Duration = Duration::from_secs(10);
/// Daemons that run side by side.
const AT_ONCE: usize = 6;

/// What the writer does when the first call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Commit,
    /// It copies the log into the file, as it does when there is nothing else to do.
    Checkpoint,
}

/// From the `nth` on, these calls of the writer fail.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    calls: &'static str,
    error: &'static str,
    nth: usize,
    moment: Moment,
}

/// A commit takes and gives back its locks by six calls, a checkpoint by ten: each can be the first to be refused. A
/// lock that could not be given back is one that the connection takes for somebody else's.
fn locks_refused() -> Vec<Refusal> {
    let refusal = |error, moment| move |nth| Refusal { calls: "fcntl", error, nth, moment };
    let commits = ["EIO", "ENOLCK"].into_iter().flat_map(|error| (1..=6).map(refusal(error, Moment::Commit)));
    commits.chain((1..=10).map(refusal("EIO", Moment::Checkpoint))).collect()
}

fn disk_refused() -> Vec<Refusal> {
    let mut all = Vec::new();
    for (calls, errors, commit, checkpoint) in [
        ("pwrite64", &["EIO", "ENOSPC"][..], &[1, 2, 5][..], &[1, 9][..]),
        ("fdatasync,fsync", &["EIO"], &[1], &[1, 2]),
        ("pread64", &["EIO"], &[1], &[1, 2]),
        // a writer that opens the file anew is refused that too
        ("fcntl,openat,open", &["EIO"], &[2], &[2]),
        ("fcntl,openat,open", &["EMFILE"], &[5], &[8]),
    ] {
        for error in errors {
            all.extend(commit.iter().map(|&nth| Refusal { calls, error, nth, moment: Moment::Commit }));
            all.extend(checkpoint.iter().map(|&nth| Refusal { calls, error, nth, moment: Moment::Checkpoint }));
        }
    }
    all
}

/// All of these, several at a time; each failure is a line.
fn side_by_side<T: Sync>(cases: &[T], run: impl Fn(&T) -> Result<(), String> + Sync) {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = run(case) {
                        failures.lock().expect("no worker panics with it").push(why);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no worker panics with it");
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

/// Mints until told to stop, and keeps what was acknowledged.
#[derive(Default)]
struct Minting {
    stop: AtomicBool,
    acknowledged: Mutex<Vec<String>>,
    odd: Mutex<Vec<String>>,
}

impl Minting {
    /// Whether it was acknowledged.
    fn mint(&self, admin: &Http) -> bool {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("minted-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let answer = admin.clone().timeout(TIMEOUT).post("/auth/tokens", &json!({"name": name, "scopes": ["read"]}));
        match answer {
            Ok(answer) if answer.status == 201 => {
                let token = answer.json()["token"].as_str().unwrap_or_default().to_owned();
                self.acknowledged.lock().expect("no worker panics with it").push(token);
                true
            }
            Ok(answer) if answer.status == 503 => false,
            Ok(answer) => {
                let odd = format!("{} {}", answer.status, answer.text());
                self.odd.lock().expect("no worker panics with it").push(odd);
                false
            }
            Err(error) => {
                self.odd.lock().expect("no worker panics with it").push(error.to_string());
                false
            }
        }
    }

    fn run(&self, admin: &Http) {
        while !self.stop.load(Ordering::Relaxed) {
            self.mint(admin);
            std::thread::sleep(Duration::from_millis(30));
        }
    }
}

/// How soon everything must work after these calls of which some were refused.
fn works_within(calls: &[String]) -> Duration {
    // the locks with which a connection says up to where it reads the log: `WAL_READ_LOCK`
    let is_kept = |line: &String| {
        let marks = (123..128).any(|byte| line.contains(&format!("l_start={byte},")));
        marks && line.contains("F_UNLCK") && line.contains("(INJECTED)")
    };
    if calls.iter().any(is_kept) { WORKS_WITHIN + SQLITE_TRIES_FOR } else { WORKS_WITHIN }
}

/// From now on, a mint is acknowledged within this time: a new one is tried ten times a second, since one that
/// is queued behind a failing commit may wait for its own deadline.
fn until_mints_work(minting: &Minting, admin: &Http, within: Duration) -> Result<(), String> {
    let begun = Instant::now();
    let first = Mutex::new(None);
    std::thread::scope(|scope| {
        while first.lock().expect("no panic").is_none() && begun.elapsed() < within {
            scope.spawn(|| {
                if minting.mint(admin) {
                    first.lock().expect("no panic").get_or_insert(begun.elapsed());
                }
            });
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    match first.into_inner().expect("no panic") {
        Some(time) if time <= within => Ok(()),
        time => Err(format!("the first mint was acknowledged after {time:?}")),
    }
}

fn writer_survives(refusal: &Refusal) -> Result<(), String> {
    let mut authd = Authd::start();
    let (admin, minting) = (authd.admin(), Minting::default());
    assert!(minting.mint(&admin));
    let Refusal { calls, error, nth, moment } = refusal;
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:error={error}:when={nth}+"));
    let strace = Strace::attach(&authd, &[authd.writer()], &["-e", &trace, "-e", &inject]);
    let works = std::thread::scope(|scope| {
        if *moment == Moment::Checkpoint {
            // The commit of before is to be copied. A writer that does so by fewer calls is refused the next commit's.
            let begun = Instant::now();
            while strace.refused() == 0 && begun.elapsed() < Duration::from_secs(5) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        for _ in 0..2 {
            scope.spawn(|| minting.run(&admin));
        }
        let begun = Instant::now();
        while strace.refused() == 0 && begun.elapsed() < TIMEOUT {
            std::thread::sleep(Duration::from_millis(10));
        }
        let was_refused = strace.refused() > 0;
        std::thread::sleep(REFUSED_FOR);
        let within = works_within(&strace.detach());
        let works = until_mints_work(&minting, &admin, within);
        minting.stop.store(true, Ordering::Relaxed);
        if was_refused { works } else { Err("no call was refused".into()) }
    });
    let failed = |why: String| Err(format!("{refusal:?}: {why}"));
    if let Err(why) = works {
        return failed(why);
    }
    // Nobody has lost SQLite's locks, and no lock is held for good.
    if let Err(why) = has_its_locks(&authd) {
        return failed(why);
    }
    if let Err(why) = no_lock_stays(&authd) {
        return failed(why);
    }
    let odd = std::mem::take(&mut *minting.odd.lock().expect("no panic"));
    if !odd.is_empty() {
        return failed(format!("odd answers: {odd:?}"));
    }
    let acknowledged = minting.acknowledged.into_inner().expect("no panic");
    for when in ["before", "after"] {
        let lost = acknowledged.iter().filter(|token| authd.validate(token, &["read"])["valid"] != true).count();
        if lost > 0 {
            return failed(format!("{when} a restart, {lost} of {} acknowledged tokens are gone", acknowledged.len()));
        }
        if when == "before" {
            authd.start_again();
        }
    }
    Ok(())
}

/// A daemon that works holds SQLite's locks. One that gives up all its connections at once has none for a moment, and
/// opens the next when it is asked something.
fn has_its_locks(authd: &Authd) -> Result<(), String> {
    let (minting, begun) = (Minting::default(), Instant::now());
    loop {
        minting.mint(&authd.admin());
        let Some(why) = locks::missing(authd.pid(), &authd.database()) else { return Ok(()) };
        if begun.elapsed() > WORKS_WITHIN {
            return Err(why);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// When nothing is under way, the only lock on the `-shm` file is the one that every open connection shares.
fn no_lock_stays(authd: &Authd) -> Result<(), String> {
    let shm = format!("{}-shm", authd.database().display());
    let begun = Instant::now();
    loop {
        let held = locks::held(authd.pid(), shm.as_ref());
        if held.len() <= 1 {
            return Ok(());
        }
        if begun.elapsed() > TIMEOUT {
            return Err(format!("locks that stay: {held:?}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_writer_survives_locks_that_are_refused() {
    side_by_side(&locks_refused(), writer_survives);
}

#[test]
fn the_writer_survives_a_disk_that_fails_for_a_moment() {
    side_by_side(&disk_refused(), writer_survives);
}

/// Reads of both kinds: on the threads that serve requests, and on those for reads of any size.
fn read(authd: &Authd, unasked: &Mutex<Vec<String>>) -> Result<bool, String> {
    let post = |token: &str| authd.http().post("/auth/validate", &json!({"token": token}));
    let known = unasked.lock().expect("no panic").pop().ok_or("no token is left that was not asked about")?;
    let mut all_good = true;
    for (what, answer, wanted) in [
        ("a known token", post(&known), json!(true)),
        ("an unknown token", post(&random_token()), json!(false)),
        ("the list", authd.admin().get("/auth/tokens?limit=5"), json!(null)),
    ] {
        let answer = answer.map_err(|error| format!("{what}: {error}"))?;
        match answer.status {
            // a failure of storage is never an answer about a token
            200 if answer.json()["valid"] == wanted => {}
            503 => all_good = false,
            status => return Err(format!("{what} was answered {status} {}", answer.text())),
        }
    }
    Ok(all_good)
}

fn readers_survive(&(error, nth): &(&str, usize)) -> Result<(), String> {
    let authd = Authd::start();
    let unasked = Mutex::new((0..400).map(|n| authd.mint(&format!("unasked-{n}"), &["read"]).0).collect());
    let failed = |why: String| format!("{error} from call {nth} on: {why}");
    let readers = || [authd.threads("db-reader"), authd.threads("tokio-rt-worker"), authd.threads("authd")].concat();
    let (trace, inject) = ("trace=fcntl", format!("inject=fcntl:error={error}:when={nth}+"));
    let strace = Strace::attach(&authd, &readers(), &["-e", trace, "-e", &inject]);
    let begun = Instant::now();
    while strace.refused() == 0 || begun.elapsed() < REFUSED_FOR {
        read(&authd, &unasked).map_err(failed)?;
        if begun.elapsed() > TIMEOUT {
            return Err(failed("no call was refused".into()));
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    let within = works_within(&strace.detach());
    let healed = Instant::now();
    while !read(&authd, &unasked).map_err(failed)? {
        if healed.elapsed() > within {
            return Err(failed(format!("reads still fail after {:?}", healed.elapsed())));
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    // several at once, so that every connection gets something to read
    let ten = || {
        for _ in 0..10 {
            if !read(&authd, &unasked)? {
                return Err("a read failed after others had worked".to_owned());
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8).map(|_| scope.spawn(ten)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no panic"))
    })
    .map_err(failed)?;
    // Connections of one process share their locks: one that a reader could not give back shuts the writer out, or
    // keeps the log from ever being begun anew.
    until_mints_work(&Minting::default(), &authd.admin(), within).map_err(failed)?;
    no_lock_stays(&authd).map_err(failed)
}

#[test]
fn reads_survive_locks_that_are_refused() {
    let cases: Vec<_> = ["EIO", "ENOLCK"].into_iter().flat_map(|error| (1..=4).map(move |nth| (error, nth))).collect();
    side_by_side(&cases, readers_survive);
}

/// A lock that could not be given back must not keep the log from being begun anew, on a daemon that is never idle too:
/// the log would grow until the disk is full.
#[test]
fn the_log_stays_bounded_under_traffic_after_refused_locks() {
    const MOST: u64 = 48 << 20;
    let bounded = |&(calls, nth): &(&str, usize)| {
        let authd = Authd::start();
        let minting = Minting::default();
        let threads = match calls {
            "of the writer" => vec![authd.writer()],
            _ => [authd.threads("db-reader"), authd.threads("tokio-rt-worker")].concat(),
        };
        let inject = format!("inject=fcntl:error=EIO:when={nth}+");
        let strace = Strace::attach(&authd, &threads, &["-e", "trace=fcntl", "-e", &inject]);
        let log = format!("{}-wal", authd.database().display());
        let body = |name: String| json!({"name": name, "scopes": ["read"], "metadata": {"fill": "x".repeat(3900)}});
        let admin = authd.admin().timeout(TIMEOUT);
        let mut refused = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| minting.run(&admin));
            let begun = Instant::now();
            while strace.refused() == 0 || begun.elapsed() < REFUSED_FOR {
                let _ = admin.get("/auth/tokens?limit=1");
                assert!(begun.elapsed() < TIMEOUT, "no call was refused");
            }
            strace.detach();
            // about 130 MiB of log, and never a pause
            let fill = |worker: usize| {
                let mut refused = 0;
                for n in 0..900 {
                    let answer = admin.post("/auth/tokens", &body(format!("fill-{worker}-{n}")));
                    refused += usize::from(answer.map_or(true, |answer| answer.status != 201));
                    // each waits for its own deadline
                    if refused > 5 {
                        break;
                    }
                }
                refused
            };
            let workers: Vec<_> = (0..4).map(|worker| scope.spawn(move || fill(worker))).collect();
            refused = workers.into_iter().map(|worker| worker.join().expect("no panic")).sum();
            minting.stop.store(true, Ordering::Relaxed);
        });
        let size = std::fs::metadata(&log).map_or(0, |log| log.len());
        if size > MOST || refused > 20 {
            let size = size >> 20;
            return Err(format!("locks {calls}, from call {nth} on: a log of {size} MiB, {refused} mints refused"));
        }
        Ok(())
    };
    side_by_side(&[("of the writer", 6), ("of the writer", 2), ("of readers", 2), ("of readers", 4)], bounded);
}
