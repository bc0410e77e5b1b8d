//! What only SQLite can get wrong.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::sqlite::Settings;
use super::tests::{ADD, PUT, put, value_of};
use super::{Checkpoints, Db, DbError, Query, Statement, testing};

#[tokio::test]
async fn the_file_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("new/data");
    let db = testing::sqlite_in(&data, Settings::default()).unwrap();
    put(&db, "a", 1).await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for file in ["authd.db", "authd.db-wal", "authd.db-shm"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
}

/// Without them another process takes itself for the only one, and removes the log under us when it closes.
#[tokio::test]
async fn the_kernel_holds_sqlites_locks_for_every_connection() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let db = testing::sqlite_in(folder.path(), Settings::default()).unwrap();
        put(&db, &format!("round {round}"), 1).await;
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        for file in ["authd.db", "authd.db-shm"] {
            let inode = std::fs::metadata(folder.path().join(file)).unwrap().ino();
            let own = format!(" {} ", std::process::id());
            let held =
                |line: &&str| line.contains("POSIX") && line.contains(&own) && line.contains(&format!(":{inode} "));
            assert!(locks.lines().any(|line| held(&line)), "round {round}: no lock on {file}:\n{locks}");
        }
    }
}

#[tokio::test]
async fn a_lock_held_by_somebody_else_is_unavailable_and_passes() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { busy: Duration::from_millis(20), ..Settings::default() };
    let db = testing::sqlite_in(folder.path(), settings).unwrap();
    let other = rusqlite::Connection::open(folder.path().join("authd.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; UPDATE counters SET value = 99").unwrap();
    let add = || vec![Statement::one("add", ADD, ["tokens.all".into(), 1.into()])];
    assert!(matches!(db.commit(add()).await, Err(DbError::Unavailable(_))));
    assert_eq!(value_of(&db, "tokens.all").await, Some(0), "readers go on, and see nothing of it");
    other.execute_batch("ROLLBACK").unwrap();
    db.commit(add()).await.expect("the lock is free again");
    assert_eq!(value_of(&db, "tokens.all").await, Some(1));
}

#[tokio::test]
async fn a_full_queue_is_unavailable_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { queue: 1, group: 1, busy: Duration::from_secs(30), ..Settings::default() };
    let db = Arc::new(testing::sqlite_in(folder.path(), settings).unwrap());
    let other = rusqlite::Connection::open(folder.path().join("authd.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (answer, mut answers) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..4 {
        let (db, answer) = (db.clone(), answer.clone());
        tokio::spawn(async move {
            let add = Statement::one("add", ADD, ["tokens.all".into(), 1.into()]);
            answer.send(db.commit(vec![add]).await).unwrap();
        });
    }
    // One waits for the lock and one in the queue at most: the first to be answered are those who were refused.
    for _ in 0..2 {
        let answer = tokio::time::timeout(Duration::from_secs(4), answers.recv()).await.expect("at once").unwrap();
        assert!(answer.unwrap_err().to_string().contains("queue is full"));
    }
    other.execute_batch("ROLLBACK").unwrap();
    let rest = (answers.recv().await.unwrap(), answers.recv().await.unwrap());
    assert!(rest.0.is_ok() || rest.1.is_ok(), "{rest:?}");
}

