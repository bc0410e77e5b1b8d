//! authd is not alone with its database file: whoever else opens it, as a backup does, must find SQLite's locks in
//! place. Without them the neighbour takes itself for the last connection and removes the log under the daemon, and
//! what is acknowledged afterwards is gone at the next start.

use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tests::authd::{Authd, Setup, random_token};
use tests::neighbour::Neighbour;
use tests::{TIMEOUT, folder, locks, until};

/// Asserts that the kernel knows SQLite's locks of this daemon, whatever happens after its start, and that the log is
/// still the one that a restart will read.
#[track_caller]
fn keeps_its_locks(authd: &mut Authd, database: &Path) {
    let check = |authd: &Authd, when: &str| {
        if let Some(why) = locks::missing(authd.pid(), database) {
            panic!("{when}: {why}");
        }
    };
    check(authd, "after the start");
    let (token, id) = authd.mint("guarded", &["read"]);
    assert_eq!(authd.validate(&token, &["read"])["valid"], true);
    let list = authd.admin().get("/auth/tokens?include_revoked=true").expect("it answers").expect(200);
    assert!(list["total"].as_u64() >= Some(1), "{list}");
    check(authd, "after some traffic");

    // without anything to do, the writer copies the log into the file after two seconds
    let written = || std::fs::metadata(database).and_then(|m| m.modified()).expect("the file is there");
    let before = written();
    until(TIMEOUT, "the log copied into the file", || (written() > before).then_some(()));
    check(authd, "after the idle checkpoint");

    let mut neighbour = Neighbour::start();
    neighbour.select(database);
    check(authd, "after a select by another process");
    neighbour.backup(database);
    check(authd, "after a backup by another process");
    neighbour.hold(database);
    check(authd, "while another process reads");
    neighbour.release();
    check(authd, "after another process has read");

    let (later, _) = authd.mint("after the neighbour", &["read"]);
    authd.admin().post(&format!("/auth/tokens/{id}/revoke"), &json!({})).expect("it answers").expect(200);
    authd.start_again();
    assert_eq!(authd.validate(&later, &["read"])["valid"], true, "minted and acknowledged before kill -9");
    assert_eq!(authd.validate(&token, &[])["error"], "token_revoked", "revoked and acknowledged before kill -9");
    check(authd, "after the next start");
}

#[test]
fn sqlites_locks_hold_in_a_fresh_folder() {
    let mut authd = Authd::start();
    let database = authd.database();
    keeps_its_locks(&mut authd, &database);
}

#[test]
fn sqlites_locks_hold_after_a_clean_stop() {
    let mut authd = Authd::start();
    authd.mint("before", &["read"]);
    assert!(authd.process().stop(TIMEOUT).success());
    authd.start_again();
    let database = authd.database();
    keeps_its_locks(&mut authd, &database);
}

#[test]
fn sqlites_locks_hold_after_kill_9_with_a_hot_log() {
    let mut authd = Authd::start();
    authd.mint("before", &["read"]);
    authd.kill();
    let database = authd.database();
    let log = std::fs::metadata(format!("{}-wal", database.display())).expect("the log is left");
    assert!(log.len() > 0);
    authd.start_again();
    keeps_its_locks(&mut authd, &database);
}

#[test]
fn sqlites_locks_hold_in_a_folder_behind_a_symlink() {
    let elsewhere = folder("elsewhere");
    let real = elsewhere.path().join("real");
    std::fs::create_dir(&real).expect("the folder is ours");
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o700)).expect("the folder is ours");
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(&real, &link).expect("the folder is ours");
    let mut authd = Setup::new().data(&link).start();
    keeps_its_locks(&mut authd, &link.join("authd.db"));
    assert!(real.join("authd.db").is_file());
}

#[test]
fn sqlites_locks_hold_when_the_database_is_elsewhere() {
    let elsewhere = folder("elsewhere");
    let database = elsewhere.path().join("file.db");
    let mut authd = Setup::new().database(&format!("sqlite:{}", database.display())).start();
    keeps_its_locks(&mut authd, &database);
}

#[test]
fn sqlites_locks_hold_on_a_restored_backup() {
    let mut authd = Authd::start();
    let (token, _) = authd.mint("in the backup", &["read"]);
    let database = authd.database();
    let mut neighbour = Neighbour::start();
    let copy = neighbour.backup(&database);
    assert!(authd.process().stop(TIMEOUT).success());
    for gone in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{gone}", database.display()));
    }
    std::fs::copy(copy, &database).expect("the folder is ours");
    authd.start_again();
    assert_eq!(authd.validate(&token, &["read"])["valid"], true, "the backup has it");
    keeps_its_locks(&mut authd, &database);
}

#[test]
fn sqlites_locks_hold_when_the_schema_was_older() {
    let old = folder("old");
    let database = old.path().join("authd.db");
    write_schema(&database, &["0001_start", "0002_audit_append_only.sqlite", "0003_replaced_secrets"]);
    let mut authd = Setup::new().database(&format!("sqlite:{}", database.display())).start();
    keeps_its_locks(&mut authd, &database);
}

