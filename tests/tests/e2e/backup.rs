//! `authctl backup` of a busy daemon, and `authd restore`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tests::authd::{Authd, Setup};
use tests::process::{both, stdout};
use tests::{folder, rig};

const CHECK: &str = "import sqlite3, sys\n\
    db = sqlite3.connect(sys.argv[1])\n\
    print(db.execute('PRAGMA integrity_check').fetchone()[0], db.execute('SELECT COUNT(*) FROM tokens').fetchone()[0])";

/// What another reader of SQLite says about a backup: whether it is whole, and its tokens.
fn examine(path: &Path) -> (String, usize) {
    let said = stdout(&rig::program("python").args(["-c", CHECK]).arg(path).run(tests::TIMEOUT));
    let (check, count) = said.trim().split_once(' ').expect("two words");
    (check.to_owned(), count.parse().expect("a number"))
}

#[track_caller]
fn stdout_bytes(output: &Output) -> Vec<u8> {
    assert!(output.status.success(), "{}", both(output));
    output.stdout.clone()
}

#[track_caller]
fn refused(authd: &Authd, args: &[&str], said: &str) {
    let output = authd.run(args);
    assert!(!output.status.success() && both(&output).contains(said), "{args:?}: {}", both(&output));
}

#[test]
fn a_backup_under_load_is_whole_and_comes_back() {
    let dir = folder("backup");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (file, piped, garbage) = (path("authd.db"), path("piped.db"), path("garbage.db"));
    let mut authd = Setup::new().start();
    let before: Vec<_> = (0..50).map(|number| authd.mint(&format!("before{number}"), &["read"]).0).collect();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                authd.mint(&format!("meanwhile{number}"), &["read"]);
            }
        });
        let outputs = [&file, "-"].map(|name| authd.authctl(&["backup", name]));
        // Before anything of this thread can fail.
        is_over.store(true, Ordering::Relaxed);
        let [_, bytes] = outputs.map(|output| stdout_bytes(&output));
        fs::write(&piped, bytes).expect("the folder is ours");
    });
    assert_eq!(fs::metadata(&file).expect("it was written").permissions().mode() & 0o777, 0o600);
    for name in [&file, &piped] {
        let (check, tokens) = examine(Path::new(name));
        assert!(check == "ok" && tokens >= before.len(), "{name}: {check}, {tokens} tokens");
    }
    let (after, _) = authd.mint("after", &["read"]);
    let again = authd.authctl(&["backup", &file]);
    assert!(again.status.code() == Some(2) && both(&again).contains("overwrites nothing"), "{}", both(&again));
    let data = fs::read_dir(authd.database().parent().expect("a folder")).expect("it is there").flatten();
    let left: Vec<_> = data.filter(|entry| entry.file_name().to_string_lossy().starts_with("backup-")).collect();
    assert!(left.is_empty(), "{left:?}");
    let files = fs::read_dir(dir.path()).expect("it is ours").count();
    assert_eq!(files, 2, "nothing incomplete is left");
    let (reader, _) = authd.mint("reader", &["authd:system.read", "authd:audit.read"]);
    assert_eq!(authd.http().bearer(&reader).post("/backups", &json!({})).expect("authd answers").status, 403);

    refused(&authd, &["restore", "--replace", &file], "another authd is running");
    authd.kill();
    fs::write(&garbage, "SQLite format 3\0 and no more").expect("the folder is ours");
    refused(&authd, &["restore", &file], "has data already");
    refused(&authd, &["restore", "--replace", &garbage], "not a backup that can be restored");
    refused(&authd, &["restore", "--replace", &path("missing.db")], "missing.db");
    authd.start_again();
    assert_eq!(authd.validate(&after, &["read"])["valid"], true, "what was refused has changed nothing");
    authd.kill();
    stdout(&authd.run(&["restore", "--replace", &file]));
    authd.start_again();
    for token in before.iter().step_by(10) {
        assert_eq!(authd.validate(token, &["read"])["valid"], true);
    }
    assert_eq!(authd.validate(&after, &["read"])["valid"], false, "it is younger than the backup");
}

#[test]
fn a_backup_that_another_root_key_has_sealed_is_refused() {
    let dir = folder("backup");
    let file = dir.path().join("authd.db").display().to_string();
    let authd = Setup::new().start();
    stdout(&authd.authctl(&["backup", &file]));
    let other = Setup::new().env("AUTHD_ROOT_KEY", &"5a".repeat(32));
    let output = other.run(&["restore", &file]);
    assert!(!output.status.success() && both(&output).contains("root key"), "{}", both(&output));
    let folder = other.env_value("AUTHD_DATA_DIR");
    let left: Vec<_> = fs::read_dir(folder).expect("it is there").flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| name == "authd.lock"), "{left:?}");
}