#[tokio::test]
async fn who_waits_too_long_is_told_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        Settings { deadline: Duration::from_millis(30), busy: Duration::from_millis(500), ..Settings::default() };
    let db = testing::sqlite_in(folder.path(), settings).unwrap();
    let other = rusqlite::Connection::open(folder.path().join("authd.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let add = || vec![Statement::one("add", ADD, ["tokens.all".into(), 1.into()])];
    let put_b = vec![Statement::one("put", PUT, ["b".into(), 1.into()])];
    let (first, second) = tokio::join!(db.commit(add()), db.commit(put_b));
    assert!(first.unwrap_err().is_unavailable() && second.unwrap_err().is_unavailable());
    other.execute_batch("ROLLBACK").unwrap();
    drop(db);
    let db = testing::sqlite_in(folder.path(), Settings::default()).unwrap();
    put(&db, "after", 1).await;
    assert_eq!((value_of(&db, "tokens.all").await, value_of(&db, "b").await), (Some(0), None));
}

#[tokio::test]
async fn a_full_disk_is_unavailable_and_leaves_nothing_half_done() {
    const FILL: &str = "INSERT INTO ephemeral (key, value, count, expires_at) VALUES ($1, $2, 0, 0)";
    let folder = tempfile::tempdir().unwrap();
    let db = testing::sqlite_in(folder.path(), Settings { max_pages: Some(80), ..Settings::default() }).unwrap();
    let mut written = 0;
    let error = loop {
        let batch = vec![
            Statement::one("add", ADD, ["tokens.all".into(), 1.into()]),
            Statement::one("fill", FILL, [format!("{written}").into(), vec![7; 9000].into()]),
        ];
        match db.commit(batch).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "the disk never filled");
    };
    assert!(matches!(error, DbError::Unavailable(_)), "{error}");
    assert_eq!(value_of(&db, "tokens.all").await, Some(written), "the failed batch changed nothing");
    // Not at once: what found no space is tried again in a moment.
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = db.commit(vec![Statement::any("test", "DELETE FROM ephemeral", [])]).await {
        assert!(error.is_unavailable() && Instant::now() < deadline, "space can be made: {error}");
    }
    put(&db, "after", 1).await;
}

/// The file as a copy without its log has it.
fn in_the_file_alone(folder: &Path, name: &str) -> bool {
    let copy = folder.join("copy.db");
    // By another process: opened and closed in this one, the file would lose SQLite's locks.
    let copied = std::process::Command::new("cp").arg(folder.join("authd.db")).arg(&copy).status().unwrap();
    assert!(copied.success());
    let copy = rusqlite::Connection::open(copy).unwrap();
    // Before the first checkpoint there is not even the table.
    copy.query_row("SELECT 1 FROM counters WHERE name = ?1", [name], |_| Ok(())).is_ok()
}

#[tokio::test]
async fn a_closed_database_is_its_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    let db = testing::sqlite_in(folder.path(), Settings::default()).unwrap();
    put(&db, "a", 1).await;
    assert!(!in_the_file_alone(folder.path(), "a"));
    db.close().await.unwrap();
    assert!(in_the_file_alone(folder.path(), "a"));
    assert_eq!(std::fs::metadata(folder.path().join("authd.db-wal")).unwrap().len(), 0);
    put(&db, "b", 1).await;
}

#[tokio::test]
async fn a_read_that_takes_too_long_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { deadline: Duration::from_millis(50), ..Settings::default() };
    let db = testing::sqlite_in(folder.path(), settings).unwrap();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    for query in [Query::point(endless, []), Query::new(endless, [])] {
        assert!(matches!(db.query(query).await, Err(DbError::Late(_))));
    }
    assert_eq!(value_of(&db, "tokens.all").await, Some(0), "the readers are free again");
}

/// Beyond the length at which authd itself copies the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_another_program_copies_is_left_alone() {
    const INSERT: &str = "INSERT INTO ephemeral (key, value, count, expires_at) VALUES ($1, $2, 0, 0)";
    const PIECE: usize = 4 << 20;
    for checkpoints in [Checkpoints::Own, Checkpoints::External] {
        let folder = tempfile::tempdir().unwrap();
        let db = testing::sqlite_in(folder.path(), Settings { checkpoints, ..Settings::default() }).unwrap();
        let size = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().len();
        let before = size("authd.db");
        for number in 0..10 {
            let insert = Statement::one("insert", INSERT, [format!("k{number}").into(), vec![7; PIECE].into()]);
            db.commit(vec![insert]).await.unwrap();
        }
        db.close().await.unwrap();
        let is_alone = size("authd.db") == before && size("authd.db-wal") > 10 * PIECE as u64;
        assert_eq!(is_alone, checkpoints == Checkpoints::External, "{checkpoints:?}");
    }
}
