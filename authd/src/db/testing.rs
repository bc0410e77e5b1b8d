//! Databases for the tests of other rooms.

use std::sync::Arc;

use tempfile::TempDir;

use super::Db;
use super::sqlite::{Settings, Sqlite};

/// A new SQLite database with the whole schema, gone with the folder.
pub fn sqlite() -> (Arc<dyn Db>, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let db = Sqlite::open(&folder.path().join("authd.db"), Settings { readers: 2, ..Settings::default() }, 0)
        .expect("a new database opens");
    (Arc::new(db), folder)
}
