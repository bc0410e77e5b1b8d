//! A database that is not the one, or not whole: the start refuses it and says what to do; damage found later is told.

use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use tests::authd::{Authd, Setup};
use tests::process::{Spec, both};
use tests::{TIMEOUT, until};

/// The start is refused, for this reason.
#[track_caller]
fn refused(output: &Output, reason: &str) {
    let said = both(output);
    assert!(!output.status.success() && said.contains(reason), "{said}");
}

fn stop(authd: &mut Authd) {
    assert!(authd.process().stop(TIMEOUT).success(), "{}", authd.log());
}

fn lose_and_begin_anew(mut authd: Authd, lose: impl Fn(&Path)) {
    let (token, _) = authd.mint("kept", &["read"]);
    stop(&mut authd);
    let database = authd.database();
    lose(&database);
    let before = fs::metadata(&database).map(|file| file.len()).ok();
    let output = authd.run(&[]);
    refused(&output, "missing or empty");
    assert!(both(&output).contains("--new-database"), "{}", both(&output));
    assert_eq!(fs::metadata(&database).map(|file| file.len()).ok(), before, "nothing was created");
    authd.start_again_once(&["--new-database"]);
    assert_eq!(authd.validate(&token, &["read"])["valid"], false);
    authd.mint("new", &["read"]);
    authd.start_again();
}

#[test]
fn a_lost_database_is_not_begun_anew_unless_the_operator_says_so() {
    lose_and_begin_anew(Authd::start(), |database| fs::remove_file(database).expect("it is ours"));
    lose_and_begin_anew(Authd::start(), |database| fs::write(database, "").expect("it is ours"));
    let key = "0123456789abcdef".repeat(4);
    let configured = Setup::new().env("AUTHD_ROOT_KEY", &key).start();
    lose_and_begin_anew(configured, |database| fs::remove_file(database).expect("it is ours"));
}

#[test]
fn a_root_key_that_sealed_another_database_begins_none() {
    let mut first = Authd::start();
    stop(&mut first);
    let setup = Setup::new();
    let data = setup.env_value("AUTHD_DATA_DIR");
    fs::create_dir_all(&data).expect("it is ours");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).expect("it is ours");
    let kept = first.database().with_file_name("root.key");
    let copied = Spec::new("install").args(["-m", "600"]).arg(kept).arg(&data).run(TIMEOUT);
    assert!(copied.status.success(), "{}", both(&copied));
    refused(&setup.run(&[]), "root.key has sealed the keys of a database");
    // Nor at another address.
    let elsewhere = setup.env("DATABASE_URL", "sqlite:elsewhere.db");
    refused(&elsewhere.run(&[]), "elsewhere.db is missing or empty");
}

#[test]
fn a_postgres_database_that_was_emptied_is_refused() {
    let postgres = tests::postgres::Postgres::start();
    let url = postgres.database();
    let mut authd = Setup::new().database(&url).start();
    authd.mint("kept", &["read"]);
    stop(&mut authd);
    let sql = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
    let emptied = tests::rig::program("psql").args(["-v", "ON_ERROR_STOP=1", "-d", &url, "-c", sql]).run(TIMEOUT);
    assert!(emptied.status.success(), "{}", both(&emptied));
    refused(&authd.run(&[]), "missing or empty");
    authd.start_again_once(&["--new-database"]);
    authd.start_again();
}

#[test]
fn a_backup_beside_the_log_of_a_later_state_is_refused() {
    let mut authd = Authd::start();
    authd.mint("before", &["read"]);
    stop(&mut authd);
    let (database, backup) = (authd.database(), authd.dir().join("backup.db"));
    fs::copy(&database, &backup).expect("it is ours");
    authd.start_again();
    authd.mint("between", &["read"]);
    stop(&mut authd);
    authd.start_again();
    let (revoked, id) = authd.mint("after", &["read"]);
    authd.admin().post(&format!("/auth/tokens/{id}/revoke"), &json!({})).expect("it answers").expect(200);
    authd.kill();
    let good = fs::read(&database).expect("it is ours");
    fs::copy(&backup, &database).expect("it is ours");
    refused(&authd.run(&[]), "is not the file that its log belongs to");
    // Nothing was changed: with its own file the log is still good.
    fs::write(&database, good).expect("it is ours");
    authd.start_again();
    assert_eq!(authd.validate(&revoked, &["read"])["error"], "token_revoked");
}

#[test]
fn a_damaged_file_is_refused_with_what_to_do() {
    let mut authd = Authd::start();
    for n in 0..40 {
        authd.mint(&format!("t-{n}"), &["read"]);
    }
    stop(&mut authd);
    let database = authd.database();
    let mut bytes = fs::read(&database).expect("it is ours");
    let page = bytes.len() / 4096 / 2;
    bytes[page * 4096..(page + 1) * 4096].fill(0x5a);
    fs::write(&database, bytes).expect("it is ours");
    let output = authd.run(&[]);
    refused(&output, "is damaged");
    assert!(both(&output).contains("restore the backup"), "{}", both(&output));
}

#[test]
fn health_tells_of_damage_that_is_met_later() {
    let mut authd = Authd::start();
    let (token, _) = authd.mint("kept", &["read"]);
    // With everything in the file: a page that is in the log too would be copied over its damage.
    stop(&mut authd);
    authd.start_again();
    let file = authd.database();
    let count = (fs::metadata(&file).expect("it is there").len() / 4096 - 1).to_string();
    let script = "dd if=/dev/urandom of=$0 bs=4096 seek=1 count=$1 conv=notrunc";
    let damaged = Spec::new("sh").args(["-c", script]).arg(&file).arg(&count).run(TIMEOUT);
    assert!(damaged.status.success(), "{}", both(&damaged));
    until(TIMEOUT, "an unhealthy database", || {
        let _ = authd.admin().get("/auth/tokens").ok()?;
        let health = authd.http().get("/health").ok()?;
        (health.status == 503 && health.json()["components"]["database"] == "unhealthy").then_some(())
    });
    assert!(authd.log().contains("the database is damaged"), "{}", authd.log());
    let answer = authd.http().post("/auth/validate", &json!({"token": token})).expect("it answers");
    let is_true = answer.status == 503 || answer.json()["valid"] == true;
    assert!(is_true, "damage is no answer about a token: {}", answer.text());
}

#[test]
fn what_belongs_to_a_database_elsewhere_is_private_and_locked_once() {
    let setup = Setup::new();
    let home = Path::new(&setup.env_value("AUTHD_DATA_DIR")).with_file_name("far");
    let folder = home.join("away");
    fs::create_dir(&home).expect("it is ours");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let url = format!("sqlite:{}", folder.join("authd.db").display());
    let mut authd = setup.behind(&["sh", "-c", "umask 022; exec \"$0\" \"$@\""]).database(&url).start();
    authd.mint("first", &["read"]);
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = fs::read_dir(&folder).expect("it is there").flatten().map(|entry| entry.path()).collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    // By another path to the same file.
    let link = home.join("link.db");
    std::os::unix::fs::symlink(folder.join("authd.db"), &link).expect("it is ours");
    let second = Setup::new().database(&format!("sqlite:{}", link.display()));
    refused(&second.run(&[]), "another authd is running");
    // What an earlier release has left open to others is closed.
    authd.kill();
    let lock = folder.join("authd.lock");
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o644)).expect("it is ours");
    authd.start_again();
    assert_eq!(mode(&lock), 0o600);
}