/// A database with the first migrations only, as an old release has left it.
fn write_schema(database: &Path, names: &[&str]) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../authd/src/db/migrations");
    let sqlite = rusqlite::Connection::open(database).expect("the folder is ours");
    let remember = "CREATE TABLE migrations (
        number BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL, applied_at BIGINT NOT NULL)";
    sqlite.execute_batch(remember).expect("a new table");
    for (number, name) in (1..).zip(names) {
        let source = std::fs::read_to_string(folder.join(format!("{name}.sql"))).expect("a released migration");
        let sql = source
            .replace("{bytes}", "BLOB")
            .replace("{serial}", "INTEGER PRIMARY KEY AUTOINCREMENT")
            .replace("{without_rowid}", "WITHOUT ROWID");
        sqlite.execute_batch(&sql).unwrap_or_else(|e| panic!("{name}: {e}"));
        let hash = Sha256::digest(&source).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let short = name[5..].trim_end_matches(".sqlite");
        sqlite
            .execute("INSERT INTO migrations VALUES (?1, ?2, ?3, 0)", (number, short, hash))
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

/// Rounds of the loop below.
const ROUNDS: usize = 200;

/// What an operator does from outside beside what clients do, and then kill -9: nothing that was acknowledged may be
/// lost, in whatever order it was done.
#[test]
fn nothing_acknowledged_is_lost_beside_selects_and_backups() {
    let mut authd = Authd::start();
    let database = authd.database();
    let mut neighbour = Neighbour::start();
    let mut revoked = Vec::new();
    let mut victim = authd.mint("victim", &["read"]);
    let mut tokens = 1;
    for round in 0..ROUNDS {
        let mut minted = None;
        let mut acts = ["select", "backup", "mint", "revoke", "checkpoint"];
        permute(&mut acts, round);
        for act in acts {
            match act {
                "select" => assert_eq!(neighbour.select(&database), tokens, "round {round}, {acts:?}"),
                "backup" => drop(neighbour.backup(&database)),
                "checkpoint" => neighbour.checkpoint(&database),
                "mint" => {
                    minted = Some(authd.mint(&format!("round-{round}"), &["read"]));
                    tokens += 1;
                }
                _ => {
                    let path = format!("/auth/tokens/{}/revoke", victim.1);
                    authd.admin().post(&path, &json!({})).expect("it answers").expect(200);
                }
            }
        }
        // Now and then the neighbour still reads when the daemon ends, or is the first to see what it left.
        match round % 3 {
            1 => neighbour.hold(&database),
            2 => {
                authd.kill();
                assert_eq!(neighbour.select(&database), tokens, "round {round}, {acts:?}");
            }
            _ => {}
        }
        authd.start_again();
        if round % 3 == 1 {
            neighbour.release();
        }
        let minted = minted.expect("minted in this round");
        assert_eq!(authd.validate(&minted.0, &["read"])["valid"], true, "round {round}, {acts:?}: the mint is lost");
        let after = authd.validate(&victim.0, &[]);
        assert_eq!(after["error"], "token_revoked", "round {round}, {acts:?}: the revoke is lost: {after}");
        // what was minted in this round is revoked in the next
        revoked.push(std::mem::replace(&mut victim, minted).0);
    }
    for token in &revoked {
        assert_eq!(authd.validate(token, &[])["error"], "token_revoked");
    }
    assert_eq!(authd.validate(&victim.0, &["read"])["valid"], true);
    let list = authd.admin().get("/auth/tokens?include_revoked=true").expect("it answers").expect(200);
    assert_eq!(list["total"].as_u64(), Some(tokens), "nothing more, nothing less");
}

/// Somebody who reads the database for long keeps the log from being begun anew, and nothing else.
#[test]
fn a_long_read_by_another_process_disturbs_nothing() {
    let authd = Authd::start();
    let database = authd.database();
    let (token, _) = authd.mint("before", &["read"]);
    let mut neighbour = Neighbour::start();
    neighbour.hold(&database);
    let mut minted = Vec::new();
    let mut slowest = Duration::ZERO;
    // The daemon is idle between two mints, for long enough to try to copy the log once or twice.
    for round in 0..6 {
        let idle = Instant::now();
        minted.push(authd.mint(&format!("beside-{round}"), &["read"]).0);
        slowest = slowest.max(idle.elapsed());
        while idle.elapsed() < Duration::from_millis(4500) {
            let begun = Instant::now();
            assert_eq!(authd.validate(&token, &["read"])["valid"], true);
            assert_eq!(authd.validate(&random_token(), &[])["error"], "token_not_found");
            authd.admin().get("/auth/tokens").expect("it answers").expect(200);
            slowest = slowest.max(begun.elapsed());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    neighbour.release();
    let log = format!("{}-wal", database.display());
    until(TIMEOUT, "the log copied into the file", || {
        neighbour.checkpoint(&database);
        std::fs::metadata(&log).is_ok_and(|log| log.len() == 0).then_some(())
    });
    for token in &minted {
        assert_eq!(authd.validate(token, &["read"])["valid"], true);
    }
    assert_eq!(neighbour.select(&database), 7);
}

/// Whatever the umask: nobody else on the machine may take a lock on these files, or read them.
#[test]
fn every_file_in_the_data_folder_is_private() {
    let authd = Setup::new().behind(&["sh", "-c", "umask 0; exec \"$0\" \"$@\""]).start();
    authd.mint("private", &["read"]);
    let data = authd.dir().join("data");
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for entry in std::fs::read_dir(&data).expect("it is there").flatten() {
        assert_eq!(mode(&entry.path()), 0o600, "{}", entry.path().display());
    }
}

/// The `number`th order of the items, of all that there are.
fn permute<T>(items: &mut [T], number: usize) {
    let mut rest = number;
    for place in 0..items.len() {
        let choices = items.len() - place;
        items.swap(place, place + rest % choices);
        rest /= choices;
    }
}
