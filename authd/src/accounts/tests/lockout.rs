use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use serde_json::json;
use shared::wire::Parts;

use super::PASSWORD;
use crate::call::Call;
use crate::caller::Caller;
use crate::db::Query;
use crate::env::SECOND;
use crate::testing::TestApp;

const FEW: &str = "[login]\nmax_failures = 3\nmax_failures_per_address = 8\nlock_seconds = 60";

impl TestApp {
    /// The code of a login from an address: empty when it is let in.
    async fn login_from(&self, address: &str, username: &str, password: &str) -> &'static str {
        let call = Call { address: Some(address.parse().unwrap()), ..self.anonymous() };
        let body = json!({ "username": username, "password": password }).to_string();
        let route = self.registry.find("sessions.login").unwrap();
        match route.call(call, Parts { body: body.as_bytes(), ..Parts::default() }).await {
            Ok(_) => "",
            Err(error) => error.code.as_str(),
        }
    }
}

#[tokio::test]
async fn a_name_is_locked_after_failures_in_all_its_variants_and_after_a_restart() {
    let app = TestApp::with(FEW).await;
    app.user("alice", PASSWORD).await;
    for (address, variant) in [("10.0.0.1", "ALICE"), ("10.0.0.2", " alice "), ("10.0.0.3", "ａlice")] {
        assert_eq!(app.login_from(address, variant, "wrong").await, "invalid_credentials");
    }
    assert_eq!(app.login_from("10.0.0.4", "alice", PASSWORD).await, "invalid_credentials");
    let app = app.restarted().await;
    assert_eq!(app.login_from("10.0.0.4", "Alice", PASSWORD).await, "invalid_credentials");
    app.clock.advance(60 * SECOND);
    assert_eq!(app.login_from("10.0.0.4", "alice", PASSWORD).await, "");
    // The good login has cleared the name.
    for _ in 0..2 {
        app.login_from("10.0.0.5", "alice", "wrong").await;
    }
    assert_eq!(app.login_from("10.0.0.4", "alice", PASSWORD).await, "");
}

#[tokio::test]
async fn each_further_lock_is_longer_and_the_hundredth_failure_locks_for_good() {
    let app = TestApp::with("[login]\nmax_failures = 3\nmax_failures_per_address = 100000\nlock_seconds = 10").await;
    app.user("alice", PASSWORD).await;
    let lock = async |app: &TestApp| {
        let list = app.call("lockouts.list", json!({})).await.unwrap();
        let is_name = |lockout: &&serde_json::Value| lockout["id"] == "name:alice";
        list["lockouts"].as_array().unwrap().iter().find(is_name).cloned()
    };
    for round in 1..=33_i64 {
        for _ in 0..3 {
            app.login_from("10.0.0.1", "alice", "wrong").await;
        }
        let locked = lock(&app).await.unwrap_or_else(|| panic!("locked in round {round}"));
        assert_eq!(locked["failures"], round * 3);
        app.clock.advance((10 * round - 1) * SECOND);
        assert!(lock(&app).await.is_some(), "round {round}");
        app.clock.advance(SECOND);
        assert!(lock(&app).await.is_none(), "round {round}");
    }
    app.login_from("10.0.0.1", "alice", "wrong").await;
    app.clock.advance(365 * 86_400 * SECOND);
    assert_eq!(app.login_from("10.0.0.1", "alice", PASSWORD).await, "invalid_credentials");
    app.call("lockouts.clear", json!({ "id": "name:ALICE" })).await.unwrap();
    assert_eq!(app.login_from("10.0.0.1", "alice", PASSWORD).await, "");
}

#[tokio::test]
async fn guesses_sent_at_the_same_time_cannot_beat_the_lock() {
    let app = TestApp::with(FEW).await;
    app.user("alice", PASSWORD).await;
    let guess = |password: &str| json!({ "username": "alice", "password": password });
    let mut guesses: Vec<_> = (0..7).map(|_| app.spawn("sessions.login", guess("wrong"))).collect();
    for guess in guesses.drain(..) {
        assert!(guess.await.unwrap().is_err());
    }
    let list = app.call("lockouts.list", json!({})).await.unwrap();
    let name = list["lockouts"].as_array().unwrap().iter().find(|lockout| lockout["id"] == "name:alice").unwrap();
    assert_eq!(name["failures"], 3, "only three of seven were looked at: {list}");
    assert_eq!(app.login_from("10.0.0.1", "alice", PASSWORD).await, "invalid_credentials");
}

#[tokio::test]
async fn an_address_that_guesses_at_many_names_has_to_wait() {
    let app = TestApp::with(FEW).await;
    app.user("alice", PASSWORD).await;
    for number in 0..8 {
        assert_eq!(app.login_from("2001:db8::1", &format!("nobody-{number}"), "x").await, "invalid_credentials");
    }
    // The /64 is one address, and a right password does not help it.
    assert_eq!(app.login_from("2001:db8::2", "alice", PASSWORD).await, "rate_limited");
    assert_eq!(app.login_from("2001:db8:0:1::1", "alice", PASSWORD).await, "");
    app.clock.advance(60 * SECOND);
    assert_eq!(app.login_from("2001:db8::2", "alice", PASSWORD).await, "");
}

