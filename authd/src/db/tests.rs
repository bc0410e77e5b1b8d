//! The store suite: what every engine must do.

use std::sync::Arc;

use super::{Committed, Db, DbError, Query, Row, Statement, Value, sweep, testing};

/// Runs each test on SQLite always, and on PostgreSQL when a server is named.
macro_rules! on_every_engine {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let (db, _folder) = super::testing::sqlite();
                super::$name(db).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(db) = super::testing::postgres().await else { return };
                super::$name(db).await;
            })*
        }
    };
}

on_every_engine! {
    every_kind_of_value_comes_back
    parameters_are_placed_by_number
    a_batch_is_applied_whole_or_not_at_all
    a_failed_expectation_names_its_statement
    a_duplicate_names_its_statement
    what_was_committed_is_read_at_once
    returning_tells_what_this_batch_wrote
    many_callers_count_exactly
    a_failing_batch_takes_nobody_with_it
    of_many_conditional_changes_one_wins
    what_a_batch_only_read_still_holds_when_it_commits
    the_audit_log_only_grows
    a_wrong_statement_is_a_defect
    sweeps_stop_at_their_limit
}

pub(super) const PUT: &str = "INSERT INTO counters (name, value) VALUES ($1, $2)";
pub(super) const ADD: &str = "UPDATE counters SET value = value + $2 WHERE name = $1";
const FIND: &str = "SELECT value FROM counters WHERE name = $1";

pub(super) async fn value_of(db: &dyn Db, name: &str) -> Option<i64> {
    let rows = db.query(Query::point(FIND, [name.into()])).await.unwrap();
    rows.first().map(|row| row.cursor().int().unwrap())
}

pub(super) async fn put(db: &dyn Db, name: &str, value: i64) {
    db.commit(vec![Statement::one("put", PUT, [name.into(), value.into()])]).await.unwrap();
}

async fn every_kind_of_value_comes_back(db: Arc<dyn Db>) {
    const INSERT: &str = "INSERT INTO ephemeral (key, value, count, expires_at) VALUES ($1, $2, $3, $4)";
    let values = [
        vec!["a".into(), Value::Null, i64::MIN.into(), 0.into()],
        vec!["ü 'x' $1 {bytes}".into(), vec![0, 255, 39].into(), i64::MAX.into(), (-1).into()],
        vec!["".into(), Vec::new().into(), 0.into(), 1.into()],
    ];
    for row in &values {
        db.commit(vec![Statement::one("insert", INSERT, row.clone())]).await.unwrap();
        let select = "SELECT key, value, count, expires_at FROM ephemeral WHERE key = $1";
        for query in [Query::point(select, [row[0].clone()]), Query::new(select, [row[0].clone()])] {
            assert_eq!(db.query(query).await.unwrap(), [Row(row.clone())]);
        }
    }
    let rows = db.query(Query::new("SELECT 1, 'x', count(*) FROM ephemeral", [])).await.unwrap();
    assert_eq!(rows, [Row(vec![1.into(), "x".into(), 3.into()])]);
}

async fn parameters_are_placed_by_number(db: Arc<dyn Db>) {
    let swapped = "INSERT INTO counters (value, name) VALUES ($2, $1)";
    db.commit(vec![Statement::one("test", swapped, ["a".into(), 7.into()])]).await.unwrap();
    let twice = "SELECT name FROM counters WHERE value = $2 AND name = $1 AND $2 < value + 1";
    assert_eq!(db.query(Query::new(twice, ["a".into(), 7.into()])).await.unwrap().len(), 1);
}

async fn a_batch_is_applied_whole_or_not_at_all(db: Arc<dyn Db>) {
    put(&*db, "a", 1).await;
    let batch = vec![
        Statement::one("add", ADD, ["a".into(), 10.into()]),
        Statement::one("put", PUT, ["b".into(), 1.into()]),
        Statement::one("third", PUT, ["a".into(), 1.into()]),
    ];
    assert!(matches!(db.commit(batch).await, Err(DbError::Duplicate("third"))));
    assert_eq!((value_of(&*db, "a").await, value_of(&*db, "b").await), (Some(1), None));
    assert_eq!(db.commit(Vec::new()).await.unwrap(), Committed::default());
}

async fn a_failed_expectation_names_its_statement(db: Arc<dyn Db>) {
    put(&*db, "a", 1).await;
    for (second, met) in [
        (Statement::one("add", ADD, ["a".into(), 1.into()]), true),
        (Statement::one("add", ADD, ["nobody".into(), 1.into()]), false),
        (Statement::any("add", ADD, ["nobody".into(), 1.into()]), true),
        (Statement::exists("find", FIND, ["a".into()]), true),
        (Statement::exists("find", FIND, ["nobody".into()]), false),
        (Statement::absent("find", FIND, ["nobody".into()]), true),
        (Statement::absent("find", FIND, ["a".into()]), false),
    ] {
        let before = value_of(&*db, "tokens.all").await;
        let (text, name) = (format!("{second:?}"), second.name);
        let answer = db.commit(vec![Statement::one("first", ADD, ["tokens.all".into(), 1.into()]), second]).await;
        assert!(
            if met {
                answer.is_ok()
            } else {
                matches!(answer, Err(DbError::ExpectationFailed(failed)) if failed == name)
            },
            "{text}"
        );
        assert_eq!(value_of(&*db, "tokens.all").await, before.map(|value| value + i64::from(met)), "{text}");
    }
}

