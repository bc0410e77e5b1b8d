//! Where the key ring is expected: a root key that has sealed a database must not silently begin another one.
//!
//! What tells of an earlier database is `root.key` itself, which authd creates together with its first ring, and for a
//! configured key the file [`FILE`] in the data directory, with the databases that were used from there.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::{KeyError, root};

/// The file in the data directory: one database a line, without user and password.
const FILE: &str = "databases";

/// The database that is opened, and what the data directory knows of it.
#[derive(Clone, Debug)]
pub struct Origin {
    pub data_dir: PathBuf,
    /// The database's address, without secrets.
    pub database: String,
    /// The root key is configured, and not the file in the data directory.
    pub is_configured: bool,
    /// The operator means to begin a new database: `--new-database`.
    pub may_be_new: bool,
}

impl Origin {
    pub(super) fn root_key(&self) -> PathBuf {
        self.data_dir.join(root::FILE)
    }

    fn list(&self) -> PathBuf {
        self.data_dir.join(FILE)
    }

    fn is_known(&self) -> bool {
        fs::read_to_string(self.list()).is_ok_and(|list| list.lines().any(|line| line == self.database))
    }

    /// Refuses a database without keys if this root key, or this data directory, has had one with keys.
    pub fn check_new(&self) -> Result<(), KeyError> {
        let evidence = if self.may_be_new {
            None
        } else if !self.is_configured && self.root_key().exists() {
            Some(format!("{} has sealed the keys of a database", self.root_key().display()))
        } else {
            self.is_known().then(|| format!("{} tells that it was used before", self.list().display()))
        };
        let Some(evidence) = evidence else { return Ok(()) };
        Err(KeyError::Root(format!(
            "the database {} is missing or empty, but {evidence}: restore it from the backup, mount its folder, or \
             correct DATABASE_URL. If you mean to begin a new database, start authd once with --new-database",
            self.database
        )))
    }

    /// Notes that this database has keys now. Without the note a lost database is not noticed, so a failure is reported,
    /// but it is no reason not to start.
    pub(super) fn remember(&self) {
        if self.is_known() {
            return;
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(self.list());
        let written = file.and_then(|mut file| writeln!(file, "{}", self.database).and_then(|()| file.sync_all()));
        if let Err(error) = written {
            tracing::warn!(%error, path = %self.list().display(), "the database in use could not be noted");
        }
    }
}
