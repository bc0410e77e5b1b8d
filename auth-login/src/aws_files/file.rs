//! One AWS file on disk: found, locked, read, replaced.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use shared::disk;

use super::edit::Refused;
use super::profile;
use super::syntax::Document;
use crate::cache::lock;
use crate::error::Error;

/// The largest file that is read or written, in bytes. Typical files have a few kilobytes.
const MAX_BYTES: u64 = 1 << 20;
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
        std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o077 != 0)
    }

    /// Changes the file under its lock. The edit may run again if another program changed the file meanwhile.
    pub fn edit(&self, edit: impl Fn(&Document) -> Result<Document, Error>) -> Result<(), Error> {
        let path = self.resolved()?;
        if !is_changed(&path, &edit)? {
            return Ok(());
        }
        let _lock = self.lock(&path)?;
        for _ in 0..ATTEMPTS {
            let before = read(&path)?;
            let after = edit(&before)?;
            if after.text() == before.text() {
                return Ok(());
            }
            // After our first write, a copy would only keep keys that are later removed.
            if !before.text().is_empty() && !before.text().contains(profile::MARK) {
                let beside = disk::sibling(&path, ".auth-login.bak");
                let kept = disk::create_once(&beside, before.text().as_bytes());
                kept.map_err(|error| Error::file("keep a copy in", &beside, error))?;
            }
            if read(&path)?.text() == before.text() {
                return disk::replace(&path, after.text().as_bytes()).map_err(|error| unwritable(&path, error));
            }
        }
        Err(Error::refused(format!("{} keeps changing: another program is writing it; try again", path.display())))
    }

    /// Fails if [`Self::edit`] would fail.
    pub fn check(&self, edit: impl Fn(&Document) -> Result<Document, Error>) -> Result<(), Error> {
        let path = self.resolved()?;
        if !is_changed(&path, &edit)? {
            return Ok(());
        }
        let _lock = self.lock(&path)?;
        disk::check_replaceable(&path).map_err(|error| unwritable(&path, error))
    }

    /// Takes the lock of the file, in its folder, which is created if it is missing.
    fn lock(&self, path: &Path) -> Result<lock::Held, Error> {
        if is_nothing(path) {
            return Err(Error::refused(format!(
                "there is no file to write: {} is {}, which means none. Set its variable (AWS_CONFIG_FILE or \
                 AWS_SHARED_CREDENTIALS_FILE) to a file, or unset it",
                self.path.display(),
                path.display()
            )));
        }
        lock::beside(path)
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

/// Whether the edit changes anything; the lock is not needed for that.
fn is_changed(path: &Path, edit: impl Fn(&Document) -> Result<Document, Error>) -> Result<bool, Error> {
    let before = read(path)?;
    Ok(edit(&before)?.text() != before.text())
}

/// Whether the path is `/dev/null`, by which people say that there is no such file.
fn is_nothing(path: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).ok().filter(|found| found.file_type().is_char_device());
    let null = device(Path::new("/dev/null"));
    device(path).zip(null).is_some_and(|(found, null)| found.rdev() == null.rdev())
}

fn read(path: &Path) -> Result<Document, Error> {
    if is_nothing(path) {
        return Ok(Document::default());
    }
    let unreadable = |tools: &str, what: String| {
        Error::refused(format!(
            "{}: {what}. {tools} cannot read this file; nothing was changed. Fix that line, then try again",
            path.display()
        ))
    };
    let bytes = disk::read(path, MAX_BYTES).map_err(|error| Error::file("read", path, error))?.unwrap_or_default();
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count();
        unreadable("The AWS tools", format!("line {line}: not UTF-8"))
    })?;
    Document::parse(text).map_err(|error| unreadable(error.tools, error.to_string()))
}

fn unwritable(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ResourceBusy => Error::refused(format!(
            "{} is a mount point and cannot be replaced; mount its folder instead, or use `auth-login \
             credential-process`",
            path.display()
        )),
        _ => Error::file("write", path, error),
    }
}

impl Refused {
    /// What to do about it in this file.
    pub fn at(self, path: &Path) -> Error {
        let path = path.display();
        Error::refused(match self {
            Self::WouldNotReadBack { section, line } => format!(
                "{path}: line {line}: the AWS tools read the lines of [{section}] in different ways, so that it cannot be \
                 edited safely; nothing was changed. Write each key and each comment on a line of its own, at the left \
                 margin, then try again"
            ),
            Self::Ambiguous { section, lines } => {
                let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
                format!(
                    "{path}: line {}: the AWS tools disagree about which section this profile is; nothing was changed. \
                     Keep one section, [{section}], then try again",
                    lines.join(" and line ")
                )
            }
            Self::Unwritable(what) => format!("{what} has characters that {path} cannot hold"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::edit::Change;
    use super::*;

    fn set(file: &AwsFile, section: &str, value: &str) -> Result<(), Error> {
        let change = [("k", value)];
        file.edit(|document| {
            let changed = document.changed(section, &Change { set: &change, remove: &[] });
            changed.map_err(|refused| refused.at(file.path()))
        })
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
            let changed = document.changed("a", &Change { set: &[("k", "1")], remove: &[] });
            changed.map_err(|refused| refused.at(file.path()))
        })
        .unwrap();
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "[b]\nx=2\n\n[a]\nk = 1\n");
    }

    #[test]
    fn dev_null_is_no_file_and_nothing_is_written_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("config");
        symlink("/dev/null", &link).unwrap();
        for path in [Path::new("/dev/null"), &link] {
            let file = AwsFile::at(path.to_owned());
            assert_eq!(file.read().unwrap().text(), "");
            file.edit(|document| Ok(document.clone())).unwrap();
            let error = set(&file, "a", "1").unwrap_err().to_string();
            assert!(error.contains("AWS_CONFIG_FILE"), "{error}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        for beside in ["/dev/null.auth-login.lock", "/dev/null.auth-login.bak"] {
            assert!(!Path::new(beside).exists());
        }
    }

    #[test]
    fn a_check_finds_what_would_fail_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = AwsFile::at(dir.path().join("credentials"));
        let edit = |document: &Document| {
            let changed = document.changed("a", &Change { set: &[("k", "1")], remove: &[] });
            changed.map_err(|refused| refused.at(file.path()))
        };
        file.check(edit).unwrap();
        assert!(!file.path().exists());
        let blocked = AwsFile::at(dir.path().join("credentials/deeper"));
        std::fs::write(file.path(), "[b]\nx=1\n").unwrap();
        assert!(blocked.check(edit).is_err());
        file.check(edit).unwrap();
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "[b]\nx=1\n");
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
