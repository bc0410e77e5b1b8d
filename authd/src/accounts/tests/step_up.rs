use serde_json::{Value, json};

use super::PASSWORD;
use super::factors::MANY;
use crate::accounts::factors::testing::{code, insert};
use crate::accounts::lockout::{MAX_STEP_UPS, STEP_UP_WINDOW};
use crate::caller::{Caller, Permissions};
use crate::env::SECOND;
use crate::sessions::model::FRESH;
use crate::testing::TestApp;

#[tokio::test]
async fn turning_totp_off_takes_password_and_code_and_ends_the_other_sessions() {
    let app = TestApp::with(MANY).await;
    app.alice_with_totp().await;
    let (own, other) = (app.token_by_code(-1).await, app.token_by_code(0).await);
    let alice = app.caller(&own).await.unwrap();
    for (password, code) in [
        ("wrong", code(&app.base, 1)),
        (PASSWORD, "000000".into()),
        (PASSWORD, code(&app.base, 0)),
        (PASSWORD, String::new()),
    ] {
        let disable = json!({ "password": password, "code": code });
        assert_eq!(app.refused_as(alice.clone(), "factors.disable_totp", disable).await, "validation_failed");
    }
    assert_eq!(app.failures().await, 4);
    let disable = json!({ "password": PASSWORD, "code": code(&app.base, 1) });
    app.call_as(alice.clone(), "factors.disable_totp", disable.clone()).await.unwrap();
    assert!(app.is_live(&own).await && !app.is_live(&other).await);
    assert_eq!(app.login_with(PASSWORD, None).await, "");
    assert_eq!(app.login_with(PASSWORD, Some("a client that always sends something")).await, "");
    for operation in ["factors.disable_totp", "factors.renew_recovery_codes"] {
        assert_eq!(
            app.refused_as(alice.clone(), operation, disable.clone()).await,
            "conflict",
            "{operation}: it is off"
        );
    }
    assert_eq!(app.number("SELECT COUNT(*) FROM recovery_codes").await, 0);
}

/// Between the judgement of a login and its commit.
#[tokio::test]
async fn a_login_without_a_code_is_refused_if_totp_is_turned_on_meanwhile() {
    let app = TestApp::new().await;
    let alice = app.user("alice", PASSWORD).await;
    let base = app.base.clone();
    app.before_next_change(async move { insert(&base, alice, true).await });
    assert_eq!(app.login_with(PASSWORD, None).await, "invalid_credentials");
    assert_eq!(app.number("SELECT COUNT(*) FROM sessions").await, 0);
}

#[tokio::test]
async fn a_session_is_fresh_for_five_minutes_after_its_proof() {
    let app = TestApp::with("[sessions]\nttl_seconds = 3600").await;
    app.alice_with_totp().await;
    let alice = app.caller(&app.token_by_code(-1).await).await.unwrap();
    let Caller::User { session, .. } = alice else { panic!("a person") };
    let is_fresh = async || app.modules.sessions.is_fresh(session).await.unwrap();
    app.clock.advance(FRESH - 1);
    assert!(is_fresh().await, "the sign-in proved everything");
    app.clock.advance(1);
    assert!(!is_fresh().await);
    let change =
        |totp: Option<&str>| json!({ "password": PASSWORD, "new_password": "another good phrase", "totp": totp });
    assert_eq!(app.refused_as(alice.clone(), "sessions.change_password", change(None)).await, "totp_required");
    assert_eq!(
        app.refused_as(alice.clone(), "sessions.change_password", change(Some("000000"))).await,
        "validation_failed"
    );

    let again = |password: &str, totp: Option<String>| json!({ "password": password, "totp": totp });
    let used = code(&app.base, 0);
    for (password, totp, refusal) in [
        (PASSWORD, None, "totp_required"),
        ("wrong", Some(used.clone()), "validation_failed"),
        (PASSWORD, Some("000000".into()), "validation_failed"),
    ] {
        assert_eq!(app.refused_as(alice.clone(), "sessions.reauthenticate", again(password, totp)).await, refusal);
        assert!(!is_fresh().await);
    }
    let proven =
        app.call_as(alice.clone(), "sessions.reauthenticate", again(PASSWORD, Some(used.clone()))).await.unwrap();
    assert_eq!(proven, json!({ "fresh_until": "2027-01-15T08:10:00Z" }));
    assert_eq!((is_fresh().await, app.failures().await), (true, 0));
    assert_eq!(
        app.refused_as(alice.clone(), "sessions.reauthenticate", again(PASSWORD, Some(used))).await,
        "validation_failed"
    );
    // A fresh session changes the password without another code; a session that was not fresh, with one.
    app.call_as(alice.clone(), "sessions.change_password", change(None)).await.unwrap();
    app.clock.advance(FRESH);
    let change = json!({ "password": "another good phrase", "new_password": PASSWORD, "totp": code(&app.base, 0) });
    app.call_as(alice, "sessions.change_password", change).await.unwrap();
    // Who has no second factor proves the password.
    app.user("bob", PASSWORD).await;
    let bob = app.sign_in("bob", PASSWORD).await["token"].as_str().unwrap().to_owned();
    app.call_by(&bob, "sessions.reauthenticate", json!({ "password": PASSWORD })).await;
}

