//! What only PostgreSQL can get wrong.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::postgres::{Postgres, Settings};
use super::tests::{ADD, put, value_of};
use super::{Db, DbError, Identity, LostCommit, Query, Statement, testing};

async fn open(settings: Settings) -> Option<(Postgres, tokio_postgres::Client)> {
    let url = testing::postgres_url().await?;
    let db = Postgres::open(&url, settings, &Identity::any(), 0).await.unwrap();
    let (other, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    Some((db, other))
}

#[tokio::test]
async fn connections_that_were_cut_are_replaced() {
    let Some((db, other)) = open(Settings { connections: 1, ..Settings::default() }).await else { return };
    put(&db, "a", 1).await;
    let rows = db.query(Query::new("SELECT pg_backend_pid()", [])).await.unwrap();
    let pid = i32::try_from(rows[0].cursor().int().unwrap()).unwrap();
    other.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match db.commit(vec![Statement::one("add", ADD, ["a".into(), 1.into()])]).await {
            Ok(_) => break,
            Err(error) => assert!(error.is_unavailable(), "{error}"),
        }
        assert!(Instant::now() < deadline, "it never came back");
    }
    assert_eq!(value_of(&db, "a").await, Some(2));
}

#[tokio::test]
async fn who_waits_too_long_is_told_and_changes_nothing() {
    let Some((db, other)) = open(Settings::default()).await else { return };
    put(&db, "a", 1).await;
    other.batch_execute("BEGIN; LOCK TABLE counters IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let add = db.commit(vec![Statement::one("add", ADD, ["a".into(), 1.into()])]);
    let read = db.query(Query::new("SELECT count(*) FROM counters", []));
    let told = tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(add, read) });
    let (add, read) = told.await.expect("both are told");
    // Ours or the server's time limit, whichever is noticed first.
    assert!(add.as_ref().is_err_and(DbError::is_unavailable), "{add:?}");
    assert!(read.as_ref().is_err_and(DbError::is_unavailable), "{read:?}");
    other.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(value_of(&db, "a").await, Some(1));
}

/// Dropped in the middle, a commit goes on, and leaves no transaction behind for the next caller of its connection.
#[tokio::test]
async fn a_commit_that_is_dropped_goes_on_and_leaves_a_clean_connection() {
    // Patient: a machine that is busy elsewhere takes its time to get as far as the row.
    let settings = Settings { connections: 1, deadline: Duration::from_mins(1), ..Settings::default() };
    let Some((db, other)) = open(settings).await else { return };
    let db = Arc::new(db);
    put(&*db, "a", 1).await;
    other.batch_execute("BEGIN; UPDATE counters SET value = value WHERE name = 'a'").await.unwrap();
    let waits =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE counters SET v%'";
    let call = tokio::spawn({
        let db = db.clone();
        async move { db.commit(vec![Statement::one("add", ADD, ["a".into(), 10.into()])]).await }
    });
    let deadline = Instant::now() + Duration::from_secs(30);
    while other.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(Instant::now() < deadline, "it never got as far as the row");
        // Within a transaction the view stays as it was first seen.
        other.batch_execute("SELECT pg_stat_clear_snapshot()").await.unwrap();
    }
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    other.batch_execute("ROLLBACK").await.unwrap();
    db.commit(vec![Statement::one("add", ADD, ["a".into(), 1.into()])]).await.unwrap();
    assert_eq!(value_of(&*db, "a").await, Some(12));
}

/// The server ends the session of a COMMIT that it has received: whether it was applied can be asked.
#[tokio::test]
async fn the_outcome_of_a_lost_commit_can_be_learnt() {
    let Some((db, other)) = open(Settings::default()).await else { return };
    let numbers = async |end: &str| {
        let rows = other.simple_query(&format!("BEGIN; SELECT txid_current(); {end}")).await.unwrap();
        let number = rows.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0)?.parse::<i64>().ok(),
            _ => None,
        });
        LostCommit { transaction: number.unwrap(), reason: "test".into() }
    };
    let (committed, aborted) = (numbers("COMMIT").await, numbers("ROLLBACK").await);
    assert_eq!(db.settle(committed).await.unwrap(), Some(true));
    assert_eq!(db.settle(aborted).await.unwrap(), Some(false));
    let open = numbers("SELECT 1").await;
    assert_eq!(db.settle(open.clone()).await.unwrap(), None, "it may still be applied");
    other.batch_execute("COMMIT").await.unwrap();
    assert_eq!(db.settle(open).await.unwrap(), Some(true));
}

/// A migration by a newer authd changes what a prepared statement answers.
#[tokio::test]
async fn statements_prepared_before_a_migration_are_prepared_again() {
    let Some((db, other)) = open(Settings { connections: 2, ..Settings::default() }).await else { return };
    put(&db, "a", 1).await;
    let all = || Query::new("SELECT * FROM counters WHERE name = $1", ["a".into()]);
    let change = || vec![Statement::exists("test", "SELECT * FROM counters WHERE name = $1", ["a".into()])];
    db.query(all()).await.unwrap();
    db.commit(change()).await.unwrap();
    other.batch_execute("ALTER TABLE counters ADD COLUMN more BIGINT").await.unwrap();
    db.commit(change()).await.unwrap();
    assert_eq!(db.query(all()).await.unwrap()[0].0.len(), 3);
}

