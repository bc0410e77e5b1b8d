//! A developer's machine: a home of its own, auth-login, and the official AWS clients.

use crate::authd::{Authd, Setup};
use crate::browser::{Page, Visit};
use crate::http::{Http, Response};
use crate::process::{Spec, stdout};
use crate::provider::Provider;
use crate::sts::Sts;
use crate::{TIMEOUT, binary, folder, rig};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::mpsc;
use tempfile::TempDir;

/// authd with a provider and an STS behind it.
#[derive(Debug)]
pub struct Service {
    pub authd: Authd,
    pub provider: Provider,
    pub sts: Sts,
}

impl Service {
    /// The usual one: Cognito, AssumeRole, SQLite.
    ///
    /// # Panics
    /// When something does not come up.
    pub fn start() -> Self {
        Self::with(|setup, _, _| setup)
    }

    /// With changes to authd's settings.
    ///
    /// # Panics
    /// When something does not come up.
    pub fn with(change: impl FnOnce(Setup, &Provider, &Sts) -> Setup) -> Self {
        let setup = Setup::new();
        let provider = Provider::start(&[setup.callback()]);
        let sts = Sts::start();
        sts.trust(&provider);
        let authd = change(setup.cognito(&provider).sts(&sts), &provider, &sts).start();
        Self { authd, provider, sts }
    }

    /// The ports that auth-login and the AWS tools must reach.
    pub fn ports_of_tools(&self) -> Vec<u16> {
        vec![self.authd.port(), self.sts.port]
    }

    /// The ports that a person's browser must reach.
    pub fn ports(&self) -> Vec<u16> {
        vec![self.authd.port(), self.provider.ports[0], self.provider.ports[1]]
    }
}

/// A machine on which nobody has signed in yet.
#[derive(Debug)]
pub struct Machine {
    home: TempDir,
    server: String,
    endpoint: Vec<(String, String)>,
    browser: Option<PathBuf>,
}

impl Machine {
    /// With a browser in which alice signs in when it is opened.
    pub fn new(service: &Service) -> Self {
        Self::visiting(service, &Visit::new())
    }

    /// With a browser that does as the visit says.
    pub fn visiting(service: &Service, visit: &Visit) -> Self {
        Self::headless(service).browsing(visit)
    }

    /// Without a browser.
    pub fn headless(service: &Service) -> Self {
        Self::at(&service.authd, &service.sts)
    }

    /// The same for an authd without a provider.
    pub fn at(authd: &Authd, sts: &Sts) -> Self {
        Self { home: folder("home"), server: authd.url(), endpoint: sts.endpoint(), browser: None }
    }

    /// With a browser that does as the visit says.
    #[must_use]
    pub fn browsing(mut self, visit: &Visit) -> Self {
        self.browser = Some(visit.program(self.home.path()));
        self
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The URLs that auth-login has opened in the browser, in order.
    pub fn opened(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.home.path().join("opened")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// What the browser saw last.
    pub fn seen(&self) -> Value {
        let text = std::fs::read_to_string(self.home.path().join("seen.json")).unwrap_or_default();
        serde_json::from_str(text.trim()).unwrap_or_default()
    }

    /// The environment of every program on this machine.
    pub fn env(&self) -> Vec<(String, String)> {
        let mut env = self.endpoint.clone();
        env.push(("HOME".into(), self.home.path().display().to_string()));
        env.push(("AUTH_LOGIN_SERVER".into(), self.server.clone()));
        env.push(("LANG".into(), "C.UTF-8".into()));
        if let Some(browser) = &self.browser {
            env.push(("BROWSER".into(), browser.display().to_string()));
        }
        env
    }

    /// auth-login with these arguments, not yet started.
    pub fn auth_login(&self, args: &[&str]) -> Spec {
        Spec::new(binary("auth-login")).envs(self.env()).args(args)
    }

    /// Signs in.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn sign_in(&self) -> Output {
        let output = self.auth_login(&["login"]).run(TIMEOUT);
        assert!(output.status.success(), "{}\nbrowser: {:#}", crate::process::both(&output), self.seen());
        output
    }

    pub fn credentials_path(&self) -> PathBuf {
        self.home.path().join(".aws/credentials")
    }

    /// The credentials file as it is.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn credentials(&self) -> String {
        std::fs::read_to_string(self.credentials_path()).expect("auth-login has written ~/.aws/credentials")
    }

    /// Makes a profile of `~/.aws/config` whose credentials come from `auth-login credential-process`.
    ///
    /// # Panics
    /// When the home cannot be written.
    pub fn use_credential_process(&self, profile: &str) {
        let aws = self.home.path().join(".aws");
        std::fs::create_dir_all(&aws).expect("the home is ours");
        let section = if profile == "default" { "default".to_owned() } else { format!("profile {profile}") };
        let program = binary("auth-login");
        let text =
            format!("[{section}]\ncredential_process = {} credential-process --profile default\n", program.display());
        std::fs::write(aws.join("config"), text).expect("the home is ours");
    }

