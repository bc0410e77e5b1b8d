//! Migrations go forward only, on both engines.

use std::sync::Arc;

use super::migrate::{self, Engine, Migration};
use super::postgres::{Postgres, Settings};
use super::sqlite::{self, Sqlite};
use super::{Db, Identity, Query, Row, Statement, testing};

const FIRST: Migration = Migration::shared(1, "first", "CREATE TABLE one (id {serial}, data {bytes});");
const SECOND: Migration = Migration::shared(2, "second", "CREATE TABLE two (id TEXT PRIMARY KEY) {without_rowid};");
const EDITED: Migration = Migration::shared(1, "first", "CREATE TABLE one (id {serial}, more {bytes});");
const BROKEN: Migration = Migration::shared(3, "broken", "CREATE TABLE three (id BIGINT); SELECT * FROM nowhere;");

/// Opens with these migrations: the message if that is refused.
type Opened = Result<(), String>;

async fn migrations_go_forward_only(open: impl AsyncFn(&'static [Migration]) -> Opened) {
    open(&[FIRST]).await.unwrap();
    open(&[FIRST, SECOND]).await.expect("a newer release adds what is missing");
    open(&[FIRST, SECOND]).await.expect("and finds it done");
    let newer = open(&[FIRST]).await.unwrap_err();
    assert!(newer.contains("newer authd") && newer.contains("second"), "{newer}");
    let edited = open(&[EDITED, SECOND]).await.unwrap_err();
    assert!(edited.contains("edited") && edited.contains("first"), "{edited}");
    open(&[FIRST, SECOND, BROKEN]).await.unwrap_err();
    open(&[FIRST, SECOND]).await.expect("a migration that failed left nothing");
}

#[tokio::test]
async fn sqlite_migrations_go_forward_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("authd.db");
    migrations_go_forward_only(async |known| {
        Sqlite::open(&path, sqlite::Settings { migrations: known, ..Default::default() }, &Identity::any(), 0)
            .map(|_| ())
            .map_err(|error| error.to_string())
    })
    .await;
}

#[tokio::test]
async fn postgres_migrations_go_forward_only() {
    let Some(url) = testing::postgres_url().await else { return };
    migrations_go_forward_only(async |known| {
        let opened =
            Postgres::open(&url, Settings { migrations: known, ..Settings::default() }, &Identity::any(), 0).await;
        opened.map(|_| ()).map_err(|error| error.to_string())
    })
    .await;
}

