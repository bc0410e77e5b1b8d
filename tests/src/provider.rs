//! The OpenID provider that looks like Cognito (tests/rig/cognito-idp.mjs).

use crate::http::Http;
use crate::process::Process;
use crate::{TIMEOUT, folder, rig};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A running provider.
#[derive(Debug)]
pub struct Provider {
    /// The `iss` of its tokens; its keys lie below.
    pub issuer: String,
    /// Where people sign in and codes are exchanged.
    pub domain: String,
    /// A client without a secret, and one with.
    pub public_client: String,
    pub secret_client: String,
    pub client_secret: String,
    pub pool: String,
    /// Its two ports.
    pub ports: [u16; 2],
    http: Http,
    process: Process,
    _dir: TempDir,
}

impl Provider {
    /// Starts one that sends people back to these redirect URIs only.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(callbacks: &[String]) -> Self {
        let dir = folder("idp");
        let spec = rig::script("cognito-idp.mjs").envs([("ISS_PORT", "0"), ("DOM_PORT", "0")]);
        let mut process = spec.env("CALLBACKS", callbacks.join(",")).start(dir.path().join("log"));
        let said = process.ready_line(TIMEOUT);
        let text = |name: &str| said[name].as_str().expect("the ready line is complete").to_owned();
        let port = |name: &str| u16::try_from(said[name].as_u64().unwrap_or(0)).expect("a port");
        let ports = [port("issuer_port"), port("domain_port")];
        Self {
            issuer: text("issuer"),
            domain: text("domain"),
            public_client: text("public_client"),
            secret_client: text("secret_client"),
            client_secret: text("client_secret"),
            pool: text("pool"),
            ports,
            http: Http::tcp(ports[1]),
            process,
            _dir: dir,
        }
    }

    /// Steers it; see the head of the script for what it understands.
    ///
    /// # Panics
    /// When it refuses.
    pub fn steer(&self, what: &str, body: &Value) -> Value {
        self.http.post(&format!("/__rig/{what}"), body).expect("the provider answers").expect(200)
    }

    /// Lets the next `times` requests to a path fail.
    pub fn fault(&self, path: &str, status: u16, times: u32) {
        self.steer("fault", &json!({"path": path, "status": status, "times": times}));
    }

    /// How often a path was asked, as `METHOD /path`.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn hits(&self, what: &str) -> u64 {
        self.http.get("/__rig/hits").expect("the provider answers").expect(200)[what].as_u64().unwrap_or(0)
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
