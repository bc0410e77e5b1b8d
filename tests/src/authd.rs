//! The daemon under test: the real binary, in a folder of its own.

use crate::http::Http;
use crate::process::{Process, Spec, free_port};
use crate::provider::Provider;
use crate::sts::Sts;
use crate::{TIMEOUT, binary, folder};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;
use tempfile::TempDir;

/// The bearer of the management API in tests.
pub const ADMIN_TOKEN: &str = "rig-admin-token-0123456789abcdefghijklmnop";

/// How authd is to be started.
#[derive(Debug)]
pub struct Setup {
    dir: TempDir,
    port: u16,
    env: BTreeMap<String, String>,
    toml: Option<String>,
    wrapper: Vec<String>,
    args: Vec<String>,
    timeout: Duration,
}

impl Setup {
    /// The embedded default: SQLite in a temporary folder, an admin token, nothing else.
    pub fn new() -> Self {
        let dir = folder("authd");
        let port = free_port();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let env = [
            ("SERVER_ADDR", format!("127.0.0.1:{port}")),
            ("AUTHD_DATA_DIR", path("data")),
            ("AUTHD_ADMIN_SOCKET", path("admin.sock")),
            ("ADMIN_TOKEN", ADMIN_TOKEN.into()),
            ("HOME", path("home")),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value)).into();
        Self { dir, port, env, toml: None, wrapper: Vec::new(), args: Vec::new(), timeout: TIMEOUT }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What a variable will be.
    ///
    /// # Panics
    /// When it is not set.
    pub fn env_value(&self, name: &str) -> String {
        self.env[name].clone()
    }

    /// Where the provider sends the browser back to.
    pub fn callback(&self) -> String {
        format!("http://127.0.0.1:{}/auth/cli/callback", self.port)
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Without a variable that the default sets.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    /// A configuration file.
    #[must_use]
    pub fn toml(mut self, text: &str) -> Self {
        self.toml = Some(text.into());
        self
    }

    /// Starts it behind another program, such as strace.
    #[must_use]
    pub fn behind(mut self, program: &[&str]) -> Self {
        self.wrapper = program.iter().map(|&s| s.to_owned()).collect();
        self
    }

    /// With its data in a folder of the caller's.
    #[must_use]
    pub fn data(self, dir: &std::path::Path) -> Self {
        self.env("AUTHD_DATA_DIR", &dir.display().to_string())
    }

    #[must_use]
    pub fn database(self, url: &str) -> Self {
        self.env("DATABASE_URL", url)
    }

    /// Signs people in at the provider, as a public client of Cognito.
    #[must_use]
    pub fn cognito(mut self, provider: &Provider) -> Self {
        let callback = self.callback();
        for (name, value) in [
            ("COGNITO_DOMAIN", &provider.domain),
            ("COGNITO_CLIENT_ID", &provider.public_client),
            ("COGNITO_REDIRECT_URI", &callback),
            ("COGNITO_USER_POOL_ID", &provider.pool),
            ("COGNITO_ISSUER", &provider.issuer),
        ] {
            self.env.insert(name.into(), value.clone());
        }
        self.env("COGNITO_REGION", "us-east-1")
    }

    /// Gets AWS credentials there, of the role `developer`.
    #[must_use]
    pub fn sts(mut self, sts: &Sts) -> Self {
        self.env.extend(sts.daemon());
        self.env("STS_ROLE_ARN", &sts.role("developer")).env("STS_EXTERNAL_ID", &sts.external_id)
    }

    fn spec(&self) -> Spec {
        let program = binary("authd");
        let mut words: Vec<std::ffi::OsString> = self.wrapper.iter().map(Into::into).collect();
        words.push(program.into());
        let mut spec = Spec::new(&words[0]).args(&words[1..]).envs(&self.env).dir(self.dir.path());
        if let Some(text) = &self.toml {
            let path = self.dir.path().join("authd.toml");
            std::fs::write(&path, text).expect("the folder is ours");
            spec = spec.arg("--config").arg(path);
        }
        spec
    }

    /// Starts it and waits until it is ready to serve.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(self) -> Authd {
        let process = self.launch();
        Authd { setup: self, process }
    }