/// A database that is not the one that is meant is refused as it is.
async fn another_is_not_written_to(open: impl AsyncFn(&'static [Migration], &Identity) -> Result<(), String>) {
    let refusing = Identity::new("SELECT number FROM migrations", |_| Err("not this one".into()));
    let has = |schema: bool| {
        Identity::new("SELECT number FROM migrations", move |rows| {
            if rows.is_some() == schema { Ok(()) } else { Err(format!("{rows:?}")) }
        })
    };
    assert_eq!(open(&[FIRST], &refusing).await.unwrap_err(), "not this one");
    open(&[FIRST], &has(false)).await.expect("it is still empty");
    assert_eq!(open(&[FIRST, SECOND], &refusing).await.unwrap_err(), "not this one");
    open(&[FIRST], &has(true)).await.expect("a newer release has not migrated it");
}

#[tokio::test]
async fn sqlite_is_not_written_to_unless_it_is_the_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("authd.db");
    another_is_not_written_to(async |migrations, identity| {
        let opened = Sqlite::open(&path, sqlite::Settings { migrations, ..Default::default() }, identity, 0);
        opened.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

#[tokio::test]
async fn postgres_is_not_written_to_unless_it_is_the_one() {
    let Some(url) = testing::postgres_url().await else { return };
    another_is_not_written_to(async |migrations, identity| {
        let opened = Postgres::open(&url, Settings { migrations, ..Settings::default() }, identity, 0).await;
        opened.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_together_migrate_once() {
    let Some(url) = testing::postgres_url().await else { return };
    let starts = (0..4).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { Postgres::open(&url, Settings::default(), &Identity::any(), 0).await.map(|_| ()) })
    });
    for start in starts.collect::<Vec<_>>() {
        start.await.unwrap().unwrap();
    }
}

#[test]
fn migrations_are_numbered_without_gaps() {
    for (index, migration) in migrate::ALL.iter().enumerate() {
        assert_eq!(usize::try_from(migration.number), Ok(index + 1));
        for engine in [Engine::Sqlite, Engine::Postgres] {
            assert!(!migration.sql(engine).contains("{bytes}"));
        }
    }
}

/// Tokens of the fourth schema, one of them rotated and one revoked, are found after the fifth by the same secrets.
async fn secrets_move_into_one_row(open: impl AsyncFn(&'static [Migration]) -> Arc<dyn Db>) {
    let ids = ["0190a6f0-0000-7000-8000-00000000000a", "0190a6f0-0000-7000-8000-00000000000b"];
    let db = open(&migrate::ALL[..4]).await;
    let mut batch = Vec::new();
    for (index, id) in ids.into_iter().enumerate() {
        let name = format!("t{index}");
        batch.push(Statement::one(
            "test", "INSERT INTO tokens (id, name, live_name, scopes, metadata, cidrs, created_at, created_by, expires_at, revoked_at) \
             VALUES ($1, $2, $2, '[\"read\"]', '{}', '[]', 1, 'x', 900, $3)",
            [id.into(), name.into(), (index == 1).then_some(7_i64).into()],
        ));
    }
    // The top bit of the first byte is the sign of the key.
    for (hash, id, end) in [([0xfe; 32], ids[0], Some(800_i64)), ([0x7f; 32], ids[0], None), ([0x80; 32], ids[1], None)]
    {
        batch.push(Statement::one(
            "test",
            "INSERT INTO token_secrets (hash, token_id, created_at, expires_at) VALUES ($1, $2, 1, $3)",
            [hash.into(), id.into(), end.into()],
        ));
    }
    db.commit(batch).await.unwrap();
    drop(db);
    let db = open(migrate::ALL).await;
    for (hash, name, expires_at, revoked) in
        [([0xfe; 32], "t0", 800, false), ([0x7f; 32], "t0", 900, false), ([0x80; 32], "t1", 900, true)]
    {
        let sets = crate::tokens::ScopeSets::default();
        let found = crate::tokens::store::find_secret(db.as_ref(), &sets, &hash).await.unwrap().unwrap();
        let found = (&*found.name, found.expires_at(), found.revoked, found.scopes.json.get());
        assert_eq!(found, (name, Some(expires_at), revoked, "[\"read\"]"));
    }
    for (id, mut hashes) in [(ids[0], vec![[0x7f; 32], [0xfe; 32]]), (ids[1], vec![[0x80; 32]])] {
        let mut found = crate::tokens::store::list_hashes(db.as_ref(), id.parse().unwrap()).await.unwrap();
        found.sort_unstable();
        hashes.sort_unstable();
        assert_eq!(found, hashes, "{id}");
    }
}

/// The audit log is copied into a table of its own; it goes on with the next number, and still only grows.
#[tokio::test]
async fn sqlite_keeps_the_audit_log() {
    const ROW: &str = "INSERT INTO audit (id, at, actor, action, subject, outcome, detail) \
                       VALUES ($1, 7, 'a', 'b', NULL, 'ok', '{}')";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("authd.db");
    let open = |known| {
        Sqlite::open(&path, sqlite::Settings { migrations: known, ..Default::default() }, &Identity::any(), 0).unwrap()
    };
    let db = open(&migrate::ALL[..5]);
    db.commit(vec![Statement::one("row", ROW, ["1".into()]), Statement::one("row", ROW, ["2".into()])]).await.unwrap();
    drop(db);
    let db = open(migrate::ALL);
    db.commit(vec![Statement::one("row", ROW, ["3".into()])]).await.unwrap();
    let rows = db.query(Query::new("SELECT seq, id, at FROM audit ORDER BY seq", [])).await.unwrap();
    let expected = [1, 2, 3].map(|seq: i64| Row(vec![seq.into(), seq.to_string().into(), 7.into()]));
    assert_eq!(rows, expected);
    for change in ["UPDATE audit SET at = 8", "DELETE FROM audit"] {
        assert!(db.commit(vec![Statement::any("test", change, [])]).await.is_err(), "{change}");
    }
}

#[tokio::test]
async fn sqlite_secrets_move_into_one_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("authd.db");
    secrets_move_into_one_row(async |known| {
        Arc::new(
            Sqlite::open(&path, sqlite::Settings { migrations: known, ..Default::default() }, &Identity::any(), 0)
                .unwrap(),
        ) as Arc<dyn Db>
    })
    .await;
}

#[tokio::test]
async fn postgres_secrets_move_into_one_row() {
    let Some(url) = testing::postgres_url().await else { return };
    secrets_move_into_one_row(async |known| {
        Arc::new(
            Postgres::open(&url, Settings { migrations: known, ..Settings::default() }, &Identity::any(), 0)
                .await
                .unwrap(),
        ) as Arc<dyn Db>
    })
    .await;
}
