//! What only SQLite can get wrong.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::sqlite::Settings;
use super::tests::{ADD, PUT, put, value_of};
use super::{Db, DbError, Query, Statement, testing};
use crate::world::World;

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

#[tokio::test]
async fn a_lock_held_by_somebody_else_is_unavailable_and_passes() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { busy: Duration::from_millis(20), ..Settings::default() };
    let db = testing::sqlite_in(folder.path(), settings).unwrap();
    let other = rusqlite::Connection::open(folder.path().join("authd.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; UPDATE counters SET value = 99").unwrap();
    let add = || vec![Statement::one(ADD, ["tokens.all".into(), 1.into()])];
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
            let add = Statement::one(ADD, ["tokens.all".into(), 1.into()]);
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
    let add = || vec![Statement::one(ADD, ["tokens.all".into(), 1.into()])];
    let put_b = vec![Statement::one(PUT, ["b".into(), 1.into()])];
    let (first, second) = tokio::join!(db.commit(add()), db.commit(put_b));
    assert!(matches!(first, Err(DbError::Unavailable(_))) && matches!(second, Err(DbError::Unavailable(_))));
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
            Statement::one(ADD, ["tokens.all".into(), 1.into()]),
            Statement::one(FILL, [format!("{written}").into(), vec![7; 9000].into()]),
        ];
        match db.commit(batch).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "the disk never filled");
    };
    assert!(matches!(error, DbError::Unavailable(_)), "{error}");
    assert_eq!(value_of(&db, "tokens.all").await, Some(written), "the failed batch changed nothing");
    db.commit(vec![Statement::any("DELETE FROM ephemeral", [])]).await.expect("space can be made");
    put(&db, "after", 1).await;
}

#[tokio::test]
async fn a_read_that_takes_too_long_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { deadline: Duration::from_millis(50), ..Settings::default() };
    let db = testing::sqlite_in(folder.path(), settings).unwrap();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    for query in [Query::point(endless, []), Query::new(endless, [])] {
        assert!(matches!(db.query(query).await, Err(DbError::Unavailable(_))));
    }
    assert_eq!(value_of(&db, "tokens.all").await, Some(0), "the readers are free again");
}

/// CPU time of the threads with this name so far, in nanoseconds.
fn cpu_of(thread: &str) -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten().map(|task| task.path());
    let named = tasks.filter(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == thread));
    named
        .map(|task| std::fs::read_to_string(task.join("schedstat")).unwrap())
        .map(|text| text.split(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// Not a gate: what a batch like that of a new token costs here.
/// `cargo test -p authd --lib throughput -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints a measurement"]
async fn throughput() {
    const TOKEN: &str = "INSERT INTO tokens (id, name, live_name, scopes, metadata, cidrs, created_at, created_by) \
                         VALUES ($1, $2, $2, '[\"read\"]', '{}', '[]', $3, 'operator')";
    const SECRET: &str = "INSERT INTO token_secrets (hash, token_id, created_at) VALUES ($1, $2, $3)";
    const COUNT: &str = "UPDATE counters SET value = value + 1 WHERE name IN ('tokens.live', 'tokens.all')";
    const AUDIT: &str = "INSERT INTO audit (id, at, actor, action, subject, outcome, detail) \
                         VALUES ($1, $2, 'operator', 'tokens.create', $3, 'ok', '{}')";
    let (db, _folder) = testing::sqlite();
    let world = World::real();
    for callers in [1, 64] {
        let (begun, cpu) = (Instant::now(), cpu_of("db-writer"));
        let tasks = (0..callers).map(|_| {
            let (db, world) = (db.clone(), world.clone());
            tokio::spawn(async move {
                for _ in 0..4096 / callers {
                    let (id, now) = (world.uuid().to_string(), world.now());
                    let batch = vec![
                        Statement::one(TOKEN, [id.as_str().into(), format!("name {id}").into(), now.into()]),
                        Statement::one(SECRET, [world.bytes::<32>().into(), id.as_str().into(), now.into()]),
                        Statement::any(COUNT, []),
                        Statement::one(AUDIT, [world.uuid().to_string().into(), now.into(), id.as_str().into()]),
                    ];
                    db.commit(batch).await.unwrap();
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        let (rate, cpu) = (4096.0 / begun.elapsed().as_secs_f64(), (cpu_of("db-writer") - cpu) / 4096);
        println!("{callers} callers: {rate:.0} commits/s, {cpu} ns of the writer's CPU each");
    }
}