async fn a_duplicate_names_its_statement(db: Arc<dyn Db>) {
    const TOKEN: &str = "INSERT INTO tokens (id, name, live_name, scopes, metadata, cidrs, created_at, created_by) \
                         VALUES ($1, $2, $3, '[]', '{}', '[]', 0, 'test')";
    let token = |name: &'static str, id: &str, live: Option<&str>| {
        Statement::one(name, TOKEN, [id.into(), "n".into(), live.into()])
    };
    db.commit(vec![token("a", "1", Some("n"))]).await.unwrap();
    assert!(matches!(db.commit(vec![token("a", "1", None)]).await, Err(DbError::Duplicate("a"))), "primary key");
    let second = db.commit(vec![token("a", "2", None), token("b", "3", Some("n"))]).await;
    assert!(matches!(second, Err(DbError::Duplicate("b"))));
    db.commit(vec![token("a", "4", None), token("b", "5", None)]).await.expect("names of revoked tokens may repeat");
}

async fn what_was_committed_is_read_at_once(db: Arc<dyn Db>) {
    put(&*db, "a", 0).await;
    for round in 1..=50 {
        db.commit(vec![Statement::one("add", ADD, ["a".into(), 1.into()])]).await.unwrap();
        assert_eq!(value_of(&*db, "a").await, Some(round));
        assert_eq!(db.query(Query::new(FIND, ["a".into()])).await.unwrap()[0].cursor().int().unwrap(), round);
    }
}

async fn returning_tells_what_this_batch_wrote(db: Arc<dyn Db>) {
    put(&*db, "a", 41).await;
    let add = "UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING value";
    let batch = vec![Statement::one("add", add, ["a".into()]), Statement::exists("find", FIND, ["a".into()])];
    let committed = db.commit(batch).await.unwrap();
    for name in ["add", "find"] {
        assert_eq!((committed.affected(name), committed.rows(name)), (1, &[Row(vec![42.into()])][..]), "{name}");
    }
    assert!(committed.find("another").is_none() && committed.rows("another").is_empty());
    let nobody = db.commit(vec![Statement::one("add", add, ["nobody".into()])]).await;
    assert!(matches!(nobody, Err(DbError::ExpectationFailed("add"))));
}

