//! One AWS file on disk: found, locked, read, replaced.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::disk;

use super::edit::Refused;
use super::profile;
use super::syntax::Document;
use crate::cache::lock;
use crate::error::Error;

/// The largest file that is read or written, in bytes. Typical files have a few kilobytes.
const MAX_BYTES: u64 = 1 << 20;
/// How long another auth-login may hold the lock of the file; it needs milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// How often an edit is retried because a program that ignores the lock changed the file meanwhile.
const ATTEMPTS: usize = 5;

/// A path as the AWS tools name it; symlinks are followed when it is used.
#[derive(Clone, Debug)]
pub struct AwsFile {
    path: PathBuf,
}

impl AwsFile {
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file; a missing file is empty.
    pub fn read(&self) -> Result<Document, Error> {
        read(&self.resolved()?)
    }

    /// Whether users other than the owner may read the file.
    pub fn is_open_to_others(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.mode() & 0o077 != 0)
    }

    /// Changes the file under its lock. The edit may run again if another program changed the file meanwhile.
    pub fn edit(&self, edit: impl Fn(&Document) -> Result<Document, Error>) -> Result<(), Error> {
        let path = self.resolved()?;
        if let Some(dir) = path.parent() {
            disk::make_dir(dir).map_err(|error| Error::file("create the folder", dir, error))?;
        }
        let _lock = take_lock(&path)?;
        for _ in 0..ATTEMPTS {
            let before = read(&path)?;
            let after = edit(&before)?;
            if after.text() == before.text() {
                return Ok(());
            }
            // After our first write, a copy would only keep keys that are later removed.
            if !before.text().is_empty() && !before.text().contains(profile::MARK) {
                let beside = sibling(&path, ".auth-login.bak");
                let kept = disk::create_once(&beside, before.text().as_bytes());
                kept.map_err(|error| Error::file("keep a copy in", &beside, error))?;
            }
            if read(&path)?.text() == before.text() {
                return replace(&path, after.text());
            }
        }
        Err(Error::refused(format!("{} keeps changing: another program is writing it; try again", path.display())))
    }

    /// The file behind all symlinks, whether it exists or not.
    fn resolved(&self) -> Result<PathBuf, Error> {
        let mut path = std::path::absolute(&self.path).map_err(|error| Error::file("find", &self.path, error))?;
        // As many as Linux follows.
        for _ in 0..40 {
            match std::fs::read_link(&path) {
                Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
                // Not a symlink, or no such file: this is the path. Symlinks in its folder are allowed.
                Err(_) => return Ok(path),
            }
        }
        Err(Error::refused(format!("{} is a symlink that cannot be resolved", self.path.display())))
    }
}

fn read(path: &Path) -> Result<Document, Error> {
    let unreadable = |what: String| {
        Error::refused(format!(
            "{}: {what}. The AWS tools cannot read this file either; nothing was changed. Fix that line, then try again",
            path.display()
        ))
    };
    let bytes = disk::read(path, MAX_BYTES).map_err(|error| Error::file("read", path, error))?.unwrap_or_default();
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count();
        unreadable(format!("line {line}: not UTF-8"))
    })?;
    Document::parse(text).map_err(|error| unreadable(error.to_string()))
}

fn replace(path: &Path, text: &str) -> Result<(), Error> {
    disk::replace(path, text.as_bytes()).map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => Error::refused(format!(
            "{} is a mount point and cannot be replaced; mount its folder instead, or use `auth-login \
             credential-process`",
            path.display()
        )),
        _ => Error::file("write", path, error),
    })
}

