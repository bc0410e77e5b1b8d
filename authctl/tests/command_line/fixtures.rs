//! Sessions that `authctl login` of earlier releases has kept (`tests/fixtures`).

#![expect(clippy::unwrap_used, reason = "support of tests: a panic is how it fails")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};
use shared::cli::Exit;
use tempfile::TempDir;

use crate::daemon::{Answer, Daemon};
use crate::program::Program;

/// Where every release's home is.
fn releases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let homes = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path().join("home"));
    let homes: Vec<_> = homes.filter(|home| home.is_dir()).collect();
    assert!(!homes.is_empty());
    homes
}

/// The home of a person who signed in with an earlier release.
struct Home {
    /// As that release wrote it down.
    manifest: Value,
    folder: TempDir,
}

impl Home {
    /// A copy, with this server in the place of the one that was signed in to.
    fn copy(from: &Path, server: &str) -> Self {
        let manifest: Value = serde_json::from_slice(&fs::read(from.join("manifest.json")).unwrap()).unwrap();
        let old = manifest["server"].as_str().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let state = from.join(".local/state/authctl");
        // named after the server
        let kept = fs::read_to_string(state.join(file_name(old))).unwrap();
        let copy = Self { manifest: manifest.clone(), folder };
        fs::create_dir_all(copy.state()).unwrap();
        fs::write(copy.state().join(file_name(server)), kept.replace(old, server)).unwrap();
        copy
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join(".local/state/authctl")
    }

    fn path(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }
}

/// The first 16 bytes of SHA-256, in hexadecimal digits.
fn file_name(server: &str) -> String {
    let hash = Sha256::digest(server);
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>() + ".json"
}

#[test]
fn a_session_of_an_earlier_release_is_used_and_ended() {
    for release in releases() {
        let daemon = Daemon::start_tcp([
            Answer::json(200, r#"{"caller":"user:operator(1)","permissions":["admin"]}"#),
            Answer::json(200, r#"{"status":"logged_out"}"#),
        ]);
        let home = Home::copy(&release, daemon.url());
        let bearer = format!("authorization: Bearer {}\r\n", home.manifest["authctl"]["token"].as_str().unwrap());
        let program = Program { env: &[("HOME", home.path())], ..Program::default() };
        let run = daemon.run(&program, &["whoami"]);
        assert_eq!(run.exit, Exit::Ok, "{}", run.err);
        assert!(run.out.contains("operator"), "{}", run.out);
        let request = daemon.request();
        assert!(request.starts_with("GET /auth/whoami ") && request.contains(&bearer), "{request}");

        let run = daemon.run(&program, &["logout"]);
        assert_eq!(run.exit, Exit::Ok, "{}", run.err);
        assert!(daemon.request().contains(&bearer));
        assert_eq!(fs::read_dir(home.state()).unwrap().count(), 0, "it is forgotten");
        assert_eq!(daemon.run(&program, &["logout"]).exit, Exit::NotAuthenticated);
    }
}
