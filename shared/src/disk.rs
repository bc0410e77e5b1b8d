//! Atomic file replacement, and folders that only their owner can read.
//!
//! Write beside, fsync, rename, fsync the folder. Writing in place was rejected: a full disk or a kill in the middle
//! leaves every AWS tool on the machine with a truncated file.

use std::fs::{DirBuilder, File, Metadata, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

/// Permission bits of a file that only its owner may read.
const PRIVATE: u32 = 0o600;

/// Replaces or creates a whole file. An old file keeps its mode, user and group; a new one is readable only by its
/// owner. The caller has resolved symlinks: a rename would replace the link itself.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let Ok(old) = std::fs::metadata(path) else { return replace_private(path, bytes) };
    let (beside, dir) = write_beside(path, bytes)?;
    take_owner(&beside, &old)?;
    persist(beside, old.mode() & 0o7777, path, dir)
}

/// Fails if [`replace`] would fail; the file stays as it is.
pub fn check_replaceable(path: &Path) -> io::Result<()> {
    let (beside, _) = write_beside(path, &[])?;
    let Ok(old) = std::fs::metadata(path) else { return Ok(()) };
    // An old kernel does not tell.
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::empty());
    if found.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)) {
        return Err(io::ErrorKind::ResourceBusy.into());
    }
    take_owner(&beside, &old)
}

/// Gives the new file the user and group of the old one.
fn take_owner(beside: &NamedTempFile, old: &Metadata) -> io::Result<()> {
    let made = beside.as_file().metadata()?;
    if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
        std::os::unix::fs::fchown(beside.as_file(), Some(old.uid()), Some(old.gid()))?;
    }
    Ok(())
}

/// The path of a file beside this one, which has the same name with a suffix.
pub fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Replaces or creates a whole file, readable only by its owner.
pub fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (beside, dir) = write_beside(path, bytes)?;
    persist(beside, PRIVATE, path, dir)
}

/// Creates a file; `false` if it exists already.
pub fn create_once(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let (beside, dir) = write_beside(path, bytes)?;
    beside.as_file().sync_all()?;
    match beside.persist_noclobber(path) {
        Ok(_) => sync_dir(dir).map(|()| true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}

fn write_beside<'a>(path: &'a Path, bytes: &[u8]) -> io::Result<(NamedTempFile, &'a Path)> {
    let dir = path.parent().ok_or_else(|| io::Error::other("the path has no folder"))?;
    let private = Permissions::from_mode(PRIVATE);
    let mut beside = tempfile::Builder::new().prefix(".authd-").permissions(private).tempfile_in(dir)?;
    beside.write_all(bytes)?;
    Ok((beside, dir))
}

fn persist(beside: NamedTempFile, mode: u32, path: &Path, dir: &Path) -> io::Result<()> {
    beside.as_file().set_permissions(Permissions::from_mode(mode))?;
    beside.as_file().sync_all()?;
    beside.persist(path).map_err(|error| error.error)?;
    sync_dir(dir)
}

/// Removes a file, if it exists.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Reads a file of at most `limit` bytes; `None` if there is none.
pub fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    match std::fs::metadata(path) {
        // Reading a pipe or a device could block or never end.
        Ok(metadata) if !metadata.is_file() => return Err(io::Error::other("it is not a regular file")),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it is larger than {limit} bytes")));
    }
    Ok(Some(bytes))
}

/// A file name for any text: 128 bits of its SHA-256 in hex.
pub fn fingerprint(text: &str) -> String {
    let hash: [u8; 32] = Sha256::digest(text).into();
    hex::encode(&hash[..16])
}

/// Creates a folder and its parents, for their owner only; an existing folder stays as it is.
pub fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_whole_and_private_and_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        replace_private(&path, b"one").unwrap();
        replace_private(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_check_leaves_nothing_and_finds_a_folder_that_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        check_replaceable(&path).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        replace_private(&path, b"one").unwrap();
        check_replaceable(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert!(check_replaceable(&path.join("below")).is_err());
        // A mount point, as every machine with Linux has one.
        assert!(check_replaceable(Path::new("/proc")).is_err());
    }

    #[test]
    fn a_file_made_once_is_not_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert!(create_once(&path, b"one").unwrap());
        assert!(!create_once(&path, b"two").unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn reading_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert_eq!(read(&path, 3).unwrap(), None);
        std::fs::write(&path, "1234").unwrap();
        assert!(read(&path, 3).is_err());
        assert_eq!(read(&path, 4).unwrap(), Some(b"1234".to_vec()));
        assert!(read(dir.path(), 4).is_err());
    }
}
