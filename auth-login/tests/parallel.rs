//! Many of the real program at once: none takes away what another one has written.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod authd;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use authd::{answer_request, authorized, read_request};
use serde_json::json;

/// How many run at once.
const PROFILES: usize = 28;

/// An authd that lets everybody in at once; its address.
fn welcoming() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let page = format!("{url}/sign-in");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, page) = (stream.unwrap(), page.clone());
            thread::spawn(move || {
                let (path, _) = read_request(&mut stream);
                let started = json!({ "auth_url": page, "state": "state", "expires_in": 60, "interval": 1 });
                let answer = if path.starts_with("/auth/cli/start") { started } else { authorized("adr_first") };
                answer_request(&mut stream, &answer);
            });
        }
    });
    url
}

fn start(home: &Path, server: &str, profile: &str, command: &str) -> Child {
    let mut program = Command::new(env!("CARGO_BIN_EXE_auth-login"));
    program.env_clear().envs([("HOME", home.to_str().unwrap()), ("BROWSER", "true"), ("PATH", "/usr/bin:/bin")]);
    program.args([command, "--server", server, "--profile", profile]);
    program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn parallel_runs_for_many_profiles_lose_nothing() {
    let home = tempfile::tempdir().unwrap();
    let server = welcoming();
    let names: Vec<String> = (0..PROFILES).map(|number| format!("team-{number}")).collect();
    for command in ["login", "configure"] {
        let running: Vec<Child> = names.iter().map(|name| start(home.path(), &server, name, command)).collect();
        for process in running {
            let output = process.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}");
            assert!(!String::from_utf8_lossy(&output.stderr).contains("warning"), "{output:?}");
        }
        let text = |path: &str| fs::read_to_string(home.path().join(path)).unwrap_or_default();
        let (file, start) = if command == "login" { ("credentials", "[") } else { ("config", "[profile ") };
        let (aws, settings) = (text(&format!(".aws/{file}")), text(".config/auth-login/config.toml"));
        for name in &names {
            assert!(aws.contains(&format!("{start}{name}]\n")), "{name}: {aws}");
            assert!(settings.contains(&format!("[profiles.{name}]\n")), "{name}: {settings}");
        }
        for folder in ["sessions", "credentials"] {
            let path = home.path().join(".local/state/auth-login").join(folder);
            assert_eq!(fs::read_dir(path).unwrap().count(), PROFILES, "{folder}");
        }
    }
}
