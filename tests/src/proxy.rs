//! The proxies of packaging/examples, running with those very files; only ports and the folders of files that name one
//! another are others.

use crate::http::Http;
use crate::process::{Process, Spec, free_port};
use crate::{TIMEOUT, folder, rig};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Caddy,
    Traefik,
    Haproxy,
    Envoy,
    /// Envoy that asks over gRPC.
    EnvoyGrpc,
}

impl Kind {
    /// Its program, and its folder in packaging/examples.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
            Self::Traefik => "traefik",
            Self::Haproxy => "haproxy",
            Self::Envoy | Self::EnvoyGrpc => "envoy",
        }
    }

    /// A file of its example.
    ///
    /// # Panics
    /// When it is not there.
    pub fn example(self, file: &str) -> String {
        let path = examples().join(self.name()).join(file);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    fn spec(self, dir: &Path) -> Spec {
        let program = rig::program(self.name()).dir(dir).env("HOME", dir);
        let file = |name: &str| dir.join(name);
        match self {
            Self::Nginx => nginx(dir, 512, &format!("include {};", file("app.conf").display())),
            Self::Caddy => program.args(["run", "--adapter", "caddyfile", "--config"]).arg(file("Caddyfile")),
            Self::Traefik => program.arg(format!("--configFile={}", file("traefik.yml").display())),
            Self::Haproxy => program.args(["-db", "-f"]).arg(file("haproxy.cfg")),
            Self::Envoy | Self::EnvoyGrpc => program
                .args(["--use-dynamic-base-id", "--concurrency", "1", "-l", "warning", "-c"])
                .arg(file(if self == Self::Envoy { "envoy.yaml" } else { "envoy-grpc.yaml" })),
        }
    }
}

/// nginx with this many connections and what its `http` block contains, around which stands what Debian's nginx.conf has
/// around conf.d, without the user and the places that belong to the machine.
///
/// # Panics
/// When the folder cannot be written.
pub fn nginx(dir: &Path, connections: u32, http: &str) -> Spec {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths = temporary.map(|name| format!("{name}_temp_path {name};")).join(" ");
    let text = format!(
        "daemon off; worker_processes 1; pid nginx.pid; error_log stderr;\n\
         worker_rlimit_nofile {};\nevents {{ worker_connections {connections}; }}\n\
         http {{ access_log off; {paths} {http} }}\n",
        connections + 1_000
    );
    let conf = dir.join("nginx.conf");
    fs::write(&conf, text).expect("the folder is ours");
    let program = rig::program("nginx").dir(dir).env("HOME", dir);
    program.arg("-p").arg(dir).arg("-c").arg(conf).args(["-e", "stderr"])
}

fn examples() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../packaging/examples")
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    process: Process,
    _dir: TempDir,
}

impl Proxy {
    /// Starts it between an authd and a service.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(kind: Kind, authd: u16, app: u16) -> Self {
        Self::start_with(kind, authd, app, &[])
    }

    /// The same with other text in place of some of the example's.
    ///
    /// # Panics
    /// When it does not come up, or a text is not there.
    pub fn start_with(kind: Kind, authd: u16, app: u16, edits: &[(&str, &str)]) -> Self {
        let (dir, port) = (folder(kind.name()), free_port());
        for entry in fs::read_dir(examples().join(kind.name())).expect("there is an example").flatten() {
            let text = fs::read_to_string(entry.path()).expect("an example is text");
            let home = format!("{}/", dir.path().display());
            let text = edits.iter().fold(text, |text, (from, to)| text.replace(from, to));
            let text = [
                ("127.0.0.1:8000", format!("127.0.0.1:{port}")),
                ("http://:8000", format!("http://:{port}")),
                ("127.0.0.1:8080", format!("127.0.0.1:{authd}")),
                ("127.0.0.1:3000", format!("127.0.0.1:{app}")),
                ("port_value: 8000", format!("port_value: {port}")),
                ("port_value: 8080", format!("port_value: {authd}")),
                ("port_value: 3000", format!("port_value: {app}")),
                ("/etc/traefik/", home.clone()),
                ("/etc/haproxy/", home),
            ]
            .iter()
            .fold(text, |text, (from, to)| text.replace(from, to));
            fs::write(dir.path().join(entry.file_name()), text).expect("the folder is ours");
        }
        let mut process = kind.spec(dir.path()).start(dir.path().join("log"));
        // It listens before it has read its routes (Traefik), and refuses a stranger once it has.
        process.wait(TIMEOUT, "refusal of a request without a credential", || {
            let answer = Http::tcp(port).get("/api/orders").ok()?;
            matches!(answer.status, 401 | 403).then_some(())
        });
        Self { port, process, _dir: dir }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn http(&self) -> Http {
        Http::tcp(self.port)
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
