//! A person at a real Chromium (tests/rig/browser.mjs), on this machine's loopback or on one of their own.

use crate::process::{Process, Running, Spec};
use crate::{TIMEOUT, folder, rig};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// What a visit ended in.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where the browser ended up, and everywhere it was sent to on the way.
    pub url: String,
    pub visited: Vec<String>,
    /// What a person reads.
    pub text: String,
    pub html: String,
    /// The form of [`Visit::sets`] before it was sent.
    pub form: String,
}

/// How to visit.
#[derive(Clone, Debug, Default)]
pub struct Visit {
    options: Vec<(&'static str, String)>,
    network: Option<PathBuf>,
    ports: Vec<u16>,
}

impl Visit {
    /// As alice, who signs in and reads what comes.
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn user(mut self, name: &str) -> Self {
        self.options.push(("user", name.into()));
        self
    }

    /// At authd's own form, with this password.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.options.push(("password", password.into()));
        self
    }

    /// Sets this password in authd's own form, instead of signing in.
    #[must_use]
    pub fn sets(mut self, password: &str) -> Self {
        self.options.push(("set", password.into()));
        self
    }

    /// Declines at the provider instead of signing in.
    #[must_use]
    pub fn cancels(mut self) -> Self {
        self.options.push(("then", "cancel".into()));
        self
    }

    /// Signs in, then presses Deny on authd's page.
    #[must_use]
    pub fn denies(mut self) -> Self {
        self.options.push(("then", "deny".into()));
        self
    }

    /// With the cookies of the visits before that kept them there.
    #[must_use]
    pub fn keeps_cookies(mut self, file: &Path) -> Self {
        self.options.push(("cookies", file.display().to_string()));
        self
    }

    /// Screenshots of every page go there.
    #[must_use]
    pub fn shots(mut self, dir: &Path) -> Self {
        self.options.push(("shots", dir.display().to_string()));
        self
    }

    /// From another machine: its 127.0.0.1 is not ours.
    #[must_use]
    pub fn from(mut self, elsewhere: &Elsewhere) -> Self {
        self.network = Some(elsewhere.sockets.path().into());
        self.ports.clone_from(&elsewhere.ports);
        self
    }

    fn spec(&self, url: &str) -> Spec {
        let options = self.options.iter().map(|(name, value)| format!("{name}={value}"));
        let home = self.network.clone().unwrap_or_else(|| "/tmp".into());
        let Some(sockets) = &self.network else {
            return rig::script("browser.mjs").arg(url).args(options).env("HOME", home);
        };
        let ports = self.ports.iter().map(ToString::to_string);
        // the namespace lives as long as this command
        let spec = rig::program("unshare").args(["--net", "--", "bash"]).arg(rig::dir().join("elsewhere.sh"));
        spec.env("HOME", home).arg(sockets).args(ports).arg("--").arg(url).args(options)
    }

    /// Starts the browser beside the test.
    pub fn start(&self, url: &str) -> Running {
        self.spec(url).start_piped()
    }

    /// Visits, and waits for what comes.
    ///
    /// # Panics
    /// When the browser fails.
    #[track_caller]
    pub fn go(&self, url: &str) -> Page {
        finish(self.start(url))
    }

    /// A program for the variable `BROWSER`: it visits the URL it is given and leaves what it saw in `dir`.
    ///
    /// # Panics
    /// When `dir` cannot be written.
    pub fn program(&self, dir: &Path) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.join("browser");
        let command = self.spec("\"$1\"").shell();
        let opened = dir.join("opened");
        let seen = dir.join("seen.json");
        let text = format!(
            "#!/bin/bash\nprintf '%s\\n' \"$1\" >>{}\nexec {command} >{} 2>&1 </dev/null\n",
            opened.display(),
            seen.display()
        );
        std::fs::write(&path, text).expect("the folder can be written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("it is ours");
        path
    }
}

/// Waits for the end of a visit.
///
/// # Panics
/// When the browser failed.
#[track_caller]
pub fn finish(visit: Running) -> Page {
    let output = visit.finish(TIMEOUT + Duration::from_secs(30));
    let text = String::from_utf8_lossy(&output.stdout);
    let said: Value = serde_json::from_str(text.trim()).unwrap_or_default();
    assert!(said["ok"] == true, "the browser failed: {:.2000}", crate::process::both(&output));
    let field = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
    let visited = said["visited"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let [url, text, html, form] = ["url", "text", "html", "form"].map(field);
    Page { url, visited: visited.map(str::to_owned).collect(), text, html, form }
}

/// What a person does in one or several windows, step by step (tests/rig/walk.mjs has the steps), and what each step told.
///
/// # Panics
/// When a step fails.
#[track_caller]
pub fn walk(steps: &Value) -> Vec<Value> {
    let spec = rig::script("walk.mjs").env("HOME", "/tmp").stdin(steps.to_string());
    let output = spec.run(TIMEOUT + Duration::from_secs(60));
    let said: Value = serde_json::from_slice(output.stdout.trim_ascii()).unwrap_or_default();
    assert!(said["ok"] == true, "the walk failed: {:.3000}", crate::process::both(&output));
    said["steps"].as_array().cloned().unwrap_or_default()
}

/// Another machine's network: a loopback of its own, on which only the given ports of ours can be reached.
#[derive(Debug)]
pub struct Elsewhere {
    ports: Vec<u16>,
    sockets: TempDir,
    _outside: Process,
}

impl Elsewhere {
    /// The command that lets the ports be reached, to be run in the other network for as long as that is wanted.
    pub fn inside(&self) -> Spec {
        let names = self.ports.iter().map(ToString::to_string);
        rig::script("forward.mjs").arg("in").arg(self.sockets.path()).args(names)
    }

    /// # Panics
    /// When the forwarder does not come up.
    pub fn reaching(ports: &[u16]) -> Self {
        let sockets = folder("ns");
        let names = ports.iter().map(ToString::to_string);
        let spec = rig::script("forward.mjs").arg("out").arg(sockets.path()).args(names);
        let mut outside = spec.start(sockets.path().join("log"));
        outside.ready_line(TIMEOUT);
        Self { ports: ports.to_vec(), sockets, _outside: outside }
    }
}
