//! Outgoing requests by way of tinyproxy, as the variables of curl say.

use std::fs;
use tests::authd::{ADMIN_TOKEN, Setup};
use tests::process::{Process, Spec, both, free_port, stdout};
use tests::{TIMEOUT, binary, folder, rig, until};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A forward proxy that writes down what it is asked for.
struct Tinyproxy {
    port: u16,
    process: Process,
    _dir: TempDir,
}

impl Tinyproxy {
    fn start() -> Self {
        let (dir, port) = (folder("tinyproxy"), free_port());
        let conf = dir.path().join("tinyproxy.conf");
        let text = format!("Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nLogLevel Connect\nMaxClients 50\n");
        fs::write(&conf, text).expect("the folder is ours");
        let mut process = rig::program("tinyproxy").arg("-d").arg("-c").arg(conf).start(dir.path().join("log"));
        process.wait(TIMEOUT, "a proxy that listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Self { port, process, _dir: dir }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How many requests it has had that contain this.
    fn count(&self, what: &str) -> usize {
        self.process.log().lines().filter(|line| line.contains("Request") && line.contains(what)).count()
    }
}

/// A provider that speaks TLS, whose authority only a file names.
struct Provider {
    issuer: String,
    client: String,
    ca: String,
    _process: Process,
    _dir: TempDir,
}

impl Provider {
    fn start() -> Self {
        let dir = folder("idp");
        stdout(&rig::script("tls.sh").arg(dir.path()).run(TIMEOUT));
        let file = |name: &str| dir.path().join(name).display().to_string();
        let spec = rig::script("cognito-idp.mjs").envs([("ISS_PORT", "0"), ("DOM_PORT", "0")]);
        let spec = spec.env("TLS_CERT", file("srv.pem")).env("TLS_KEY", file("srv.key"));
        let mut process = spec.start(dir.path().join("log"));
        let said = process.ready_line(TIMEOUT);
        let text = |name: &str| said[name].as_str().expect("the ready line is complete").to_owned();
        let (issuer, client) = (text("issuer"), text("public_client"));
        Self { issuer, client, ca: file("ca.pem"), _process: process, _dir: dir }
    }

    /// authd with this provider, which it knows by discovery.
    fn setup(&self) -> Setup {
        let toml = format!(
            "[[provider]]\nname = \"corp\"\nissuer = \"{}\"\nclient_id = \"{}\"\n[[role]]\nname = \"dev\"\n\
             arn = \"arn:aws:iam::123456789012:role/dev\"\n",
            self.issuer, self.client
        );
        Setup::new().toml(&toml).env("SSL_CERT_FILE", &self.ca)
    }
}

fn start_login(setup: Setup) -> tests::http::Response {
    let authd = setup.start();
    let body = json!({"poll_challenge": "A".repeat(43)});
    authd.http().post("/auth/cli/start", &body).expect("authd answers")
}

#[test]
fn authd_reaches_a_provider_through_a_tunnel() {
    let (proxy, provider) = (Tinyproxy::start(), Provider::start());
    let authority = provider.issuer.trim_start_matches("https://").split('/').next().expect("a host").to_owned();
    let connect = format!("CONNECT {authority}");
    let started = start_login(provider.setup().env("HTTPS_PROXY", &proxy.url())).expect(200);
    assert!(started["auth_url"].as_str().is_some_and(|url| url.starts_with("https://127.0.0.1:")), "{started}");
    assert_eq!(proxy.count(&connect), 1, "this machine is no exception");
    let exempt = provider.setup().env("HTTPS_PROXY", &proxy.url()).env("NO_PROXY", "127.0.0.0/8");
    start_login(exempt).expect(200);
    assert_eq!(proxy.count(&connect), 1, "NO_PROXY is one");
    for (value, said) in [("http://127.0.0.1:9", "the proxy 127.0.0.1:9"), ("ftp://127.0.0.1:9", "HTTPS_PROXY")] {
        let authd = provider.setup().env("HTTPS_PROXY", value).start();
        let refused = authd.http().post("/auth/cli/start", &json!({"poll_challenge": "A".repeat(43)}));
        assert_eq!(refused.expect("authd answers").status, 503, "{value}");
        until(TIMEOUT, &format!("{said} in the log"), || authd.log().contains(said).then_some(()));
    }
}

#[test]
fn what_authctl_and_auth_login_send_to_this_machine_passes_no_proxy() {
    let (proxy, authd) = (Tinyproxy::start(), Setup::new().start());
    let home = authd.dir().join("home");
    let authctl = |variables: &[(&str, &str)]| {
        let spec = Spec::new(binary("authctl")).env("HOME", &home).env("ADMIN_TOKEN", ADMIN_TOKEN);
        let spec = spec.envs(variables.iter().copied()).args(["--server", &authd.url(), "status", "-o", "json"]);
        let output = spec.run(TIMEOUT);
        assert!(output.status.success(), "{variables:?}: {}", both(&output));
        let status: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
        assert_eq!(status["health"]["status"], "healthy");
    };
    let asked = format!("GET {}/status", authd.url());
    // What stays on this machine without --insecure is sent to no other one.
    authctl(&[("http_proxy", &proxy.url()), ("ALL_PROXY", &proxy.url())]);
    assert_eq!(proxy.count(&asked), 0, "{}", proxy.process.log());
    let spec = Spec::new(binary("auth-login")).env("HOME", &home).env("AUTH_LOGIN_SERVER", authd.url());
    let output = spec.env("ALL_PROXY", proxy.url()).args(["login", "--no-browser"]).run(TIMEOUT);
    assert!(!output.status.success(), "it has no provider");
    assert_eq!(proxy.count("/auth/cli/start"), 0, "{}", both(&output));
}