/// A server that calls itself something else.
#[tokio::test]
async fn another_engine_is_refused_by_name_and_not_written_to() {
    let Some(url) = testing::postgres_url().await else { return };
    let (other, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let name = other.query_one("SELECT CURRENT_USER::text", &[]).await.unwrap().get::<_, String>(0);
    let pose = format!(
        "CREATE FUNCTION {name}.version() RETURNS text LANGUAGE sql AS $$ SELECT 'CockroachDB CCL v23.1.11' $$; \
         ALTER ROLE {name} SET search_path = {name}, pg_catalog"
    );
    other.batch_execute(&pose).await.unwrap();
    let refused = Postgres::open(&url, Settings::default(), &Identity::any(), 0).await.unwrap_err();
    assert!(matches!(&refused, DbError::Setting(text) if text.contains("CockroachDB is not supported")), "{refused}");
    let tables = format!("SELECT count(*) FROM pg_tables WHERE schemaname = '{name}'");
    assert_eq!(other.query_one(&tables, &[]).await.unwrap().get::<_, i64>(0), 0);
}

/// What a pooler that was not recognised answers: nothing was executed.
#[tokio::test]
async fn a_name_that_is_taken_or_missing_shows_a_shared_session() {
    let Some((_db, other)) = open(Settings::default()).await else { return };
    other.batch_execute("PREPARE taken AS SELECT 1").await.unwrap();
    for sql in ["PREPARE taken AS SELECT 2", "EXECUTE missing"] {
        let error = other.batch_execute(sql).await.unwrap_err();
        assert!(super::postgres_value::is_shared(&error), "{sql}: {error:?}");
    }
    let error = other.batch_execute("SELECT nonsense").await.unwrap_err();
    assert!(!super::postgres_value::is_shared(&error), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://user:hunter2@127.0.0.1:{port}/db");
    let error = Postgres::open(&url, Settings::default(), &Identity::any(), 0).await.unwrap_err();
    assert!(matches!(error, DbError::Unavailable(_)) && !error.to_string().contains("hunter2"), "{error}");
    let error =
        Postgres::open("postgres://user:hunter2@[/db", Settings::default(), &Identity::any(), 0).await.unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

/// `AUTHD_TEST_POSTGRES_CA` says that the server speaks TLS, with a certificate of this CA for `localhost`.
#[tokio::test]
async fn sslmode_means_what_libpq_says() {
    let (Some(url), Ok(ca)) = (testing::postgres_url().await, std::env::var("AUTHD_TEST_POSTGRES_CA")) else { return };
    let config: tokio_postgres::Config = url.parse().unwrap();
    let (port, user) = (config.get_ports()[0], config.get_user().unwrap());
    for (host, mode, encrypted) in [
        ("localhost", "sslmode=disable", Some(0)),
        ("localhost", "sslmode=prefer", Some(1)),
        ("localhost", "sslmode=require", Some(1)),
        ("wrong.example", "sslmode=require", Some(1)),
        ("localhost", "sslmode=verify-full&sslrootcert=CA", Some(1)),
        ("wrong.example", "sslmode=verify-full&sslrootcert=CA", None),
        ("wrong.example", "sslmode=verify-ca&sslrootcert=CA", Some(1)),
        ("localhost", "sslmode=verify-full", None),
    ] {
        let mode = mode.replace("CA", &ca);
        let url = format!("postgres://{user}@{host}:{port}/postgres?hostaddr=127.0.0.1&{mode}");
        let opened = Postgres::open(&url, Settings::default(), &Identity::any(), 0).await;
        let answer = match opened {
            Ok(db) => {
                let ssl = Query::new("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", []);
                Some(db.query(ssl).await.unwrap()[0].cursor().int().unwrap())
            }
            Err(_) => None,
        };
        assert_eq!(answer, encrypted, "{host} {mode}");
    }
}

/// It is logged and written to a file.
#[test]
fn the_name_of_a_database_has_no_secret() {
    for (url, name) in [
        ("postgres://me:hunter2@db.example:5433/authd?sslmode=disable", "postgres://db.example:5433/authd"),
        (
            "postgresql://me:hunter2@db.example/authd?sslmode=verify-full&sslrootcert=/x",
            "postgres://db.example:5432/authd",
        ),
        ("postgres://db.example/authd?user=me&password=hunter2", "postgres://db.example:5432/authd"),
        ("postgres://me:hunt?er2@db.example/authd?x=hunter2@y", "postgres"),
    ] {
        let shown = super::DatabaseUrl::Postgres(url.into()).to_string();
        assert_eq!(shown, name, "{url}");
    }
}
