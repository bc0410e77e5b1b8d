//! The locks that a process holds on a file, from the kernel's table of locks.

use rustix::process::Pid;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Where SQLite keeps the lock that every open connection shares, in the database file: `SHARED_FIRST`.
const SHARED_FIRST: u64 = 0x4000_0000 + 2;
/// The same in the `-shm` file, the "dead man's switch".
const DEAD_MAN: u64 = 128;

/// A POSIX record lock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lock {
    /// `READ` or `WRITE`.
    pub access: String,
    pub start: u64,
    /// The last byte; none is the end of the file.
    pub end: Option<u64>,
}

/// The POSIX locks of a process on a file. They are looked up at the descriptors of the process (`fdinfo` shows the
/// lines of /proc/locks that belong to each): the device numbers in /proc/locks are not those of `stat` everywhere. A file
/// that is not there has none.
///
/// # Panics
/// When there is no such process.
pub fn held(pid: Pid, file: &Path) -> Vec<Lock> {
    let Ok(wanted) = std::fs::metadata(file) else { return Vec::new() };
    let process = format!("/proc/{}", pid.as_raw_nonzero());
    let mut locks = Vec::new();
    for open in std::fs::read_dir(format!("{process}/fd")).expect("the process lives").flatten() {
        // follows the link to the open file, whatever its name is by now
        let Ok(found) = std::fs::metadata(open.path()) else { continue };
        if (found.dev(), found.ino()) != (wanted.dev(), wanted.ino()) {
            continue;
        }
        let info = format!("{process}/fdinfo/{}", open.file_name().to_string_lossy());
        let info = std::fs::read_to_string(info).unwrap_or_default();
        locks.extend(info.lines().filter_map(|line| parse(line.strip_prefix("lock:")?)));
    }
    locks.sort();
    locks
}

/// `1: POSIX  ADVISORY  READ 4711 fe:00:10010762 128 128`
fn parse(line: &str) -> Option<Lock> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [_, "POSIX", _, access, _, _, start, end] = words.as_slice() else { return None };
    Some(Lock { access: (*access).to_owned(), start: start.parse().ok()?, end: end.parse().ok() })
}

/// Why SQLite's locks do not protect this database, if they do not. In WAL mode every open connection shares a lock on
/// the file and one on the `-shm` file; as long as they are there, nobody else takes itself for the last connection.
pub fn missing(pid: Pid, database: &Path) -> Option<String> {
    let shm = Path::new(&format!("{}-shm", database.display())).to_owned();
    if !shm.exists() {
        return Some(format!("{} is gone", shm.display()));
    }
    for (file, byte) in [(database, SHARED_FIRST), (&shm, DEAD_MAN)] {
        let locks = held(pid, file);
        if !locks.iter().any(|lock| lock.access == "READ" && lock.start == byte) {
            return Some(format!("no lock of SQLite's on {}: {locks:?}", file.display()));
        }
    }
    None
}