    /// Runs one of its other commands (`check`, `--version`) to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.spec().args(args).run(TIMEOUT)
    }

    fn launch(&self) -> Process {
        std::fs::create_dir_all(self.dir.path().join("home")).expect("the folder is ours");
        let mut process = self.spec().args(&self.args).start(self.dir.path().join("log"));
        let ask = Http::tcp(self.port).timeout(Duration::from_secs(2));
        process.wait(self.timeout, "an authd that is ready", || {
            ask.get("/health/ready").ok().filter(|r| r.status == 200).map(drop)
        });
        process
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

/// A running daemon.
#[derive(Debug)]
pub struct Authd {
    setup: Setup,
    process: Process,
}

impl Authd {
    /// The embedded default.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start() -> Self {
        Setup::new().start()
    }

    pub fn port(&self) -> u16 {
        self.setup.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.setup.port)
    }

    /// The public side, as a caller who has nothing.
    pub fn http(&self) -> Http {
        Http::tcp(self.setup.port)
    }

    /// The public side, as the bearer of the admin token.
    pub fn admin(&self) -> Http {
        self.http().bearer(ADMIN_TOKEN)
    }

    /// The admin socket, as the user who runs the test.
    pub fn socket(&self) -> Http {
        Http::unix(self.socket_path())
    }

    pub fn socket_path(&self) -> PathBuf {
        self.setup.env["AUTHD_ADMIN_SOCKET"].clone().into()
    }

    /// Its folder, with data, configuration and log.
    pub fn dir(&self) -> &std::path::Path {
        self.setup.dir.path()
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    pub fn pid(&self) -> rustix::process::Pid {
        self.process.pid()
    }

    /// Its resident memory in KiB.
    ///
    /// # Panics
    /// When it has ended.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_nonzero()));
        let status = status.expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it lives");
        line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
    }

    /// Its threads of this name.
    pub fn threads(&self, name: &str) -> Vec<u32> {
        let tasks = format!("/proc/{}/task", self.pid().as_raw_nonzero());
        let tasks = std::fs::read_dir(tasks).expect("it lives").flatten();
        let named =
            tasks.filter(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|n| n.trim() == name));
        named.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
    }

    /// The thread that writes to the database file.
    ///
    /// # Panics
    /// When there is not exactly one.
    pub fn writer(&self) -> u32 {
        let [writer] = self.threads("db-writer").try_into().expect("one writer");
        writer
    }

    /// The database file in its folder.
    pub fn database(&self) -> PathBuf {
        PathBuf::from(&self.setup.env["AUTHD_DATA_DIR"]).join("authd.db")
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again with what it finds in its folder.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_again(&mut self) {
        self.process.kill();
        self.process = self.setup.launch();
    }

    /// The same, once, with these arguments.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_again_once(&mut self, args: &[&str]) {
        self.setup.args = args.iter().map(|&arg| arg.to_owned()).collect();
        self.start_again();
        self.setup.args.clear();
    }

    /// Runs it in the same place, with these arguments, until it ends by itself: for a start that is refused.
    pub fn run(&self, args: &[&str]) -> Output {
        self.setup.run(args)
    }

    /// The same with other settings.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_again_with(&mut self, name: &str, value: &str) {
        self.setup.env.insert(name.into(), value.into());
        self.start_again();
    }

    /// Runs authctl against its admin socket.
    pub fn authctl(&self, args: &[&str]) -> Output {
        let home = self.setup.dir.path().join("home");
        let socket = self.socket_path();
        Spec::new(binary("authctl")).env("HOME", home).env("AUTHD_ADMIN_SOCKET", socket).args(args).run(TIMEOUT)
    }

    /// Mints a token over HTTP: its secret and its id.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn mint(&self, name: &str, scopes: &[&str]) -> (String, String) {
        let body = serde_json::json!({"name": name, "scopes": scopes});
        let made = self.admin().post("/auth/tokens", &body).expect("authd answers").expect(201);
        let text = |field: &str| made[field].as_str().expect("the answer is complete").to_owned();
        (text("token"), text("token_id"))
    }

    /// What authd says about a token.
    ///
    /// # Panics
    /// When it does not answer 200.
    #[track_caller]
    pub fn validate(&self, token: &str, scopes: &[&str]) -> Value {
        let body = serde_json::json!({"token": token, "required_scopes": scopes});
        self.http().post("/auth/validate", &body).expect("authd answers").expect(200)
    }

    /// Every file that it has written, in one string of bytes: for the search for secrets.
    pub fn everything_on_disk(&self) -> Vec<u8> {
        fn gather(dir: &std::path::Path, all: &mut Vec<u8>) {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    gather(&path, all);
                } else {
                    all.extend(std::fs::read(&path).unwrap_or_default());
                }
            }
        }
        let mut all = Vec::new();
        gather(self.setup.dir.path(), &mut all);
        all
    }
}

/// A token that is well formed and that nobody has minted: its checksum is right.
///
/// # Panics
/// When the kernel has no randomness.
pub fn random_token() -> String {
    use base64::Engine as _;
    let mut bytes = [0; 28];
    #[expect(clippy::disallowed_methods, reason = "a token that nobody has")]
    getrandom::fill(&mut bytes).expect("the kernel has randomness");
    let prefix = "amp_live_";
    let mut checked = prefix.as_bytes().to_vec();
    checked.extend(bytes);
    let mut all = bytes.to_vec();
    all.extend(crc32(&checked).to_be_bytes());
    prefix.to_owned() + &base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(all)
}

/// CRC-32 (IEEE 802.3), bit by bit: another implementation than the daemon's.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

/// The bytes of a text in base32.
///
/// # Panics
/// When it is none.
pub fn base32(text: &str) -> Vec<u8> {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digits = text.chars().map(|sign| alphabet.find(sign).expect("a sign of base32"));
    let bits: String = digits.map(|digit| format!("{digit:05b}")).collect();
    let byte = |bits: &[u8]| bits.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0'));
    bits.as_bytes().chunks_exact(8).map(byte).collect()
}