#[tokio::test]
async fn an_address_that_has_to_wait_counts_against_nobody() {
    let app = TestApp::with(FEW).await;
    app.user("alice", PASSWORD).await;
    for number in 0..8 {
        app.login_from("10.0.0.1", &format!("nobody-{number}"), "x").await;
    }
    for _ in 0..3 {
        assert_eq!(app.login_from("10.0.0.1", "alice", "x").await, "rate_limited");
        assert_eq!(app.login_from("10.0.0.1", "somebody new", "x").await, "rate_limited");
    }
    let list = app.call("lockouts.list", json!({ "all": true })).await.unwrap().to_string();
    assert!(!list.contains("name:alice") && !list.contains("somebody new"), "{list}");
    assert_eq!(app.login_from("10.0.0.2", "alice", PASSWORD).await, "");
}

#[tokio::test]
async fn names_that_nobody_can_have_share_a_counter() {
    let app = TestApp::with(FEW).await;
    for (number, sign) in ["a", "b", "\u{fdfa}"].into_iter().enumerate() {
        app.login_from(&format!("10.0.0.{number}"), &sign.repeat(500), "x").await;
    }
    let list = app.call("lockouts.list", json!({ "all": true })).await.unwrap();
    let names: Vec<_> = list["lockouts"].as_array().unwrap().iter().map(|lockout| lockout["id"].clone()).collect();
    assert_eq!(names.iter().filter(|id| id.as_str().unwrap().starts_with("name:")).count(), 1, "{names:?}");
}

#[tokio::test]
async fn looking_for_a_good_password_is_no_failure() {
    let app = TestApp::with(FEW).await;
    app.user("alice", PASSWORD).await;
    let token = app.token().await;
    let caller = app.caller(&token).await.unwrap();
    for _ in 0..4 {
        let short = json!({ "password": PASSWORD, "new_password": "short" });
        assert_eq!(app.refused_as(caller.clone(), "sessions.change_password", short).await, "validation_failed");
    }
    assert_eq!(app.login_from("10.0.0.1", "alice", PASSWORD).await, "");
}

#[tokio::test]
async fn an_attempt_at_which_nothing_was_tried_is_taken_back() {
    let app = TestApp::with(FEW).await;
    app.user("alice", PASSWORD).await;
    let address = Some("10.0.0.1".parse().unwrap());
    for _ in 0..12 {
        let attempt = super::super::lockout::LoginAttempt::new("alice", address);
        assert!(attempt.count(&app.base, &app.config.login).await.unwrap());
        app.base.db.commit(attempt.take_back()).await.unwrap();
    }
    assert_eq!(app.login_from("10.0.0.1", "alice", PASSWORD).await, "");
    // A lock that others have run into stays.
    for _ in 0..4 {
        app.login_from("10.0.0.2", "alice", "wrong").await;
    }
    let attempt = super::super::lockout::LoginAttempt::new("alice", address);
    assert!(!attempt.count(&app.base, &app.config.login).await.unwrap());
    app.base.db.commit(attempt.take_back()).await.unwrap();
    assert_eq!(app.login_from("10.0.0.1", "alice", PASSWORD).await, "invalid_credentials");
}

#[tokio::test]
async fn good_logins_do_not_wash_an_addresss_failures_away() {
    let app = TestApp::with(FEW).await;
    app.user("alice", PASSWORD).await;
    for number in 0..8 {
        assert_eq!(app.login_from("10.0.0.1", &format!("nobody-{number}"), "x").await, "invalid_credentials");
        let expected = if number < 7 { "" } else { "rate_limited" };
        assert_eq!(app.login_from("10.0.0.1", "alice", PASSWORD).await, expected, "{number}");
    }
}

#[tokio::test]
async fn lock_outs_are_listed_page_by_page_and_cleared() {
    let app = TestApp::with(FEW).await;
    for name in ["a", "b", "c"] {
        app.login_from("10.0.0.1", name, "wrong").await;
    }
    assert_eq!(app.call("lockouts.list", json!({})).await.unwrap()["lockouts"], json!([]));
    let page = app.call("lockouts.list", json!({ "all": true, "limit": 3 })).await.unwrap();
    let ids: Vec<_> = page["lockouts"].as_array().unwrap().iter().map(|lockout| lockout["id"].clone()).collect();
    assert_eq!(ids, ["address:10.0.0.1", "name:a", "name:b"]);
    let rest = app.call("lockouts.list", json!({ "all": true, "cursor": page["next_cursor"] })).await.unwrap();
    assert_eq!(rest["lockouts"][0]["id"], "name:c");
    app.call("lockouts.clear", json!({ "id": "address:10.0.0.1" })).await.unwrap();
    assert_eq!(app.refused("lockouts.clear", json!({ "id": "address:10.0.0.1" })).await, "not_found");
    assert_eq!(app.refused("lockouts.clear", json!({ "id": "10.0.0.1" })).await, "validation_failed");
}

