//! Measures what a process does for an answer, independent of what else runs on the machine.
//!
//! The scheduler counts for each thread the time on a core and the time in which it was ready and waited for one
//! (`/proc/PID/task/TID/schedstat`, nanoseconds).

use crate::TIMEOUT;
use rustix::process::Pid;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a process does.
#[derive(Clone, Debug)]
pub struct Work {
    /// CPU time of the threads of each name.
    pub cpu: BTreeMap<String, Duration>,
    /// Bytes that it writes: to files, above all.
    pub written: u64,
}

/// What a process does because of this, to its end: also what it does after the answer.
///
/// # Panics
/// When the process ends, or does not come to rest.
pub fn work<T>(process: Pid, act: impl FnOnce() -> T) -> (T, Work) {
    let before = (at_rest(process), written(process));
    let done = act();
    let after = at_rest(process);
    let mut work = Work { cpu: BTreeMap::new(), written: written(process) - before.1 };
    for (thread, (name, nanos)) in after {
        let nanos = nanos - before.0.get(&thread).map_or(0, |(_, before)| *before);
        *work.cpu.entry(name).or_default() += Duration::from_nanos(nanos);
    }
    (done, work)
}

/// How long something takes, without the time in which a thread of the process, or this one, could have run and had no
/// core: what others do on the machine says nothing about the answer.
pub fn without_queueing<T>(process: Pid, act: impl FnOnce() -> T) -> (T, Duration) {
    let before = (queued(process), schedstat(Path::new("/proc/thread-self"))[1]);
    let asked = Instant::now();
    let done = act();
    let took = asked.elapsed();
    let own = schedstat(Path::new("/proc/thread-self"))[1] - before.1;
    let others = queued(process)
        .into_iter()
        .map(|(thread, nanos)| nanos.saturating_sub(before.0.get(&thread).copied().unwrap_or(0)));
    (done, took.saturating_sub(Duration::from_nanos(own + others.sum::<u64>())))
}

/// Where the median of `one / other`, pair by pair, lies but for one chance in ten thousand, whatever the distribution:
/// between the order statistics two square roots of the count around the middle (four standard deviations of a sign test).
pub fn median_ratio(one: &[Duration], other: &[Duration]) -> (f64, f64) {
    let mut ratios: Vec<f64> =
        one.iter().zip(other).map(|(one, other)| one.as_secs_f64() / other.as_secs_f64()).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let (middle, around) = (ratios.len() / 2, 2 * ratios.len().isqrt());
    (ratios[middle - around], ratios[middle + around])
}

/// The name of each thread, and for how many nanoseconds it has run, at a moment when none of them runs: the time of a
/// thread on a core is counted with delay.
fn at_rest(process: Pid) -> BTreeMap<PathBuf, (String, u64)> {
    let times = || threads(process).map(|thread| (thread.clone(), schedstat(&thread)[0])).collect::<Vec<_>>();
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let before = times();
        if threads(process).all(|thread| is_waiting(&thread)) && times() == before {
            let named = before.into_iter().map(|(thread, nanos)| (thread.clone(), (name(&thread), nanos)));
            return named.collect();
        }
        assert!(Instant::now() < deadline, "it does not come to rest");
    }
}

/// How many bytes a process has given to system calls that write.
fn written(process: Pid) -> u64 {
    let counts = std::fs::read_to_string(format!("/proc/{}/io", process.as_raw_nonzero())).expect("it runs");
    let count = counts.lines().find_map(|line| line.strip_prefix("wchar: ")).expect("the kernel counts");
    count.parse().expect("a number of bytes")
}

/// For how many nanoseconds each thread of a process has been ready and waited for a core.
fn queued(process: Pid) -> BTreeMap<PathBuf, u64> {
    threads(process).map(|thread| (thread.clone(), schedstat(&thread)[1])).collect()
}

fn threads(process: Pid) -> impl Iterator<Item = PathBuf> {
    let threads = format!("/proc/{}/task", process.as_raw_nonzero());
    std::fs::read_dir(threads).expect("it runs").flatten().map(|thread| thread.path())
}

fn name(thread: &Path) -> String {
    std::fs::read_to_string(thread.join("comm")).unwrap_or_default().trim().to_owned()
}

/// Whether a thread waits for an event: neither runs, nor is ready to, nor waits for a disk.
fn is_waiting(thread: &Path) -> bool {
    // The third field, behind the name in parentheses; a thread may end between the listing and the reading.
    let stat = std::fs::read_to_string(thread.join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, fields)| fields.starts_with('S'))
}

/// For how many nanoseconds a thread has run, and has waited for a core.
fn schedstat(thread: &Path) -> [u64; 2] {
    let stat = std::fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
    let mut fields = stat.split(' ').map(|nanos| nanos.parse().unwrap_or(0));
    [fields.next().unwrap_or(0), fields.next().unwrap_or(0)]
}