#[tokio::test]
async fn right_passwords_are_bounded_as_well_as_wrong_ones() {
    let app = TestApp::with("[sessions]\nttl_seconds = 43200").await;
    app.user("alice", PASSWORD).await;
    app.user("bob", PASSWORD).await;
    let (token, bob) = (app.token().await, app.sign_in("bob", PASSWORD).await["token"].as_str().unwrap().to_owned());
    let alice = app.caller(&token).await.unwrap();
    let again = json!({ "password": PASSWORD });
    for _ in 0..MAX_STEP_UPS {
        app.call_as(alice.clone(), "sessions.reauthenticate", again.clone()).await.unwrap();
    }
    let written = || app.number("SELECT COUNT(*) FROM audit");
    let before = written().await;
    for operation in ["sessions.reauthenticate", "factors.enable_totp"] {
        let error = app.call_as(alice.clone(), operation, again.clone()).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.retry_after), ("rate_limited", Some(3_601)), "{operation}");
    }
    assert_eq!((written().await, app.failures().await), (before, 0), "nothing is written, and it is no failure");
    app.call_by(&bob, "sessions.reauthenticate", again.clone()).await;
    assert_eq!(app.login_with(PASSWORD, None).await, "", "a sign-in is none");
    let list = app.call("lockouts.list", json!({ "all": true })).await.unwrap().to_string();
    assert!(!list.contains("step_up"), "{list}");
    app.clock.advance(STEP_UP_WINDOW);
    app.call_as(alice, "sessions.reauthenticate", again).await.unwrap();
}

#[tokio::test]
async fn who_resets_a_totp_needs_what_its_owner_has() {
    let app = TestApp::new().await;
    let alice = app.alice_with_totp().await;
    let token = app.token_by_code(0).await;
    let must = async |operation: &str, fields: Value| app.call(operation, fields).await.unwrap();
    let scoped = async |scopes: &[&str]| {
        let minted = must("tokens.create", json!({ "name": scopes.join("+"), "scopes": scopes })).await;
        app.caller(minted["token"].as_str().unwrap()).await.unwrap()
    };
    let (users, both) =
        (scoped(&["authd:users.write"]).await, scoped(&["authd:users.write", "authd:access.write"]).await);
    let reset = json!({ "id": "alice" });
    for (permission, service) in [("orders.read", "shop"), ("audit.read", "authd")] {
        if service == "shop" {
            must("services.create", json!({ "name": service })).await;
            must("permissions.create", json!({ "name": permission })).await;
        }
        let grant = json!({ "person_id": "alice", "service_id": service, "permission_id": permission });
        must("grants.add_permission", grant.clone()).await;
        assert_eq!(app.refused_as(users.clone(), "factors.reset_totp", reset.clone()).await, "forbidden", "{service}");
        if service == "authd" {
            assert_eq!(app.refused_as(both.clone(), "factors.reset_totp", reset.clone()).await, "forbidden");
        }
        must("grants.remove_permission", grant).await;
    }
    assert!(app.is_live(&token).await);
    app.call_as(users.clone(), "factors.reset_totp", reset.clone()).await.unwrap();
    assert!(!app.is_live(&token).await, "every session has ended");
    assert_eq!(app.login_with(PASSWORD, None).await, "");
    assert_eq!(app.refused_as(users, "factors.reset_totp", reset.clone()).await, "conflict", "it is off");
    let audit = must("audit.list", json!({ "action": "factors.reset_totp", "limit": 1 })).await;
    assert_eq!(audit["entries"][0]["subject"], json!(alice));
    assert_eq!(app.refused("factors.reset_totp", json!({ "id": "nobody" })).await, "not_found");
    let person = Caller::User {
        id: alice,
        username: "alice".into(),
        session: shared::id::SessionId(app.env.uuid()),
        permissions: Permissions::NONE,
    };
    assert_eq!(app.refused_as(person, "factors.reset_totp", reset).await, "forbidden", "not even of one's own");
}

#[tokio::test]
async fn a_deleted_user_leaves_no_factor() {
    let app = TestApp::new().await;
    app.alice_with_totp().await;
    let alice = app.caller(&app.token_by_code(-1).await).await.unwrap();
    app.recovery_codes(alice, 0).await;
    app.call("users.delete", json!({ "id": "alice" })).await.unwrap();
    assert_eq!(
        app.number("SELECT COUNT(*) FROM factors").await + app.number("SELECT COUNT(*) FROM recovery_codes").await,
        0
    );
}

#[tokio::test]
async fn a_secret_that_another_node_sealed_with_a_newer_key_is_opened() {
    let app = TestApp::new().await;
    let alice = app.user("alice", PASSWORD).await;
    let config = &app.config;
    let there = crate::daemon::base(config, app.env.clone(), app.base.db.clone()).await.unwrap();
    // Keys sort by the time of their creation.
    app.clock.advance(SECOND);
    there.keys.rotate(crate::keys::Purpose::Seal, 0).await.unwrap();
    insert(&there, alice, true).await;
    assert_eq!(app.login_with(PASSWORD, Some(&code(&app.base, 0))).await, "");
}
