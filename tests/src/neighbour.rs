//! Another process that opens authd's database with a SQLite of its own: Python's.

use crate::TIMEOUT;
use crate::process::Process;
use crate::rig::script;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// One long-lived process; each command opens the database anew, and closes it.
#[derive(Debug)]
pub struct Neighbour {
    process: Process,
    dir: TempDir,
    asked: usize,
}

impl Neighbour {
    /// # Panics
    /// When Python cannot be started.
    pub fn start() -> Self {
        let dir = crate::folder("neighbour");
        let mut process = script("neighbour.py").dir(dir.path()).start(dir.path().join("log"));
        process.ready_line(TIMEOUT);
        Self { process, dir, asked: 0 }
    }

    /// Sends a command and waits for its answer.
    #[track_caller]
    fn ask(&mut self, command: &Value) -> Value {
        self.process.say(&command.to_string());
        self.asked += 1;
        let (log, number) = (self.dir.path().join("log"), self.asked);
        let answer: Value = self.process.wait(TIMEOUT, "answer", || {
            let text = std::fs::read_to_string(&log).ok()?;
            // the first line says that it is ready
            text.split_inclusive('\n').nth(number).filter(|line| line.ends_with('\n'))?.parse().ok()
        });
        assert_eq!(answer["error"], Value::Null, "{command}");
        answer
    }

    /// Opens, counts the tokens, closes.
    ///
    /// # Panics
    /// When it cannot.
    #[track_caller]
    pub fn select(&mut self, database: &Path) -> u64 {
        let answer = self.ask(&json!({"do": "select", "path": database}));
        answer["tokens"].as_u64().expect("a number")
    }

    /// Copies the database while it is in use, as `sqlite3 authd.db .backup` does. The copy is a sound database.
    ///
    /// # Panics
    /// When it cannot, or SQLite finds a fault in the copy.
    #[track_caller]
    pub fn backup(&mut self, database: &Path) -> PathBuf {
        let to = self.dir.path().join("backup.db");
        let answer = self.ask(&json!({"do": "backup", "path": database, "to": to}));
        assert_eq!(answer["check"], "ok", "integrity_check of the backup");
        to
    }

    /// Copies the log into the file as far as it may, as `sqlite3 authd.db 'PRAGMA wal_checkpoint(TRUNCATE)'` does.
    ///
    /// # Panics
    /// When it cannot.
    #[track_caller]
    pub fn checkpoint(&mut self, database: &Path) {
        self.ask(&json!({"do": "checkpoint", "path": database}));
    }

    /// Reads, and stays in the middle of it.
    ///
    /// # Panics
    /// When it cannot.
    #[track_caller]
    pub fn hold(&mut self, database: &Path) {
        self.ask(&json!({"do": "hold", "path": database}));
    }

    /// Ends what [`Neighbour::hold`] began.
    ///
    /// # Panics
    /// When it cannot.
    #[track_caller]
    pub fn release(&mut self) {
        self.ask(&json!({"do": "release"}));
    }
}
