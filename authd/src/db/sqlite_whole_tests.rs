//! A file that is not the one, or not whole: refused at the start, or told afterwards.

use std::path::Path;
use std::process::Command;

use super::sqlite::{Settings, Sqlite};
use super::tests::{put, value_of};
use super::{Db, DbError, Query, Statement, testing};

const PAGE: usize = 4096;

/// By another process: a file that this process opens and closes would lose SQLite's locks.
fn copy(from: &Path, to: &Path, suffixes: &[&str]) {
    std::fs::create_dir_all(to).unwrap();
    for suffix in suffixes {
        let name = format!("authd.db{suffix}");
        let copied = Command::new("cp").arg(from.join(&name)).arg(to.join(&name)).status().unwrap();
        assert!(copied.success());
    }
}

fn open(folder: &Path) -> Result<Sqlite, DbError> {
    testing::sqlite_in(folder, Settings::default())
}

/// Ends a run with its log copied into the file, and begins the next one.
async fn restarted(db: Sqlite, folder: &Path) -> Sqlite {
    db.close().await.unwrap();
    drop(db);
    open(folder).unwrap()
}

#[tokio::test]
async fn an_older_file_beside_a_newer_log_is_refused_and_stays_as_it_is() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (old, young, live) = (elsewhere.path().join("old"), elsewhere.path().join("young"), folder.path());
    let mut db = open(live).unwrap();
    put(&db, "a", 1).await;
    db = restarted(db, live).await;
    copy(live, &old, &[""]);
    put(&db, "b", 1).await;
    db = restarted(db, live).await;
    copy(live, &young, &[""]);
    put(&db, "c", 1).await;
    for folder in [&old, &young] {
        copy(live, folder, &["-wal"]);
    }
    let (file, log) = (old.join("authd.db"), old.join("authd.db-wal"));
    let before = (std::fs::read(&file).unwrap(), std::fs::read(&log).unwrap());
    let refused = open(&old).unwrap_err().to_string();
    assert!(refused.contains("not the file that its log belongs to") && refused.contains("remove"), "{refused}");
    assert!(before == (std::fs::read(&file).unwrap(), std::fs::read(&log).unwrap()), "it was changed");
    // The file that the log was begun on, and the older file without that log.
    let whole = open(&young).unwrap();
    for name in ["a", "b", "c"] {
        assert_eq!(value_of(&whole, name).await, Some(1), "{name}");
    }
    std::fs::remove_file(&log).unwrap();
    std::fs::remove_file(old.join("authd.db-shm")).unwrap();
    let restored = open(&old).unwrap();
    assert_eq!((value_of(&restored, "a").await, value_of(&restored, "b").await), (Some(1), None));
}

#[tokio::test]
async fn a_log_without_its_file_is_refused_and_kept() {
    for is_empty in [false, true] {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let db = open(folder.path()).unwrap();
        put(&db, "a", 1).await;
        copy(folder.path(), other.path(), &["-wal"]);
        if is_empty {
            std::fs::write(other.path().join("authd.db"), "").unwrap();
        }
        let refused = open(other.path()).unwrap_err().to_string();
        assert!(refused.contains("but its log"), "{refused}");
        assert!(std::fs::metadata(other.path().join("authd.db-wal")).unwrap().len() > 0);
    }
}

/// The start, or else the check behind it, notices each page that was lost or overwritten.
#[tokio::test]
async fn every_damaged_page_is_noticed() {
    const FILL: &str = "INSERT INTO ephemeral (key, value, count, expires_at) VALUES ($1, $2, 0, $3)";
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let db = open(folder.path()).unwrap();
    // Without overflow pages: the last one of a long value has nothing but text.
    for number in 0..160_i64 {
        let row = [format!("key {number}").into(), vec![7; 900].into(), number.into()];
        db.commit(vec![Statement::one("fill", FILL, row)]).await.unwrap();
    }
    db.close().await.unwrap();
    copy(folder.path(), other.path(), &[""]);
    let file = other.path().join("authd.db");
    rusqlite::Connection::open(&file).unwrap().execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let good = std::fs::read(&file).unwrap();
    let pages = good.len() / PAGE;
    assert!(pages > 80, "{pages}");
    let mut behind = 0;
    for (page, byte) in (0..pages).flat_map(|page| [(page, 0_u8), (page, 0xa5)]) {
        let mut bad = good.clone();
        bad[page * PAGE..(page + 1) * PAGE].fill(byte);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("authd.db");
        std::fs::write(&path, bad).unwrap();
        match open(folder.path()) {
            Err(refused) => {
                let refused = refused.to_string();
                assert!(refused.contains("is damaged") && refused.contains("restore the backup"), "{page}: {refused}");
            }
            Ok(db) => {
                behind += 1;
                db.check();
                assert!(db.vitals().damage().is_some(), "page {} filled with {byte} was not noticed", page + 1);
            }
        }
    }
    assert!(behind <= 2, "the start should notice nearly all: {behind} were left");
}

#[tokio::test]
async fn an_index_that_disagrees_with_its_table_is_noticed_behind_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path()).unwrap();
    let other = rusqlite::Connection::open(folder.path().join("authd.db")).unwrap();
    other
        .execute_batch(
            "INSERT INTO invalidations (kind, subject, at) VALUES ('token', 'x', 5); PRAGMA writable_schema = ON; \
             UPDATE sqlite_schema SET sql = replace(sql, '(at)', '(subject)') WHERE name = 'invalidations_at'; \
             PRAGMA writable_schema = RESET",
        )
        .unwrap();
    assert!(db.vitals().damage().is_none());
    db.check();
    let damage = db.vitals().damage();
    assert!(damage.is_some_and(|damage| damage.contains("invalidations_at")), "{damage:?}");
}

#[tokio::test]
async fn damage_that_a_request_meets_is_told() {
    const FILL: &str = "INSERT INTO ephemeral (key, value, count, expires_at) VALUES ($1, $2, 0, 1)";
    let folder = tempfile::tempdir().unwrap();
    let mut db = open(folder.path()).unwrap();
    let row = ["here".into(), vec![7; 100 * PAGE].into()];
    db.commit(vec![Statement::one("fill", FILL, row)]).await.unwrap();
    db = restarted(db, folder.path()).await;
    let file = folder.path().join("authd.db");
    let pages = std::fs::metadata(&file).unwrap().len() / PAGE as u64;
    // By another process, in the middle of the long value.
    let script = "dd if=/dev/zero of=$0 bs=4096 seek=$1 count=20 conv=notrunc";
    let place = (pages - 40).to_string();
    let output = Command::new("sh").args(["-c", script]).arg(&file).arg(place).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(db.vitals().damage().is_none());
    let read = db.query(Query::new("SELECT length(CAST(value AS TEXT)) FROM ephemeral", [])).await;
    assert!(read.is_err_and(|error| error.is_unavailable()));
    assert!(db.vitals().damage().is_some());
}
