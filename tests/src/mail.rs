//! A real mail server (tests/rig/smtp-sink.py), which keeps every mail as another implementation has read it.

use crate::process::{Process, free_port, stdout};
use crate::{TIMEOUT, folder, rig, until};
use serde_json::Value;
use std::path::PathBuf;
use tempfile::TempDir;

/// A mail server.
#[derive(Debug)]
pub struct MailServer {
    dir: TempDir,
    /// With STARTTLS and AUTH, with TLS from the start and AUTH, with neither.
    ports: [u16; 3],
    process: Option<Process>,
}

impl MailServer {
    /// # Panics
    /// When it does not come up.
    pub fn start() -> Self {
        let mut server = Self::stopped();
        server.start_again();
        server
    }

    /// One that is not there yet.
    ///
    /// # Panics
    /// When no certificate can be made.
    pub fn stopped() -> Self {
        let dir = folder("mail");
        stdout(&rig::script("tls.sh").arg(dir.path().join("tls")).run(TIMEOUT));
        Self { dir, ports: [free_port(), free_port(), free_port()], process: None }
    }

    /// # Panics
    /// When it does not come up.
    pub fn start_again(&mut self) {
        let names = ["SMTP_PORT", "TLS_PORT", "PLAIN_PORT"];
        let ports = names.into_iter().zip(self.ports.map(|port| port.to_string()));
        let spec = rig::script("smtp-sink.py").arg(self.folder()).envs(ports);
        let spec = spec.env("RIG_TLS", self.dir.path().join("tls")).env("PYTHONUNBUFFERED", "1");
        let mut process = spec.start(self.dir.path().join("log"));
        process.ready_line(TIMEOUT);
        self.process = Some(process);
    }

    /// With STARTTLS.
    pub fn url(&self) -> String {
        format!("smtp://authd:mail%20pw%2F%40@localhost:{}", self.ports[0])
    }

    /// With TLS from the start.
    pub fn tls_url(&self) -> String {
        format!("smtps://authd:mail%20pw%2F%40@localhost:{}", self.ports[1])
    }

    /// Without TLS.
    pub fn plain_url(&self) -> String {
        format!("smtp://127.0.0.1:{}?tls=none", self.ports[2])
    }

    /// Its certificate authority, as PEM.
    pub fn authority(&self) -> PathBuf {
        self.dir.path().join("tls/ca.pem")
    }

    /// The folder of its mails, one JSON file each.
    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("mails")
    }

    /// The mails that it has accepted.
    ///
    /// # Panics
    /// When one of them cannot be read.
    pub fn mails(&self) -> Vec<Value> {
        let entries = std::fs::read_dir(self.folder()).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|kind| kind == "json")).collect();
        paths.sort();
        let read = |path: &PathBuf| serde_json::from_slice(&std::fs::read(path).expect("it is there")).expect("JSON");
        paths.iter().map(read).collect()
    }

    /// Waits for the mails to an address, which are this many or more.
    pub fn wait_for(&self, to: &str, count: usize) -> Vec<Value> {
        until(TIMEOUT, &format!("{count} mails to {to}"), || {
            let mails: Vec<_> = self.mails().into_iter().filter(|mail| mail["to"] == to).collect();
            (mails.len() >= count).then_some(mails)
        })
    }
}

/// A header of a mail.
///
/// # Panics
/// When it does not have exactly one of this name.
pub fn header<'a>(mail: &'a Value, name: &str) -> &'a str {
    let headers = mail["headers"].as_array().expect("a mail has headers");
    let mut named = headers.iter().filter(|header| header[0].as_str().is_some_and(|n| n.eq_ignore_ascii_case(name)));
    let (Some(header), None) = (named.next(), named.next()) else { panic!("not one {name}: {mail}") };
    header[1].as_str().expect("a text")
}