fn take_lock(path: &Path) -> Result<lock::Held, Error> {
    let beside = sibling(path, ".auth-login.lock");
    let file = lock::open(&beside).map_err(|error| Error::file("make the lock", &beside, error))?;
    let held = lock::queue(file)
        .and_then(|queued| queued.wait(LOCK_WAIT))
        .map_err(|error| Error::file("lock", &beside, error))?;
    held.ok_or_else(|| {
        Error::refused(format!(
            "another auth-login has been writing {} for {} s; if none is running, remove {}",
            path.display(),
            LOCK_WAIT.as_secs(),
            beside.display()
        ))
    })
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::refused(match refused {
            Refused::WouldNotReadBack => {
                "the file is indented in a way that cannot be edited safely; nothing was changed. Move the keys of the \
                 profile to the left margin, then try again"
                    .to_owned()
            }
            Refused::Unwritable(what) => format!("{what} has characters that an AWS file cannot hold"),
        })
    }
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::edit::Change;
    use super::*;

    fn set(file: &AwsFile, section: &str, value: &str) -> Result<(), Error> {
        file.edit(|document| Ok(document.changed(section, &Change { set: &[("k", value)], remove: &[] })?))
    }

    #[test]
    fn a_new_file_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let file = AwsFile::at(dir.path().join("new/credentials"));
        set(&file, "a", "1").unwrap();
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "[a]\nk = 1\n");
        assert_eq!(std::fs::metadata(file.path()).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(dir.path().join("new")).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_symlink_stays_one_and_the_mode_stays() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real");
        std::fs::write(&real, "[b]\nx=1\n").unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
        let link = dir.path().join("link");
        symlink("real", &link).unwrap();
        let file = AwsFile::at(link.clone());
        set(&file, "a", "1").unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "[b]\nx=1\n\n[a]\nk = 1\n");
        assert_eq!(std::fs::metadata(&real).unwrap().mode() & 0o777, 0o640);
        assert!(file.is_open_to_others());
    }

    #[test]
    fn a_dangling_symlink_makes_its_target_and_a_loop_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        symlink("there", dir.path().join("dangling")).unwrap();
        set(&AwsFile::at(dir.path().join("dangling")), "a", "1").unwrap();
        assert!(dir.path().join("there").is_file());
        symlink("loop", dir.path().join("loop")).unwrap();
        assert!(set(&AwsFile::at(dir.path().join("loop")), "a", "1").is_err());
    }

    #[test]
    fn one_backup_is_kept_of_what_was_there_first() {
        let dir = tempfile::tempdir().unwrap();
        let file = AwsFile::at(dir.path().join("credentials"));
        std::fs::write(file.path(), "[b]\nx=1\n").unwrap();
        set(&file, "a", "1").unwrap();
        set(&file, "a", "2").unwrap();
        let backup = dir.path().join("credentials.auth-login.bak");
        assert_eq!(std::fs::read_to_string(&backup).unwrap(), "[b]\nx=1\n");
        assert_eq!(std::fs::metadata(&backup).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_malformed_file_is_untouched_and_the_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = AwsFile::at(dir.path().join("credentials"));
        for (bytes, line) in
            [(&b"[a]\nk=1\n[a]\n"[..], "line 3"), (b"[a]\nk=1\nsecr", "line 3"), (b"[a]\n\xff", "line 2")]
        {
            std::fs::write(file.path(), bytes).unwrap();
            let error = set(&file, "a", "1").unwrap_err().to_string();
            assert!(error.contains(line), "{error}");
            assert_eq!(std::fs::read(file.path()).unwrap(), bytes);
        }
        assert!(!dir.path().join("credentials.auth-login.bak").exists());
    }

    #[test]
    fn a_change_by_a_program_without_a_lock_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let file = AwsFile::at(dir.path().join("credentials"));
        std::fs::write(file.path(), "[b]\nx=1\n").unwrap();
        let interfered = std::cell::Cell::new(false);
        file.edit(|document| {
            if !interfered.replace(true) {
                std::fs::write(file.path(), "[b]\nx=2\n").unwrap();
            }
            Ok(document.changed("a", &Change { set: &[("k", "1")], remove: &[] })?)
        })
        .unwrap();
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "[b]\nx=2\n\n[a]\nk = 1\n");
    }

    #[test]
    fn many_writers_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = AwsFile::at(dir.path().join("credentials"));
        std::thread::scope(|scope| {
            for number in 0..8 {
                let file = &file;
                scope.spawn(move || set(file, &format!("p{number}"), "1").unwrap());
            }
        });
        assert_eq!(file.read().unwrap().sections().count(), 8);
    }
}
