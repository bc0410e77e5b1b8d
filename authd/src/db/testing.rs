//! Databases for the tests of every module.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::postgres::{self, Postgres};
use super::sqlite::{self, Sqlite};
use super::{Db, DbError, Identity};
use crate::env::Env;

/// A new SQLite database with the whole schema, deleted with the folder.
pub fn sqlite() -> (Arc<dyn Db>, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let db = sqlite_in(folder.path(), sqlite::Settings { readers: 2, ..Default::default() }).expect("it opens");
    (Arc::new(db), folder)
}

/// The steps of SQLite's plan for each statement; none of them reads a whole table.
pub fn plans<'a>(statements: &[&'a str]) -> Vec<(&'a str, Vec<String>)> {
    let (_db, folder) = sqlite();
    let sqlite = rusqlite::Connection::open(folder.path().join("authd.db")).expect("it opens");
    let plan = |sql: &&'a str| {
        let mut plan = sqlite.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("it is SQL");
        let empty = vec![rusqlite::types::Null; plan.parameter_count()];
        let steps = plan.query_map(rusqlite::params_from_iter(empty), |row| row.get::<_, String>("detail"));
        let steps: Vec<String> = steps.expect("it has a plan").map(|step| step.expect("a text")).collect();
        let scans = |step: &String| step.starts_with("SCAN") && step != "SCAN CONSTANT ROW";
        assert!(!steps.iter().any(scans), "{sql}: {steps:?}");
        (*sql, steps)
    };
    statements.iter().map(plan).collect()
}

/// The database in the folder of [`sqlite`], if it is the one.
pub fn sqlite_with(folder: &TempDir, identity: &Identity) -> Result<Sqlite, DbError> {
    Sqlite::open(&folder.path().join("authd.db"), sqlite::Settings::default(), identity, 0)
}

pub(super) fn sqlite_in(folder: &Path, settings: sqlite::Settings) -> Result<Sqlite, DbError> {
    Sqlite::open(&folder.join("authd.db"), settings, &Identity::any(), 0)
}

/// The URL of a user of its own, with a schema of its own, on the server that `AUTHD_TEST_POSTGRES_URL` names; `None`
/// without a server. (A pooler does not take `search_path` as a parameter.) Neither is deleted, so that a failed test can
/// be examined.
pub async fn postgres_url() -> Option<String> {
    let url = std::env::var("AUTHD_TEST_POSTGRES_URL").ok()?;
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("the server is there");
    let connection = tokio::spawn(connection);
    let name = format!("test_{}", Env::real().uuid().simple());
    let new = format!(
        "CREATE ROLE {name} SUPERUSER LOGIN; ALTER ROLE {name} SET search_path = {name}; \
         CREATE SCHEMA {name} AUTHORIZATION {name}"
    );
    client.batch_execute(&new).await.expect("a new user and schema");
    drop(client);
    connection.await.expect("it ends").expect("in order");
    let separator = if url.contains('?') { '&' } else { '?' };
    Some(format!("{url}{separator}user={name}"))
}

/// A new PostgreSQL database with the whole schema; `None` without a server.
pub async fn postgres() -> Option<Arc<dyn Db>> {
    let db = Postgres::open(&postgres_url().await?, postgres::Settings::default(), &Identity::any(), 0)
        .await
        .expect("it opens");
    Some(Arc::new(db))
}
