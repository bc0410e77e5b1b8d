//! A real Redis server, plain or with TLS and users.

use crate::process::{Process, free_port, stdout};
use crate::{TIMEOUT, folder, rig};
use std::path::PathBuf;
use tempfile::TempDir;

/// A running server.
#[derive(Debug)]
pub struct Redis {
    dir: TempDir,
    port: u16,
    tls: bool,
    process: Process,
}

impl Redis {
    /// # Panics
    /// When it does not come up.
    pub fn start() -> Self {
        Self::launch(false)
    }

    /// With TLS and the user `authd`, who may touch nothing but keys `authd:*`.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_tls() -> Self {
        Self::launch(true)
    }

    fn launch(tls: bool) -> Self {
        let dir = folder("redis");
        let port = free_port();
        if tls {
            stdout(&rig::script("tls.sh").arg(dir.path().join("tls")).run(TIMEOUT));
        }
        let process = serve(&dir, port, tls);
        Self { dir, port, tls, process }
    }

    /// kill -9, and starts again from what is on the disk.
    pub fn crash_and_restart(&mut self) {
        self.process.kill();
        self.process = serve(&self.dir, self.port, self.tls);
    }

    pub fn url(&self) -> String {
        if self.tls {
            format!("rediss://authd:authd-pw@localhost:{}", self.port)
        } else {
            format!("redis://127.0.0.1:{}", self.port)
        }
    }

    /// The certificate authority of a server with TLS, as PEM.
    pub fn authority(&self) -> PathBuf {
        self.dir.path().join("tls/ca.pem")
    }

    /// Runs a command as an administrator, past TLS and users.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn command(&self, words: &[&str]) -> String {
        let mut spec = rig::program("redis-cli").arg("-s").arg(self.dir.path().join("redis.sock"));
        if self.tls {
            spec = spec.args(["--user", "admin", "--no-auth-warning", "--pass", "admin-pw"]);
        }
        stdout(&spec.args(words).run(TIMEOUT))
    }

    /// Everything that is stored: every key with its value, and the append-only file, which also shows what is gone.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn everything(&self) -> Vec<u8> {
        let mut all = self.command(&["--scan"]).into_bytes();
        for entry in std::fs::read_dir(self.dir.path().join("appendonlydir")).into_iter().flatten().flatten() {
            all.extend(std::fs::read(entry.path()).unwrap_or_default());
        }
        all
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn serve(dir: &TempDir, port: u16, tls: bool) -> Process {
    let mut spec = rig::script("redis.sh").arg(dir.path()).arg(port.to_string());
    if tls {
        spec = spec.env("RIG_TLS", dir.path().join("tls"));
    }
    let mut process = spec.start(dir.path().join("log"));
    process.listening(port, TIMEOUT);
    process
}
