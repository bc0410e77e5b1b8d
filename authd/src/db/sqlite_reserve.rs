//! Space that is kept for a full disk: a file beside the database that is given up piece by piece, so that access can
//! still be revoked when nothing else can be written.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::sqlite_check::beside;
use crate::log::caused;

/// Enough for some thousand revocations: what is given up becomes room of the database.
const SIZE: u64 = 2 << 20;
/// What is given up at once: a few commits.
const STEP: u64 = 256 << 10;
/// What a check of the disk asks for.
const PROBED: u64 = 1 << 20;
/// Time between two attempts to fill it.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether a file may be the reserve of this database: what is not may be somebody else's, and is not cut.
pub(super) fn check(database: &Path) -> Result<(), String> {
    let path = beside(database, "-reserve");
    let is_own = |file: &std::fs::Metadata| {
        let mut bytes = Vec::new();
        let mut read = || File::open(&path)?.take(SIZE).read_to_end(&mut bytes);
        file.is_file() && file.len() <= SIZE && read().is_ok() && bytes.iter().all(|byte| *byte == 0)
    };
    match std::fs::symlink_metadata(&path) {
        Ok(file) if !is_own(&file) => {
            Err(format!("{} is not authd's reserve for a full disk; move it, or choose another path", path.display()))
        }
        _ => Ok(()),
    }
}

#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    /// Whether it is whole, when last looked at. Only then other changes may be written.
    is_whole: bool,
    tried: Option<Instant>,
}

impl Reserve {
    /// The reserve of this database, filled if that is possible.
    pub(super) fn new(database: &Path) -> Self {
        let mut reserve = Self { path: beside(database, "-reserve"), is_whole: false, tried: None };
        reserve.fill();
        reserve
    }

    /// A write found no space, or a part was given up.
    pub(super) fn set_broken(&mut self) {
        self.is_whole = false;
        self.tried = Some(Instant::now());
    }

    /// Fills it, at most twice a second. Returns whether it is whole.
    pub(super) fn fill(&mut self) -> bool {
        if self.is_whole || self.tried.is_some_and(|tried| tried.elapsed() < PAUSE) {
            return self.is_whole;
        }
        self.tried = Some(Instant::now());
        self.is_whole = match self.open().map(|file| allocate(&file, SIZE)) {
            Ok(allocated) => allocated,
            Err(error) if is_full(error.raw_os_error()) => false,
            Err(error) => {
                caused!(None, warn, %error, path = %self.path.display(), "there is no reserve for a full disk");
                true
            }
        };
        self.is_whole
    }

    /// Gives a part of its space to the file system; false if nothing is left.
    pub(super) fn release(&mut self) -> bool {
        self.set_broken();
        let Ok(file) = self.open() else { return false };
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        length > 0 && file.set_len(length.saturating_sub(STEP)).is_ok()
    }

    fn open(&self) -> std::io::Result<File> {
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).custom_flags(flags).open(&self.path)
    }
}

/// Whether the file system of this database can still grow a file. Nothing is left behind.
pub(super) fn can_grow(database: &Path) -> bool {
    let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => allocate(&file.into(), PROBED),
        // A file system without unnamed files: commits tell.
        Err(error) => !is_full(Some(error.raw_os_error())),
    }
}

/// Allocates a file up to this length; false if there is no space. A file system that cannot allocate counts as whole.
fn allocate(file: &File, length: u64) -> bool {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, length) {
        Ok(()) => true,
        Err(error) => !is_full(Some(error.raw_os_error())),
    }
}

/// A limit of file sizes (`EFBIG`) is not one of space: commits tell of it.
fn is_full(error: Option<i32>) -> bool {
    [Errno::NOSPC, Errno::DQUOT].iter().any(|full| Some(full.raw_os_error()) == error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_private_and_given_up_piece_by_piece() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let mut reserve = Reserve::new(&folder.path().join("authd.db"));
        let file = std::fs::metadata(folder.path().join("authd.db-reserve")).unwrap();
        assert_eq!((file.len(), file.mode() & 0o777), (SIZE, 0o600));
        assert!(reserve.is_whole && file.blocks() * 512 >= SIZE, "its space is taken, not only its length");
        let pieces = std::iter::from_fn(|| reserve.release().then_some(())).count();
        assert_eq!(pieces as u64, SIZE / STEP);
        assert!(!reserve.is_whole && !reserve.fill(), "it is not tried again at once");
        reserve.tried = None;
        assert!(reserve.fill());
    }
}
