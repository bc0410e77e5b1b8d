//! What a clock that was wrong for a while leaves behind: nothing that lasts longer than it could have by a right one.

use serde_json::json;
use shared::wire::Parts;

use crate::call::Call;
use crate::env::{DAY, HOUR, MINUTE, Millis, SECOND};
use crate::ledger::Subscriber;
use crate::sessions::tests::PASSWORD;
use crate::testing::TestApp;

const YEAR: Millis = 365 * DAY;

/// A login of alice from an address: the code that it is refused with.
async fn login(app: &TestApp, address: &str, password: &str) -> &'static str {
    let call = Call { address: Some(address.parse().unwrap()), ..app.anonymous() };
    let body = json!({ "username": "alice", "password": password }).to_string();
    let route = app.registry.find("sessions.login").unwrap();
    match route.call(call, Parts { body: body.as_bytes(), ..Parts::default() }).await {
        Ok(_) => "",
        Err(error) => error.code.as_str(),
    }
}

#[tokio::test]
async fn a_lock_that_a_wrong_clock_has_set_is_void() {
    for jump in [YEAR, 3 * HOUR] {
        let app = TestApp::with("[login]\nmax_failures = 3\nmax_failures_per_address = 4\nlock_seconds = 60").await;
        app.user("alice", PASSWORD).await;
        app.clock.advance(jump);
        for _ in 0..4 {
            login(&app, "10.0.0.1", "wrong").await;
        }
        assert_eq!(login(&app, "10.0.0.1", PASSWORD).await, "rate_limited");
        assert_eq!(login(&app, "10.0.0.2", PASSWORD).await, "invalid_credentials", "the name is locked");
        app.clock.advance(-jump);
        let list = app.call("lockouts.list", json!({})).await.unwrap();
        assert_eq!(list["lockouts"], json!([]), "what is void is not shown as a lock");
        assert_eq!(login(&app, "10.0.0.2", PASSWORD).await, "", "the name is free");
        assert_eq!(login(&app, "10.0.0.1", PASSWORD).await, "", "the address is free");
        // They count again by the right clock.
        for _ in 0..4 {
            login(&app, "10.0.0.1", "wrong").await;
        }
        assert_eq!(login(&app, "10.0.0.1", PASSWORD).await, "rate_limited");
        app.clock.advance(61 * SECOND);
        assert_eq!(login(&app, "10.0.0.1", PASSWORD).await, "");
    }
}

/// It is refused as long as the clock is right, and would be good when the time comes.
#[tokio::test]
async fn a_void_session_can_be_revoked() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    app.clock.advance(10 * MINUTE);
    let token = app.token().await;
    app.clock.advance(-10 * MINUTE);
    assert!(!app.is_live(&token).await, "it is void");
    app.call("introspection.revoke", json!({ "token": token })).await.unwrap();
    app.clock.advance(10 * MINUTE);
    assert!(!app.is_live(&token).await, "it was revoked");
}

#[tokio::test]
async fn a_lock_without_end_stays_whatever_the_clock_does() {
    let app = TestApp::with("[login]\nmax_failures = 3\nmax_failures_per_address = 100000\nlock_seconds = 1").await;
    app.user("alice", PASSWORD).await;
    for _ in 0..100 {
        login(&app, "10.0.0.1", "wrong").await;
        app.clock.advance(MINUTE);
    }
    for jump in [YEAR, -2 * YEAR, YEAR] {
        app.clock.advance(jump);
        assert_eq!(login(&app, "10.0.0.1", PASSWORD).await, "invalid_credentials");
    }
}

#[tokio::test]
async fn a_session_that_a_wrong_clock_has_made_ends_with_it() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    let before = app.token().await;
    app.clock.advance(YEAR);
    let made = app.token().await;
    assert!(app.is_live(&made).await);
    let caller = app.caller(&made).await.unwrap();
    app.clock.advance(-YEAR);
    for _ in 0..2 {
        assert!(!app.is_live(&made).await, "cached or not");
        assert!(app.caller(&made).await.is_err());
        app.modules.sessions.forget_all();
    }
    let change = json!({ "password": PASSWORD, "new_password": "another good one" });
    app.call_as(caller, "sessions.change_password", change).await.expect_err("it may not change anything");
    let listed = app.call("sessions.list", json!({ "user": "alice" })).await.unwrap().to_string();
    let all = app.call("sessions.list", json!({})).await.unwrap().to_string();
    for list in [listed, all] {
        assert_eq!(list.matches("\"kind\":\"login\"").count(), 1, "one is live: {list}");
    }
    assert!(app.is_live(&before).await, "a session from before lives on");
}

#[tokio::test]
async fn clocks_that_differ_by_seconds_make_nothing_void() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    app.clock.advance(20 * SECOND);
    let made = app.token().await;
    app.clock.advance(-20 * SECOND);
    assert!(app.is_live(&made).await && app.caller(&made).await.is_ok());
}

#[tokio::test]
async fn the_grace_of_a_rotation_ends_with_the_wrong_clock() {
    let app = TestApp::new().await;
    let made = app.call("tokens.create", json!({ "name": "t", "scopes": ["read"] })).await.unwrap();
    let valid = async |token: &serde_json::Value| {
        app.call("tokens.validate", json!({ "token": token })).await.unwrap()["valid"] == true
    };
    app.clock.advance(YEAR);
    let rotate = json!({ "id": "t", "grace_seconds": 60 });
    let rotated = app.call("tokens.rotate", rotate).await.unwrap();
    assert!(valid(&made["token"]).await && valid(&rotated["token"]).await);
    app.clock.advance(-YEAR);
    assert!(!valid(&made["token"]).await, "cached");
    assert!(valid(&rotated["token"]).await);
}

#[tokio::test]
async fn the_last_use_of_a_token_is_that_of_the_right_clock() {
    let app = TestApp::new().await;
    let made = app.call("tokens.create", json!({ "name": "t", "scopes": ["read"] })).await.unwrap();
    let used = async || {
        app.call("tokens.validate", json!({ "token": made["token"] })).await.unwrap();
        app.modules.tokens.write_last_uses(std::future::ready(())).await;
        app.call("tokens.show", json!({ "id": "t" })).await.unwrap()["last_used_at"].clone()
    };
    app.clock.advance(YEAR);
    let ahead = used().await;
    app.clock.advance(-YEAR);
    let now = used().await;
    assert!(now.as_str() < ahead.as_str(), "{now} {ahead}");
}

#[tokio::test]
async fn an_idempotency_record_of_a_wrong_clock_is_replaced() {
    let app = TestApp::new().await;
    let create = |name: &str| json!({ "name": name, "scopes": ["read"], "idempotency_key": "once" });
    app.clock.advance(YEAR);
    app.call("tokens.create", create("a")).await.unwrap();
    assert_eq!(app.refused("tokens.create", create("b")).await, "idempotency_key_reused");
    app.clock.advance(-YEAR);
    app.call("tokens.create", create("b")).await.expect("the record is void");
    assert_eq!(app.refused("tokens.create", create("c")).await, "idempotency_key_reused");
}
