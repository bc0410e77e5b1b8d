//! The Ephemeral suite: in the database always, in Redis when `AUTHD_TEST_REDIS_URL` names one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::db::{DbEphemeral, SWEEP};
use super::redis::RedisEphemeral;
use super::{BoxFuture, Ephemeral};
use crate::db::{Db, Query, Statement, sweep, testing};
use crate::env::{DAY, Env, FixedClock, MINUTE, Millis};

/// A store and how to let its time pass.
struct Store {
    ephemeral: Arc<dyn Ephemeral>,
    clock: Option<Arc<FixedClock>>,
    /// A Redis is shared by all tests at once: keys begin with this.
    prefix: String,
}

impl Store {
    fn on_db(db: Arc<dyn Db>) -> Self {
        let (env, clock) = Env::fixed(DAY);
        Self { ephemeral: Arc::new(DbEphemeral::new(db, env)), clock: Some(clock), prefix: String::new() }
    }

    fn on_redis() -> Option<Self> {
        let url = std::env::var("AUTHD_TEST_REDIS_URL").ok()?;
        let ephemeral = Arc::new(RedisEphemeral::open(&url).expect("the URL is right"));
        Some(Self { ephemeral, clock: None, prefix: format!("{}:", Env::real().uuid()) })
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Waits until what ends by itself has ended: by the clock that tests move, or by asking a real one again and again.
    async fn until_gone(&self, key: &str, ttl: Millis) {
        if let Some(clock) = &self.clock {
            clock.advance(ttl);
            return assert_eq!(self.ephemeral.get(key).await.unwrap(), None, "ended, and not yet swept");
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.ephemeral.get(key).await.unwrap().is_some() {
            assert!(Instant::now() < deadline, "it never ended");
            tokio::task::yield_now().await;
        }
    }
}

macro_rules! on_every_engine {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let (db, _folder) = super::testing::sqlite();
                super::$name(super::Store::on_db(db)).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(db) = super::testing::postgres().await else { return };
                super::$name(super::Store::on_db(db)).await;
            })*
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(store) = super::Store::on_redis() else { return };
                super::$name(store).await;
            })*
        }
    };
}

on_every_engine! {
    a_value_is_there_until_its_end
    a_value_is_replaced
    exactly_one_caller_takes_a_value
    what_has_ended_is_not_taken
    increments_are_exact_and_end_with_the_first_ones_time
    check_answers
}

async fn a_value_is_there_until_its_end(store: Store) {
    let (at, key) = (&store.ephemeral, store.key("a"));
    assert_eq!(at.get(&key).await.unwrap(), None);
    let value = [0, 255, b'\r', b'\n', 0];
    at.put(&key, &value, 300).await.unwrap();
    assert_eq!(at.get(&key).await.unwrap(), Some(value.to_vec()));
    store.until_gone(&key, 300).await;
    at.put(&key, b"", MINUTE).await.unwrap();
    assert_eq!(at.get(&key).await.unwrap(), Some(Vec::new()), "an empty value is a value");
}

async fn a_value_is_replaced(store: Store) {
    let (at, key) = (&store.ephemeral, store.key("a"));
    at.put(&key, b"first", 200).await.unwrap();
    at.put(&key, b"second", MINUTE).await.unwrap();
    if let Some(clock) = &store.clock {
        clock.advance(300);
    }
    assert_eq!(at.get(&key).await.unwrap().as_deref(), Some(b"second".as_slice()));
}

async fn exactly_one_caller_takes_a_value(store: Store) {
    let key = store.key("a");
    store.ephemeral.put(&key, b"prize", MINUTE).await.unwrap();
    let callers = (0..32).map(|_| {
        let (at, key) = (store.ephemeral.clone(), key.clone());
        tokio::spawn(async move { at.take(&key).await.unwrap() })
    });
    let mut taken = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        taken.extend(caller.await.unwrap());
    }
    assert_eq!(taken, [b"prize"]);
    assert_eq!(store.ephemeral.get(&key).await.unwrap(), None);
}

async fn what_has_ended_is_not_taken(store: Store) {
    let key = store.key("a");
    store.ephemeral.put(&key, b"x", 50).await.unwrap();
    store.until_gone(&key, 50).await;
    assert_eq!(store.ephemeral.take(&key).await.unwrap(), None);
}