    /// The official command-line client.
    pub fn aws(&self, args: &[&str]) -> Spec {
        rig::program("aws").envs(self.env()).args(args)
    }

    /// A script with boto3 (tests/rig/aws-check.py).
    pub fn boto3(&self, args: &[&str]) -> Spec {
        rig::script("aws-check.py").envs(self.env()).args(args)
    }

    /// Who the AWS CLI is: the ARN of its caller identity.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn identity(&self, profile: &str) -> String {
        let args = ["--profile", profile, "sts", "get-caller-identity", "--output", "text", "--query", "Arn"];
        stdout(&self.aws(&args).run(TIMEOUT)).trim().to_owned()
    }
}

/// How the release reaches the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The browser is redirected to a port on its own 127.0.0.1.
    Loopback,
    /// The page shows it, and the person pastes it.
    Paste,
}

/// Someone's terminal that speaks the protocol itself, instead of auth-login: a test decides what it knows.
#[derive(Debug)]
pub struct Terminal {
    pub auth_url: String,
    pub state: String,
    pub secret: String,
    http: Http,
    loopback: Option<mpsc::Receiver<String>>,
}

impl Terminal {
    /// Starts a login.
    ///
    /// # Panics
    /// When authd refuses.
    pub fn start(authd: &Authd, mode: Mode) -> Self {
        let mut random = [0; 32];
        #[expect(clippy::disallowed_methods, reason = "a test's poll secret")]
        getrandom::fill(&mut random).expect("the kernel has randomness");
        let secret = URL_SAFE_NO_PAD.encode(random);
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&secret));
        let (port, loopback) = match mode {
            Mode::Paste => (None, None),
            Mode::Loopback => {
                let (port, arrived) = listen_for_release();
                (Some(port), Some(arrived))
            }
        };
        let mut body = json!({"device_name": "rig", "os": "linux", "cli_version": "0", "poll_challenge": challenge});
        if let Some(port) = port {
            body["loopback_port"] = port.into();
        }
        let http = authd.http();
        let said = http.post("/auth/cli/start", &body).expect("authd answers").expect(200);
        let text = |name: &str| said[name].as_str().expect("the answer is complete").to_owned();
        Self { auth_url: text("auth_url"), state: text("state"), secret, http, loopback }
    }

    /// The release that the browser has brought to this terminal's port, if any has come.
    pub fn release_on_loopback(&self) -> Option<String> {
        self.loopback.as_ref()?.try_recv().ok()
    }

    /// The release of a person who signed in at `page`, by whatever way the mode has.
    ///
    /// # Panics
    /// When there is none.
    pub fn release(&self, page: &Page) -> String {
        match &self.loopback {
            Some(arrived) => arrived.recv_timeout(TIMEOUT).expect("the browser brings the release"),
            None => shown_release(page).unwrap_or_else(|| panic!("no release on the page: {}", page.text)),
        }
    }

    /// Asks how far the login is, as someone who knows this much.
    ///
    /// # Panics
    /// When authd does not answer.
    pub fn poll(&self, secret: Option<&str>, release: Option<&str>) -> Response {
        ask_status(&self.http, &self.state, secret, release)
    }
}

/// Asks how far a login is.
///
/// # Panics
/// When authd does not answer.
pub fn ask_status(http: &Http, state: &str, secret: Option<&str>, release: Option<&str>) -> Response {
    let mut http = http.clone();
    if let Some(secret) = secret {
        http = http.bearer(secret);
    }
    if let Some(release) = release {
        http = http.with("x-login-release", release);
    }
    http.get(&format!("/auth/cli/status?state={state}")).expect("authd answers")
}

/// The value that a page of the paste mode shows.
pub fn shown_release(page: &Page) -> Option<String> {
    let (_, rest) = page.html.split_once("id=\"release\"")?;
    let (_, rest) = rest.split_once('>')?;
    let (value, _) = rest.split_once('<')?;
    Some(value.trim().to_owned())
}

/// A listener on this machine's loopback that answers every browser and passes on the release that it was brought.
fn listen_for_release() -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let (arrived, releases) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let arrived = arrived.clone();
            // Each by itself: a browser opens connections that it may never use.
            std::thread::spawn(move || {
                let mut line = String::new();
                let _ = BufReader::new(&stream).read_line(&mut line);
                let value = line.split(['?', '&', ' ']).find_map(|p| p.strip_prefix("release="));
                let _ = (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
                // A test that has ended waits for none.
                let _ = value.map(|value| arrived.send(value.to_owned()));
            });
        }
    });
    (port, releases)
}
