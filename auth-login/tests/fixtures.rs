//! Sign-ins that auth-login of earlier releases has kept (`tests/fixtures`): the real program, at a server that answers
//! what a test tells it to.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod authd;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use authd::{DEADLINE, answer_request, authorized, read_request};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// What a person had in the file before they signed in.
const THEIRS: &str = "# mine\n[other]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = secret # not a comment\n";

/// Answers each request with the next of its answers, and tells what it was asked: the path and the body.
struct Server {
    url: String,
    requests: Receiver<(String, Value)>,
}

impl Server {
    fn start(answers: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = channel();
        thread::spawn(move || {
            for answer in answers {
                let mut stream = listener.accept().unwrap().0;
                sender.send(read_request(&mut stream)).unwrap();
                answer_request(&mut stream, &answer);
            }
        });
        Self { url, requests }
    }

    fn request(&self) -> (String, Value) {
        self.requests.recv_timeout(DEADLINE).expect("a request")
    }
}

/// The home of a person who signed in with an earlier release.
struct Home {
    folder: TempDir,
}

/// Where every release's home is.
fn releases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let homes = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path().join("home"));
    let homes: Vec<_> = homes.filter(|home| home.is_dir()).collect();
    assert!(!homes.is_empty());
    homes
}

impl Home {
    /// A copy, with this server in the place of the one that was signed in to. Files are named after the server.
    fn copy(from: &Path, server: &str) -> Self {
        let manifest: Value = serde_json::from_slice(&fs::read(from.join("manifest.json")).unwrap()).unwrap();
        let old = manifest["server"].as_str().unwrap();
        let home = Self { folder: tempfile::tempdir().unwrap() };
        for path in [".aws/config", ".aws/credentials", ".config/auth-login/config.toml"] {
            home.write(path, &fs::read_to_string(from.join(path)).unwrap().replace(old, server));
        }
        let state = ".local/state/auth-login";
        for entry in fs::read_dir(from.join(state).join("sessions")).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            let profile = serde_json::from_str::<Value>(&text).unwrap()["profile"].as_str().unwrap().to_owned();
            let [before, after] = [old, server].map(|server| fingerprint(&format!("{server}\n{profile}")));
            home.write(&format!("{state}/sessions/{after}.json"), &text.replace(old, server));
            let keys = format!("{}.json", fingerprint("")); // of the default role
            let text = fs::read_to_string(from.join(state).join(format!("credentials/{before}-{keys}"))).unwrap();
            home.write(&format!("{state}/credentials/{after}-{keys}"), &text);
        }
        home
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    }

    fn credentials(&self) -> String {
        fs::read_to_string(self.folder.path().join(".aws/credentials")).unwrap()
    }

    /// The session of a profile, as it is on the disk.
    fn session(&self, server: &str, profile: &str) -> Value {
        let name = fingerprint(&format!("{server}\n{profile}"));
        let path = self.folder.path().join(format!(".local/state/auth-login/sessions/{name}.json"));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    /// Runs the program in an environment that names no server.
    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_auth-login"));
        command.env_clear().env("HOME", self.folder.path()).args(args).output().unwrap()
    }

    #[track_caller]
    fn stdout(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The first 16 bytes of SHA-256, in hexadecimal digits.
fn fingerprint(text: &str) -> String {
    Sha256::digest(text).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// What it says asks nobody, so the server stays the old one.
#[test]
fn the_status_of_every_profile_is_understood() {
    for release in releases() {
        let manifest: Value = serde_json::from_slice(&fs::read(release.join("manifest.json")).unwrap()).unwrap();
        let server = manifest["server"].as_str().unwrap();
        let home = Home::copy(&release, server);
        let file = home.folder.path().join(".aws/credentials").display().to_string();
        for (profile, store, told) in [
            // it is ours: of somebody else's it would go on to say what is in the way
            ("default", "file", format!("[default] in {file}")),
            ("process", "file", "the config file asks auth-login credential-process".to_owned()),
            ("ring", "keyring", format!("[ring] in {file}")),
        ] {
            let text = home.stdout(&["status", "--profile", profile]);
            assert!(text.lines().any(|line| line.trim_start_matches("file").trim() == told), "{profile}: {text}");
            let status: Value =
                serde_json::from_str(&home.stdout(&["status", "--profile", profile, "-o", "json"])).unwrap();
            for (field, value) in [
                ("server", json!(server)),
                ("profile", json!(profile)),
                ("user", json!("alice@example.test")),
                ("role", json!("default")),
                ("role_arn", json!("arn:aws:iam::123456789012:role/developer")),
                ("roles", json!(["default"])),
                ("token_store", json!(store)),
                ("warnings", json!([])),
            ] {
                assert_eq!(status[field], value, "{profile}: {field}");
            }
            let session = home.session(server, profile);
            for (field, kept) in [("signed_in_at", "signed_in_at"), ("session_expires_at", "session_expires_at")] {
                let time: jiff::Timestamp = status[field].as_str().unwrap().parse().unwrap();
                assert_eq!(time.as_second(), session[kept].as_i64().unwrap(), "{field}");
            }
            assert!(status["keys_expire_at"].is_string(), "{status}");
        }
    }
}

#[test]
fn the_kept_token_goes_to_its_server_and_the_files_stay_as_they_were_meant() {
    for release in releases() {
        let done = json!({ "status": "logged_out" });
        let server = Server::start(vec![authorized("adr_second"), authorized("adr_third"), done]);
        let home = Home::copy(&release, &server.url);
        let token = home.session(&server.url, "default")["token"].clone();
        assert!(token.as_str().unwrap().starts_with("adr_"));
        let before = home.credentials();
        // everything that is not this profile's
        let (others, own) = before.split_once("[default]\n").unwrap();
        assert!(others.starts_with(THEIRS) && others.contains("[ring]"), "{before}");
        let old_key = own.lines().find(|line| line.starts_with("aws_access_key_id")).unwrap();

        home.stdout(&["renew"]);
        assert_eq!(server.request(), ("/auth/cli/renew".to_owned(), json!({ "refresh_token": token })));
        let renewed = home.credentials();
        assert!(renewed.starts_with(others) && !renewed.contains(old_key), "{renewed}");
        assert!(renewed.contains("\naws_secret_access_key = new secret\n"), "{renewed}");

        home.stdout(&["renew"]);
        assert_eq!(server.request().1, json!({ "refresh_token": "adr_second" }));
        home.stdout(&["logout"]);
        assert_eq!(server.request(), ("/auth/cli/logout".to_owned(), json!({ "refresh_token": "adr_third" })));
        let ended = home.credentials();
        assert!(ended.starts_with(others.trim_end()) && !ended.contains("ASIANEW"), "{ended}");
        assert_eq!(home.run(&["status"]).status.code(), Some(3), "nobody is signed in any more");
    }
}

/// Through `credential_process`, as the AWS tools run it: with the words that stand in their config file.
#[test]
fn the_command_in_the_config_file_still_works() {
    for release in releases() {
        let server = Server::start(vec![authorized("adr_second")]);
        let home = Home::copy(&release, &server.url);
        let config = fs::read_to_string(home.folder.path().join(".aws/config")).unwrap();
        let command = config.lines().find_map(|line| line.strip_prefix("credential_process = ")).unwrap();
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        let token = home.session(&server.url, "process")["token"].clone();
        // fresh keys would be handed out from the cache for the first hour
        home.stdout(&["renew", "--profile", "process"]);
        assert_eq!(server.request().1, json!({ "refresh_token": token }));
        let keys: Value = serde_json::from_str(&home.stdout(&words)).unwrap();
        assert_eq!((&keys["AccessKeyId"], &keys["SessionToken"]), (&json!("ASIANEW"), &json!("new token")));
        assert!(!home.credentials().contains("[process]"), "no keys of it in the file");
    }
}