impl TestApp {
    /// A login whose client disconnects as soon as it has sent its request.
    async fn cut_login(&self, username: &str, password: &str) {
        let body = json!({ "username": username, "password": password });
        let mut login = Box::pin(self.later_as(Caller::Anonymous, "sessions.login", body));
        assert!(poll_fn(|context| Poll::Ready(login.as_mut().poll(context))).await.is_pending());
    }

    async fn count(&self, sql: &'static str) -> i64 {
        self.base.db.query(Query::new(sql, [])).await.unwrap()[0].cursor().int().unwrap()
    }

    /// Waits until a query counts this many.
    async fn until(&self, sql: &'static str, wanted: i64) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.count(sql).await != wanted {
            assert!(Instant::now() < deadline, "{sql} is not {wanted}");
            tokio::task::yield_now().await;
        }
    }
}

const REFUSED: &str = "SELECT COUNT(*) FROM audit WHERE action = 'sessions.login' AND outcome = 'refused'";
const LET_IN: &str = "SELECT COUNT(*) FROM audit WHERE action = 'sessions.login' AND outcome = 'ok'";
const FAILURES: &str = "SELECT CAST(COALESCE(SUM(failures), 0) AS BIGINT) FROM login_attempts WHERE key = 'name:alice'";
/// Alice's row, if nothing counts in it.
const REVERTED: &str = "SELECT COUNT(*) FROM login_attempts WHERE key = 'name:alice' AND failures = 0";

#[tokio::test]
async fn a_login_that_is_cut_off_is_judged_by_its_password() {
    let app = TestApp::with(FEW).await;
    app.user("alice", PASSWORD).await;
    for number in 1..=12 {
        app.cut_login("alice", PASSWORD).await;
        app.until(LET_IN, number).await;
    }
    assert_eq!(app.count(FAILURES).await, 0, "a cut connection is no failure");
    for number in 1..=3 {
        app.cut_login("alice", "wrong").await;
        app.until(REFUSED, number).await;
    }
    assert_eq!(app.count(FAILURES).await, 3, "and saves no guess");
    assert_eq!(app.login_from("10.0.0.1", "alice", PASSWORD).await, "invalid_credentials");
}

#[tokio::test]
async fn the_end_of_the_daemon_waits_for_logins_that_were_cut_off() {
    let app = TestApp::with(FEW).await;
    app.user("alice", PASSWORD).await;
    app.cut_login("alice", PASSWORD).await;
    app.modules.accounts.detached.finish(Duration::from_secs(30)).await;
    assert_eq!((app.count(LET_IN).await, app.count(FAILURES).await), (1, 0));
}

#[tokio::test]
async fn a_right_password_that_is_answered_503_is_no_failure() {
    let app = TestApp::with(FEW).await;
    app.user("alice", PASSWORD).await;
    app.set_deadline(Duration::from_secs(2));
    let stalled = app.stall_next_change();
    assert_eq!(app.login_from("10.0.0.1", "alice", PASSWORD).await, "unavailable");
    app.until(REVERTED, 1).await;
    drop(stalled);
    app.until(LET_IN, 1).await;
    assert_eq!(app.login_from("10.0.0.1", "alice", PASSWORD).await, "");
    assert_eq!(app.count(FAILURES).await, 0);
}

#[tokio::test]
async fn a_count_that_is_committed_after_its_503_is_reverted() {
    let app = TestApp::with(FEW).await;
    app.user("alice", PASSWORD).await;
    app.set_deadline(Duration::from_millis(50));
    let (go_on, goes_on) = tokio::sync::oneshot::channel();
    app.before_next("count_name", async { goes_on.await.unwrap() });
    assert_eq!(app.login_from("10.0.0.1", "alice", "wrong").await, "unavailable");
    assert_eq!(app.count("SELECT COUNT(*) FROM login_attempts").await, 0);
    go_on.send(()).unwrap();
    app.until(REVERTED, 1).await;
}

#[tokio::test]
async fn a_count_is_reverted_when_the_database_works_again() {
    let app = TestApp::with(FEW).await;
    app.user("alice", PASSWORD).await;
    let attempt = super::super::lockout::LoginAttempt::new("alice", None);
    assert!(attempt.count(&app.base, &app.config.login).await.unwrap());
    app.break_db(true);
    attempt.revert(&app.base).await;
    app.break_db(false);
    app.until(REVERTED, 1).await;
}

#[tokio::test]
async fn a_right_password_is_no_failure_whatever_becomes_of_the_change() {
    let app = TestApp::with(FEW).await;
    let alice = app.user("alice", PASSWORD).await;
    let caller = app.caller(&app.token().await).await.unwrap();
    let reset = app.later("users.update", json!({ "id": alice, "password": "set by an administrator" }));
    app.before_next_change(async { drop(reset.await.unwrap()) });
    let change = json!({ "password": PASSWORD, "new_password": "another horse battery" });
    assert_eq!(app.refused_as(caller, "sessions.change_password", change).await, "invalid_token");
    assert_eq!(app.count(FAILURES).await, 0);
}
