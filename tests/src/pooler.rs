//! PgBouncer in transaction mode in front of a PostgreSQL: each transaction may get another session of the server.

use crate::postgres::Postgres;
use crate::process::{Process, free_port};
use crate::{TIMEOUT, folder, rig};
use tempfile::TempDir;

/// A running pooler.
#[derive(Debug)]
pub struct Pooler {
    port: u16,
    process: Process,
    _dir: TempDir,
}

impl Pooler {
    /// Starts it with so many sessions of the server for each database.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(server: &Postgres, sessions: u16) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let (dir, port) = (folder("pooler"), free_port());
        // As root it runs as user postgres, who must be able to enter.
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o711)).expect("it is ours");
        let numbers = [port, server.port(), sessions].map(|number| number.to_string());
        let spec = rig::script("pgbouncer.sh").arg(dir.path().join("pgbouncer")).args(&numbers);
        let mut process = spec.start(dir.path().join("log"));
        process.wait(TIMEOUT, "PgBouncer that accepts connections", || {
            let args = ["-q", "-h", "127.0.0.1", "-U", "postgres", "-p", &numbers[0]];
            rig::program("pg_isready").args(args).run(TIMEOUT).status.success().then_some(())
        });
        Self { port, process, _dir: dir }
    }

    /// The URL of a new database of the server, through the pooler.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn database(&self, server: &Postgres) -> String {
        let url = server.database();
        let (_, name) = url.rsplit_once('/').expect("it ends in the name");
        format!("postgres://postgres@127.0.0.1:{}/{name}", self.port)
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