async fn increments_are_exact_and_end_with_the_first_ones_time(store: Store) {
    let key = store.key("a");
    let callers = (0..40).map(|_| {
        let (at, key) = (store.ephemeral.clone(), key.clone());
        tokio::spawn(async move { at.increment(&key, MINUTE).await.unwrap() })
    });
    let mut sums = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        sums.push(caller.await.unwrap());
    }
    sums.sort_unstable();
    assert_eq!(sums, (1..=40).collect::<Vec<_>>());
    for _ in 0..2 {
        store.ephemeral.take_back(&key).await.unwrap();
    }
    assert_eq!(store.ephemeral.increment(&key, MINUTE).await.unwrap(), 39);
    let new = store.key("new");
    store.ephemeral.take_back(&new).await.unwrap();
    assert_eq!(store.ephemeral.increment(&new, MINUTE).await.unwrap(), 1, "nothing was counted before");

    // Later calls do not prolong: a second counter with a short life ends although it is incremented all the time.
    let (at, short) = (&store.ephemeral, store.key("short"));
    assert_eq!(at.increment(&short, 300).await.unwrap(), 1);
    if let Some(clock) = &store.clock {
        clock.advance(299);
        assert_eq!(at.increment(&short, 300).await.unwrap(), 2);
        clock.advance(1);
        assert_eq!(at.increment(&short, 300).await.unwrap(), 1);
    } else {
        let deadline = Instant::now() + Duration::from_secs(5);
        while at.increment(&short, 300).await.unwrap() != 1 {
            assert!(Instant::now() < deadline, "it never ended");
        }
    }
}

async fn check_answers(store: Store) {
    store.ephemeral.check().await.unwrap();
}

#[tokio::test]
async fn what_a_wrong_clock_has_stored_is_void() {
    let (db, _folder) = testing::sqlite();
    let store = Store::on_db(db);
    let (at, clock) = (&store.ephemeral, store.clock.as_ref().unwrap());
    clock.advance(365 * DAY);
    for _ in 0..40 {
        at.increment("counter", MINUTE).await.unwrap();
    }
    at.put("value", b"x", MINUTE).await.unwrap();
    at.put("long", b"x", 365 * DAY).await.unwrap();
    clock.advance(-365 * DAY);
    assert_eq!(at.get("value").await.unwrap(), None);
    assert_eq!(at.take("value").await.unwrap(), None);
    for count in [1, 2] {
        assert_eq!(at.increment("counter", MINUTE).await.unwrap(), count);
    }
    clock.advance(365 * DAY + 2 * DAY);
    assert_eq!(at.get("long").await.unwrap(), None, "no value lives longer than a day");
}

#[tokio::test]
async fn ended_rows_are_swept() {
    let (db, _folder) = testing::sqlite();
    let store = Store::on_db(db.clone());
    for n in 0..10 {
        store.ephemeral.put(&format!("{n}"), b"x", (n + 1) * 10).await.unwrap();
    }
    assert_eq!(sweep::expired(&*db, SWEEP, DAY + 50, 3).await.unwrap(), 3);
    assert_eq!(sweep::expired(&*db, SWEEP, DAY + 50, 100).await.unwrap(), 2);
    let rows = db.query(Query::new("SELECT key FROM ephemeral", [])).await.unwrap();
    assert_eq!(rows.len(), 5);
}

/// What happens to whoever asks a store that is gone.
fn refusals(at: &dyn Ephemeral) -> [BoxFuture<'_, bool>; 4] {
    [
        Box::pin(async { at.put("a", b"x", MINUTE).await.is_err() }),
        Box::pin(async { at.take("a").await.is_err() }),
        Box::pin(async { at.increment("a", MINUTE).await.is_err() }),
        Box::pin(async { at.check().await.is_err() }),
    ]
}

#[tokio::test]
async fn a_redis_that_is_down_is_an_error_soon_and_no_obstacle_to_starting() {
    // A port that was free a moment ago: nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for url in [format!("redis://127.0.0.1:{port}"), format!("cluster+redis://127.0.0.1:{port}")] {
        let at = RedisEphemeral::open(&url).expect("starting needs no Redis");
        let begun = Instant::now();
        let [put, take, increment, check] = refusals(&at);
        assert_eq!(tokio::join!(put, take, increment, check), (true, true, true, true), "{url}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{url}");
    }
}

#[tokio::test]
async fn a_redis_that_does_not_answer_is_an_error_soon() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = RedisEphemeral::open(&format!("redis://{}", listener.local_addr().unwrap())).unwrap();
    let begun = Instant::now();
    assert!(at.get("a").await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_wrong_url_is_refused_without_its_password() {
    let error = RedisEphemeral::open("http://user:hunter2@host").unwrap_err().to_string();
    assert!(error.contains("REDIS_URL") && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn what_is_in_the_database_is_not_what_was_not_put() {
    let (db, _folder) = testing::sqlite();
    let store = Store::on_db(db.clone());
    store.ephemeral.increment("a", MINUTE).await.unwrap();
    assert_eq!(store.ephemeral.get("a").await.unwrap(), None, "a counter is not a value");
    db.commit(vec![Statement::any("test", "DELETE FROM ephemeral", [])]).await.unwrap();
    assert_eq!(store.ephemeral.increment("a", MINUTE).await.unwrap(), 1, "losing all of it is no harm");
}
