//! Migrations go forward only, on both engines.

use super::migrate::{self, Engine, Migration};
use super::postgres::{Postgres, Settings};
use super::sqlite::{self, Sqlite};
use super::testing;

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
        Sqlite::open_with(&path, sqlite::Settings::default(), known, 0).map(|_| ()).map_err(|error| error.to_string())
    })
    .await;
}

#[tokio::test]
async fn postgres_migrations_go_forward_only() {
    let Some(url) = testing::postgres_url().await else { return };
    migrations_go_forward_only(async |known| {
        let opened = Postgres::open_with(&url, Settings::default(), known, 0).await;
        opened.map(|_| ()).map_err(|error| error.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_together_migrate_once() {
    let Some(url) = testing::postgres_url().await else { return };
    let starts = (0..4).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { Postgres::open(&url, Settings::default(), 0).await.map(|_| ()) })
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
