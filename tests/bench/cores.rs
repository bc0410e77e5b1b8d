//! Which core runs what, and what a process has used: affinity, and the files of /proc.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Ticks per second of the times in /proc/PID/stat: `USER_HZ` is 100 on every Linux that Rust's std supports.
const TICKS: u64 = 100;

/// The cores of a run. With a single core in the machine both are the same, and the report says so.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    pub server: usize,
    pub generator: usize,
}

impl Cores {
    /// The last allowed core for the server, the first for the generator: devices interrupt the first one.
    pub fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("cannot read this process' cores")?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let generator = cores.next().context("no core is allowed")?;
        Ok(Self { server: cores.next_back().unwrap_or(generator), generator })
    }
}

/// Runs `f` with this thread on one core; what it spawns stays there.
pub fn on<T>(core: usize, f: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = sched_getaffinity(None).context("cannot read this thread's cores")?;
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).with_context(|| format!("cannot run on core {core}"))?;
    let done = f();
    sched_setaffinity(None, &before).context("cannot leave the core again")?;
    done
}

/// User and system time of the process, of its live descendants, and of its children that have ended.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let mut ticks = 0;
    let mut stats = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot list /proc")? {
        let name = entry?.file_name();
        // A process may end between the listing and the reading: its parent then has its time.
        if let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok())
            && let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat"))
        {
            stats.push((id, Stat::parse(&stat).with_context(|| format!("cannot read /proc/{id}/stat"))?));
        }
    }
    let mut tree = vec![pid];
    while let Some(id) = tree.pop() {
        ticks += stats.iter().filter(|(other, _)| *other == id).map(|(_, stat)| stat.ticks).sum::<u64>();
        tree.extend(stats.iter().filter(|(_, stat)| stat.parent == id).map(|(child, _)| *child));
    }
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}

struct Stat {
    parent: u32,
    ticks: u64,
}

impl Stat {
    /// proc_pid_stat(5): the second field is a name in brackets that may hold anything, the fourth is the parent, 14
    /// to 17 are utime, stime, cutime and cstime.
    fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u64>()).sum::<Result<u64, _>>().ok();
        Some(Self { parent: fields.get(1)?.parse().ok()?, ticks: ticks? })
    }
}

/// Resident memory in MiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Everything resident, mapped files and the binary's own pages included.
    pub rss: f64,
    /// What only this process holds.
    pub anonymous: f64,
}

pub fn memory(pid: u32) -> Result<Memory> {
    Ok(Memory { rss: mib(pid, "VmRSS")?, anonymous: mib(pid, "RssAnon")? })
}

/// The most that ever was resident, in MiB.
pub fn peak(pid: u32) -> Result<f64> {
    mib(pid, "VmHWM")
}

/// A field of /proc/PID/status.
fn mib(pid: u32, name: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("cannot read a server's memory")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    let kib: f64 = line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 7 42 42 0 -1 4194560 100 0 0 0 11 22 33 44 20 0 1 0 5000";
        let stat = Stat::parse(stat).unwrap();
        assert_eq!((stat.parent, stat.ticks), (7, 11 + 22 + 33 + 44));
    }

    #[test]
    fn this_process_has_memory_and_time() {
        let me = std::process::id();
        assert!(memory(me).unwrap().rss > memory(me).unwrap().anonymous);
        cpu_time(me).unwrap();
    }
}
