//! AWS: two moto servers that all tests of this process share, and a proxy in front of them for each test, which adds
//! what moto does not do (tests/rig/sts-proxy.mjs).

use crate::http::Http;
use crate::process::{Process, free_port, stdout};
use crate::provider::Provider;
use crate::{TIMEOUT, folder, rig};
use serde_json::{Value, json};
use std::sync::LazyLock;
use tempfile::TempDir;

/// The two moto servers with an account in them.
#[derive(Debug)]
struct Account {
    checked: String,
    unchecked: String,
    facts: Value,
    _processes: [Process; 2],
    _dir: TempDir,
}

static ACCOUNT: LazyLock<Account> = LazyLock::new(|| {
    let dir = folder("moto");
    let ports = [free_port(), free_port()];
    let mut processes = ports.map(|port| {
        let spec = rig::program("moto_server").args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        spec.env("HOME", dir.path()).start(dir.path().join(format!("moto-{port}")))
    });
    for (process, port) in processes.iter_mut().zip(ports) {
        process.listening(port, TIMEOUT);
    }
    let [checked, unchecked] = ports.map(|port| format!("http://127.0.0.1:{port}"));
    let spec = rig::script("aws-account.py").args([&checked, &unchecked]).env("HOME", dir.path());
    let facts = serde_json::from_str(&stdout(&spec.run(TIMEOUT))).expect("the account's facts are JSON");
    Account { checked, unchecked, facts, _processes: processes, _dir: dir }
});

/// An AWS endpoint (STS, IAM and S3) of this test's own.
#[derive(Debug)]
pub struct Sts {
    pub port: u16,
    /// The keys of the IAM user that authd runs as.
    pub access_key_id: String,
    pub secret_access_key: String,
    /// What the roles `developer` and `admin` want to be told.
    pub external_id: String,
    /// A bucket in which the roles may put and get objects.
    pub bucket: String,
    http: Http,
    process: Process,
    _dir: TempDir,
}

impl Sts {
    /// # Panics
    /// When it does not come up.
    pub fn start() -> Self {
        let account = &*ACCOUNT;
        let dir = folder("sts");
        let spec =
            rig::script("sts-proxy.mjs").envs([("CHECKED", &account.checked), ("UNCHECKED", &account.unchecked)]);
        let mut process = spec.env("PORT", "0").start(dir.path().join("log"));
        let said = process.ready_line(TIMEOUT);
        let port = u16::try_from(said["port"].as_u64().unwrap_or(0)).expect("a port");
        let fact = |name: &str| account.facts[name].as_str().expect("the account's facts are complete").to_owned();
        let sts = Self {
            port,
            access_key_id: fact("access_key_id"),
            secret_access_key: fact("secret_access_key"),
            external_id: fact("external_id"),
            bucket: fact("bucket"),
            http: Http::tcp(port),
            process,
            _dir: dir,
        };
        sts.steer("setup", &account.facts["setup"]);
        sts
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The ARN of one of the account's roles: developer, admin, open, untagged, web, forbidden.
    pub fn role(&self, name: &str) -> String {
        format!("arn:aws:iam::123456789012:role/{name}")
    }

    /// The environment with which a program finds this endpoint instead of AWS, without any credentials.
    pub fn endpoint(&self) -> Vec<(String, String)> {
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        vec![
            pair("AWS_ENDPOINT_URL", &self.url()),
            pair("AWS_REGION", "us-east-1"),
            pair("AWS_DEFAULT_REGION", "us-east-1"), // the AWS CLI v1 reads only this one
            pair("AWS_EC2_METADATA_DISABLED", "true"),
        ]
    }

    /// The environment of authd: the endpoint and its own keys.
    pub fn daemon(&self) -> Vec<(String, String)> {
        let mut all = self.endpoint();
        all.push(("AWS_ACCESS_KEY_ID".into(), self.access_key_id.clone()));
        all.push(("AWS_SECRET_ACCESS_KEY".into(), self.secret_access_key.clone()));
        all
    }

    /// Lets the account trust a provider's ID tokens.
    pub fn trust(&self, provider: &Provider) {
        let audiences = [&provider.public_client, &provider.secret_client];
        self.steer("setup", &json!({"providers": [{"issuer": provider.issuer, "audiences": audiences}]}));
    }

    /// Steers it; see the head of the script for what it understands.
    ///
    /// # Panics
    /// When it refuses.
    pub fn steer(&self, what: &str, body: &Value) -> Value {
        self.http.post(&format!("/__rig/{what}"), body).expect("the proxy answers").expect(200)
    }

    /// Seconds for which credentials issued from now on work, whatever was asked for.
    pub fn lifetime(&self, seconds: u32) {
        self.steer("lifetime", &json!({"seconds": seconds}));
    }

    /// The calls of an action so far, with their parameters and outcome.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn calls(&self, action: &str) -> Vec<Value> {
        let all = self.http.get("/__rig/calls").expect("the proxy answers").expect(200);
        all.as_array().into_iter().flatten().filter(|call| call["action"] == action).cloned().collect()
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