async fn many_callers_count_exactly(db: Arc<dyn Db>) {
    put(&*db, "a", 0).await;
    let callers = (0..64).map(|_| {
        let db = db.clone();
        tokio::spawn(async move {
            for _ in 0..4 {
                db.commit(vec![
                    Statement::one("add", ADD, ["a".into(), 1.into()]),
                    Statement::one("add", ADD, ["tokens.all".into(), 1.into()]),
                ])
                .await
                .unwrap();
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    assert_eq!((value_of(&*db, "a").await, value_of(&*db, "tokens.all").await), (Some(256), Some(256)));
}

async fn a_failing_batch_takes_nobody_with_it(db: Arc<dyn Db>) {
    put(&*db, "taken", 0).await;
    let callers = (0..60).map(|n| {
        let db = db.clone();
        tokio::spawn(async move {
            let count = Statement::one("add", ADD, ["tokens.all".into(), 1.into()]);
            let own = Statement::one("put", PUT, [format!("own{n}").into(), n.into()]);
            match n % 3 {
                0 => assert!(db.commit(vec![count, own]).await.is_ok()),
                1 => {
                    let taken = Statement::one("taken", PUT, ["taken".into(), 0.into()]);
                    assert!(matches!(db.commit(vec![count, own, taken]).await, Err(DbError::Duplicate("taken"))));
                }
                _ => {
                    let nobody = Statement::one("nobody", ADD, ["nobody".into(), 1.into()]);
                    assert!(matches!(
                        db.commit(vec![count, own, nobody]).await,
                        Err(DbError::ExpectationFailed("nobody"))
                    ));
                }
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    assert_eq!(value_of(&*db, "tokens.all").await, Some(20));
    let own = db.query(Query::new("SELECT name FROM counters WHERE name LIKE 'own%'", [])).await.unwrap();
    assert_eq!(own.len(), 20);
}

async fn of_many_conditional_changes_one_wins(db: Arc<dyn Db>) {
    put(&*db, "a", 0).await;
    let swap = "UPDATE counters SET value = $2 WHERE name = $1 AND value = $3";
    let callers = (1..=32_i64).map(|n| {
        let db = db.clone();
        tokio::spawn(
            async move { db.commit(vec![Statement::one("test", swap, ["a".into(), n.into(), 0.into()])]).await },
        )
    });
    let mut winners = 0;
    for caller in callers.collect::<Vec<_>>() {
        match caller.await.unwrap() {
            Ok(_) => winners += 1,
            Err(error) => assert!(matches!(error, DbError::ExpectationFailed(_)), "{error}"),
        }
    }
    assert_eq!(winners, 1);
}

/// The anomaly that READ COMMITTED and snapshot isolation allow: two batches read what the other one writes.
async fn what_a_batch_only_read_still_holds_when_it_commits(db: Arc<dyn Db>) {
    for round in 0..20 {
        let (left, right) = (format!("left{round}"), format!("right{round}"));
        let only_if_absent = |other: &str, own: &str| {
            let batch = vec![
                Statement::absent("find", FIND, [other.into()]),
                Statement::one("put", PUT, [own.into(), 1.into()]),
            ];
            let db = db.clone();
            tokio::spawn(async move { db.commit(batch).await.is_ok() })
        };
        let (first, second) = (only_if_absent(&left, &right), only_if_absent(&right, &left));
        let won = (first.await.unwrap(), second.await.unwrap());
        assert!(won.0 != won.1, "both or none in round {round}: {won:?}");
    }
}

async fn the_audit_log_only_grows(db: Arc<dyn Db>) {
    const ROW: &str = "INSERT INTO audit (id, at, actor, action, outcome, detail) VALUES ($1, 0, 'a', 'b', 'c', '{}')";
    db.commit(vec![Statement::one("row", ROW, ["1".into()])]).await.unwrap();
    for change in ["UPDATE audit SET actor = 'somebody else'", "DELETE FROM audit"] {
        let answer =
            db.commit(vec![Statement::one("row", ROW, ["2".into()]), Statement::any("test", change, [])]).await;
        assert!(matches!(answer, Err(DbError::Defect(_))), "{change}: {answer:?}");
    }
    let rows = db.query(Query::new("SELECT id, actor FROM audit", [])).await.unwrap();
    assert_eq!(rows, [Row(vec!["1".into(), "a".into()])]);
}

async fn a_wrong_statement_is_a_defect(db: Arc<dyn Db>) {
    for (sql, params) in [
        ("SELECT nothing FROM nowhere", vec![]),
        (FIND, vec![]),
        (FIND, vec!["a".into(), "b".into()]),
        ("INSERT INTO counters (name) VALUES ($1)", vec!["without a value".into()]),
    ] {
        let answer = db.commit(vec![Statement::any("test", sql, params)]).await;
        assert!(matches!(answer, Err(DbError::Defect(_))), "{sql}: {answer:?}");
    }
    put(&*db, "still", 1).await;
    let writes = db.query(Query::new(ADD, ["still".into(), 1.into()])).await;
    assert!(writes.is_err() || db.engine() == "postgres", "a query does not write");
}

async fn sweeps_stop_at_their_limit(db: Arc<dyn Db>) {
    const RECORD: &str = "INSERT INTO idempotency (key, request, subject, key_id, created_at, expires_at) \
                          VALUES ($1, $1, 's', 'k', 0, $2)";
    let record = |n: i64| Statement::one("record", RECORD, [n.to_be_bytes().into(), n.into()]);
    db.commit((0..1300).map(record).collect()).await.unwrap();
    let left = async || {
        let rows = db.query(Query::new("SELECT count(*), min(expires_at) FROM idempotency", [])).await.unwrap();
        let mut row = rows[0].cursor();
        (row.int().unwrap(), row.int().unwrap())
    };
    assert_eq!(sweep::idempotency(&*db, 0, 1199, 700).await.unwrap(), 700);
    assert_eq!(left().await.0, 600);
    assert_eq!(sweep::idempotency(&*db, 0, 1199, 700).await.unwrap(), 500);
    assert_eq!(left().await, (100, 1200));
    assert_eq!(sweep::idempotency(&*db, 0, 1199, 700).await.unwrap(), 0);
    let last = |key: [u8; 32]| Statement::one("record", RECORD, [Value::from(key), 5.into()]);
    db.commit(vec![last([0xff; 32]), last([0xfe; 32])]).await.unwrap();
    assert_eq!(sweep::idempotency(&*db, 0xff, 1199, 700).await.unwrap(), 1, "its own slice, to the last key");
    assert_eq!(sweep::idempotency(&*db, 0xfe, 1199, 700).await.unwrap(), 1);
    assert_eq!(sweep::expired(&*db, sweep::INVALIDATIONS, 1199, 700).await.unwrap(), 0);
}
