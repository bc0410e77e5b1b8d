//! A real PostgreSQL: one server a test process, a database of its own for each test.

use crate::process::{Process, free_port, stdout};
use crate::{TIMEOUT, folder, rig, until};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};
use tempfile::TempDir;

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    dir: TempDir,
    port: u16,
    /// The folder of its certificate.
    tls: Option<PathBuf>,
    process: Process,
}

impl Postgres {
    /// Starts a server of its own: for tests that stop it, crash it or fill it.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start() -> Self {
        Self::launch(None)
    }

    /// Starts one that speaks TLS with `srv.pem` and `srv.key` of a folder.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn with_certificate(folder: &Path) -> Self {
        Self::launch(Some(folder.to_owned()))
    }

    fn launch(tls: Option<PathBuf>) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let dir = folder("pg");
        // as root the server runs as user postgres, who must be able to enter
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o711)).expect("it is ours");
        let port = free_port();
        let process = launch(&dir, port, tls.as_deref());
        Self { dir, port, tls, process }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// A new empty database of this server; the answer is its URL.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        format!("postgres://postgres@127.0.0.1:{}/{name}", self.port)
    }

    /// Runs SQL in a database and answers what psql prints: rows of values with `|` between.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let port = self.port.to_string();
        let args = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres"];
        let spec = rig::program("psql").args(args).args(["-p", &port, "-d", database, "-c", sql]);
        stdout(&spec.run(TIMEOUT)).trim().to_owned()
    }

    /// kill -9 of the server and of all its backends, as when the machine loses power, and waits until none of them is
    /// left. A backend outlives its postmaster until it notices: a moment, or as long as its query takes. Until then it
    /// still answers, and the next server refuses to start.
    ///
    /// # Panics
    /// When they do not end.
    pub fn kill(&mut self) {
        self.process.kill();
        let data = self.dir.path().join("pg/data");
        until(TIMEOUT, "the end of a killed PostgreSQL", || {
            let left = working_in(&data);
            for pid in &left {
                // It may have ended by itself meanwhile.
                let _ = kill_process(*pid, Signal::KILL);
            }
            left.is_empty().then_some(())
        });
    }

    /// [`Postgres::kill`], and starts again from what is on the disk.
    ///
    /// # Panics
    /// When its processes do not end, or it does not come up again.
    pub fn crash_and_restart(&mut self) {
        self.kill();
        self.process = launch(&self.dir, self.port, self.tls.as_deref());
    }
}

/// The processes whose working directory this is: for a data directory, the server and its backends. (Each backend leads
/// a process group of its own, so that the group does not name them.)
fn working_in(folder: &Path) -> Vec<Pid> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let here = processes.filter(|process| {
        std::fs::read_link(process.path().join("cwd")).is_ok_and(|working_directory| working_directory == folder)
    });
    here.filter_map(|process| process.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)).collect()
}

fn launch(dir: &TempDir, port: u16, tls: Option<&Path>) -> Process {
    let base = dir.path().join("pg");
    let spec = rig::script("pg.sh").arg(&base).arg(port.to_string()).envs(tls.map(|folder| ("RIG_TLS", folder)));
    let mut process = spec.start(dir.path().join("log"));
    let args = ["-q", "-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string()].map(str::to_owned);
    process.wait(TIMEOUT, "PostgreSQL that accepts connections", || {
        let output = rig::program("pg_isready").args(&args).run(TIMEOUT);
        output.status.success().then_some(())
    });
    process
}

/// A new empty database on the server that all tests of this process share.
///
/// # Panics
/// When the server does not come up.
pub fn database() -> String {
    static SHARED: LazyLock<Mutex<Postgres>> = LazyLock::new(|| Mutex::new(Postgres::start()));
    SHARED.lock().expect("no test holds the shared server while it fails").database()
}
