//! A developer's machine: a home of its own, auth-login, and the official AWS clients.

use crate::authd::{Authd, Setup};
use crate::browser::Visit;
use crate::process::{Spec, stdout};
use crate::provider::Provider;
use crate::sts::Sts;
use crate::{PATIENCE, binary, folder, rig};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;
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
        let mut machine = Self::headless(service);
        machine.browser = Some(visit.program(machine.home.path()));
        machine
    }

    /// Without a browser.
    pub fn headless(service: &Service) -> Self {
        Self { home: folder("home"), server: service.authd.url(), endpoint: service.sts.endpoint(), browser: None }
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
    fn env(&self) -> Vec<(String, String)> {
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
        let output = self.auth_login(&["login"]).run(PATIENCE);
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
        let text = format!("[{section}]\ncredential_process = {} credential-process\n", program.display());
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
        stdout(&self.aws(&args).run(PATIENCE)).trim().to_owned()
    }
}
