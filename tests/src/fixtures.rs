//! Data as a release leaves it on the disk, for the releases after it to open: `tests/fixtures/NAME`.
//!
//! [`make`] drives the real programs from outside and writes down, beside what they stored, everything that a later
//! program must still answer for: secrets, keyed requests with their answers, logins on their way, and what the lists
//! said. It is called by the program `fixtures`, and by a test that compares what the present programs store with what
//! older ones have stored.

mod shape;
mod story;

pub use shape::shape;

use crate::authd::Setup;
use crate::login::{Machine, Service};
use crate::process::{Spec, stdout};
use crate::{TIMEOUT, binary, rig};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Who the provider says that everybody is who signs in there: its person alice.
const SUBJECT: &str = "11111111-aaaa-4aaa-8aaa-000000000001";
/// Where the daemon keeps its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// Every folder of `tests/fixtures`, one for each release that left data there.
///
/// # Panics
/// When there is none.
pub fn all() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let entries = fs::read_dir(&folder).expect("the fixtures are part of the source").flatten();
    let mut found: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    assert!(!found.is_empty(), "no fixtures in {}", folder.display());
    found
}

/// A file of JSON.
///
/// # Panics
/// When it cannot be read.
pub fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Copies a folder, for its owner alone: git keeps no modes.
///
/// # Panics
/// When it cannot be copied.
pub fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(to).expect("the target can be written");
    fs::set_permissions(to, PermissionsExt::from_mode(0o700)).expect("it is ours");
    for entry in fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display())).flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("it can be read and written");
            fs::set_permissions(&target, PermissionsExt::from_mode(0o600)).expect("it is ours");
        }
    }
}

/// Makes the fixtures of one engine in `dir`: the data folder with `manifest.json`. With `home`, the state of authctl
/// and auth-login too, in that folder. Answers how old the oldest of it is.
///
/// # Panics
/// When anything goes another way than it should.
pub fn make(engine: Engine, dir: &Path, home: Option<&Path>) -> Duration {
    let database = match engine {
        Engine::Sqlite => None,
        Engine::Postgres => Some(crate::postgres::database()),
    };
    let with_database = |setup: Setup| match &database {
        Some(url) => setup.database(url),
        None => setup,
    };
    let mut service = Service::with(|setup, _, _| with_database(setup));
    let begun = Instant::now();
    let machine = Machine::new(&service);
    let mut manifest = story::tell(&service, &machine);
    // What is written at the end (when a token was last used) is there for the lists.
    service.authd.process().stop(TIMEOUT);
    service.authd.start_again();
    manifest["lists"] = story::lists(&service.authd.admin());
    let ended = service.authd.process().stop(TIMEOUT);
    assert!(ended.success(), "{}", service.authd.log());
    manifest["made_at"] = now().into();
    let age = begun.elapsed();
    manifest["program"] = stdout(&Spec::new(binary("authd")).arg("--version").run(TIMEOUT)).trim().into();
    manifest["server"] = service.authd.url().into();
    manifest["role"] = json!({ "arn": service.sts.role("developer"), "external_id": service.sts.external_id });

    manifest["provider"] = json!({ "name": "cognito", "issuer": service.provider.issuer, "subject": SUBJECT });

    fs::create_dir_all(dir).expect("it can be written");
    let data = service.authd.dir().join("data");
    fs::copy(data.join("root.key"), dir.join("root.key")).expect("it can be copied");
    match database {
        None => {
            let log = fs::metadata(data.join("authd.db-wal")).map_or(0, |log| log.len());
            assert_eq!(log, 0, "an orderly end copies the log into the file");
            fs::copy(data.join("authd.db"), dir.join("authd.db")).expect("it can be copied");
        }
        Some(url) => fs::write(dir.join("authd.sql"), dump(&url)).expect("it can be written"),
    }
    save(&dir.join("manifest.json"), &manifest);
    if let Some(home) = home {
        keep_home(&service, &machine, &manifest, home);
    }
    age
}

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "when a fixture was made is a fact of the real world")]
fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn save(path: &Path, value: &Value) {
    let text = serde_json::to_string_pretty(value).expect("JSON can be written");
    fs::write(path, text + "\n").expect("it can be written");
}

/// A PostgreSQL database as SQL that can be run in any schema: without owners, psql's own commands, and the name of
/// the schema that it was in.
fn dump(url: &str) -> String {
    let spec = rig::program("pg_dump").args(["--inserts", "--no-owner", "--no-privileges", "--no-comments", "-d", url]);
    let mut sql = String::new();
    for line in stdout(&spec.run(TIMEOUT)).lines() {
        let is_setting = line.starts_with("SET ") || line.contains("set_config('search_path'");
        if is_setting || line.is_empty() || line.starts_with(['\\', '-']) {
            continue;
        }
        // in a row, only the table's name is a name
        sql += &if line.starts_with("INSERT ") { line.replacen("public.", "", 1) } else { line.replace("public.", "") };
        sql.push('\n');
    }
    sql
}

/// Keeps what authctl and auth-login have in a person's home.
fn keep_home(service: &Service, machine: &Machine, manifest: &Value, home: &Path) {
    for folder in [".local/state/authctl", ".local/state/auth-login", ".config/auth-login", ".aws"] {
        copy(&machine.home().join(folder), &home.join(folder));
    }
    // the tools' own caches and locks are not ours
    let _ = fs::remove_dir_all(home.join(".local/state/auth-login/locks"));
    let config = home.join(".aws/config");
    let written = fs::read_to_string(&config).expect("configure has written it");
    let program = binary("auth-login").display().to_string();
    assert!(written.contains(&program), "{written}");
    fs::write(&config, written.replace(&program, "/usr/bin/auth-login")).expect("it can be written");
    let kept = json!({
        "program": manifest["program"],
        "server": service.authd.url(),
        "authctl": { "user": "operator", "token": manifest["sessions"]["operator"] },
        "keyring": manifest["keyring"],
    });
    save(&home.join("manifest.json"), &kept);
}
