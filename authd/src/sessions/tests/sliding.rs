use serde_json::json;
use shared::wire::Parts;

use super::PASSWORD;
use crate::caller::Caller;
use crate::env::SECOND;
use crate::ledger::Subscriber;
use crate::testing::{NOW, TestApp};

#[tokio::test]
async fn a_session_slides_once_per_threshold() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    let token = app.token().await;
    app.clock.advance(29 * SECOND);
    let checked = app.check(&token).await;
    assert_eq!((&checked["renewed"], &checked["expires_at"]), (&json!(false), &json!(NOW / 1000 + 300)));
    app.clock.advance(SECOND);
    let checked = app.check(&token).await;
    assert_eq!((&checked["renewed"], &checked["expires_at"]), (&json!(true), &json!(NOW / 1000 + 330)));
    let reads = app.db_reads();
    let checked = app.check(&token).await;
    assert_eq!((&checked["renewed"], &checked["expires_at"]), (&json!(false), &json!(NOW / 1000 + 330)));
    assert_eq!(app.db_reads(), reads, "answered from the cache");
}

#[tokio::test]
async fn a_session_that_nobody_uses_ends() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    let token = app.token().await;
    app.clock.advance(300 * SECOND - 1);
    app.modules.sessions.forget_all();
    let (kept, lost) = (app.is_live(&token).await, app.token().await);
    assert!(kept, "a moment before its end");
    app.clock.advance(300 * SECOND);
    assert!(!app.is_live(&lost).await, "cached or not, it has ended");
    app.modules.sessions.forget_all();
    assert!(!app.is_live(&lost).await);
    assert!(app.caller(&lost).await.is_err());
}

#[tokio::test]
async fn no_use_keeps_a_session_alive_beyond_its_maximum() {
    let app = TestApp::with("[sessions]\nttl_seconds = 300\nmax_seconds = 1000").await;
    app.user("alice", PASSWORD).await;
    let token = app.token().await;
    for _ in 0..9 {
        app.clock.advance(100 * SECOND);
        assert!(app.is_live(&token).await);
    }
    let checked = app.check(&token).await;
    assert_eq!(checked["expires_at"], NOW / 1000 + 1000);
    app.clock.advance(99 * SECOND);
    assert!(app.is_live(&token).await);
    app.clock.advance(SECOND);
    assert!(!app.is_live(&token).await);
}

#[tokio::test]
async fn of_many_checks_at_once_one_renews_and_all_answer_its_end() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    let token = app.token().await;
    app.clock.advance(60 * SECOND);
    let checks: Vec<_> = (0..50).map(|_| app.spawn("sessions.check_token", json!({ "token": token }))).collect();
    let mut renewed = 0;
    for check in checks {
        let checked = check.await.unwrap().unwrap();
        assert_eq!(checked["expires_at"], NOW / 1000 + 360, "{checked}");
        renewed += i32::from(checked["renewed"] == true);
    }
    assert_eq!(renewed, 1);
}

#[tokio::test]
async fn a_renewal_that_races_with_a_logout_loses() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    for _ in 0..20 {
        let token = app.token().await;
        let caller = app.caller(&token).await.unwrap();
        app.clock.advance(60 * SECOND);
        let checking: Vec<_> = (0..4).map(|_| app.spawn("sessions.check_token", json!({ "token": token }))).collect();
        app.call_as(caller, "sessions.logout", json!({})).await.unwrap();
        for check in checking {
            check.await.unwrap().unwrap();
        }
        assert!(!app.is_live(&token).await);
    }
}

#[tokio::test]
async fn a_renewal_that_cannot_be_written_turns_nobody_away() {
    if crate::testing::on_postgres() {
        // Shared with other nodes, a cached session is not believed for that long.
        return;
    }
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    let token = app.token().await;
    assert!(app.is_live(&token).await);
    app.clock.advance(60 * SECOND);
    app.break_db(true);
    let checked = app.check(&token).await;
    assert_eq!((&checked["valid"], &checked["renewed"]), (&json!(true), &json!(false)));
    app.clock.advance(240 * SECOND);
    let check = json!({ "token": token });
    assert_eq!(app.refused("sessions.check_token", check).await, "unavailable", "the row may have been renewed late");
    app.break_db(false);
    assert!(!app.is_live(&token).await, "nor does it live longer for that");
}

/// The fields may come from the header and the body, which must not contradict each other.
#[tokio::test]
async fn two_tokens_in_one_question_are_refused() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    let (one, two) = (app.token().await, app.token().await);
    let route = app.registry.find("sessions.check_token").unwrap();
    let body = json!({ "token": one }).to_string();
    for (header, is_good) in [(&one, true), (&two, false)] {
        let headers = [("header_token", header.as_str())];
        let parts = Parts { headers: &headers, body: body.as_bytes(), ..Parts::default() };
        assert_eq!(route.call(app.anonymous(), parts).await.is_ok(), is_good);
    }
}

#[tokio::test]
async fn a_session_of_an_operator_may_rest_for_an_hour_and_that_of_others_for_five_minutes() {
    for (toml, idle) in [("", 3_600), ("[sessions]\noperator_ttl_seconds = 7200", 7_200)] {
        let app = TestApp::with(toml).await;
        app.user("alice", PASSWORD).await;
        let grant = json!({ "person_id": "alice", "service_id": "authd", "permission_id": "users.read" });
        app.call("grants.add_permission", grant).await.unwrap();
        let login = json!({ "username": "alice", "password": PASSWORD });
        let answer = app.call_as(Caller::Anonymous, "sessions.login", login.clone()).await.unwrap();
        let twelve_hours = NOW / 1000 + 12 * 3_600;
        assert_eq!(
            (&answer["expires_at"], &answer["max_expires_at"]),
            (&json!(NOW / 1000 + idle), &json!(twelve_hours))
        );
        let token = answer["token"].as_str().unwrap().to_owned();
        app.clock.advance(idle * SECOND - 1);
        app.modules.sessions.forget_all();
        assert_eq!(app.check(&token).await["expires_at"], NOW / 1000 + 2 * idle - 1, "it slides by as much");
        app.clock.advance(idle * SECOND);
        assert!(!app.is_live(&token).await);

        app.user("bob", PASSWORD).await;
        let now = app.env.now() / 1000;
        let login = json!({ "username": "bob", "password": PASSWORD });
        let answer = app.call_as(Caller::Anonymous, "sessions.login", login).await.unwrap();
        assert_eq!(answer["expires_at"], now + 300);
    }
}
