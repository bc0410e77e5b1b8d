use serde_json::json;

use shared::api::sessions::SessionKind;
use shared::id::SessionId;

use super::PASSWORD;
use crate::caller::Caller;
use crate::db::{Query, Statement, Value};
use crate::env::DAY;
use crate::ledger::Subscriber;
use crate::sessions::store::{self, NewLogin};
use crate::testing::{NOW, TestApp};
use crate::users::store as users;

#[tokio::test]
async fn a_login_makes_a_session_that_checks_know() {
    let app = TestApp::new().await;
    let user = app.user("Alice", PASSWORD).await;
    let answer = app.sign_in("alice", PASSWORD).await;
    let token = answer["token"].as_str().unwrap();
    assert!(token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    assert_eq!(answer["expires_at"], NOW / 1000 + 300);
    assert_eq!(answer["payload"], json!({ "user_id": user, "username": "Alice", "name": "Alice" }));
    let expected =
        json!({ "valid": true, "payload": answer["payload"], "renewed": false, "expires_at": NOW / 1000 + 300 });
    assert_eq!(app.check(token).await, expected);
    for field in ["token", "header_token", "bearer"] {
        let checked = app.call("sessions.check_token", json!({ field: token })).await.unwrap();
        assert_eq!(checked, expected, "{field}");
    }
    let profile = app.call("sessions.profile", json!({ "bearer": token })).await;
    assert!(profile.is_err(), "it is for people");
    let caller = app.caller(token).await.unwrap();
    let profile = app.call_as(caller, "sessions.profile", json!({ "bearer": token })).await.unwrap();
    assert_eq!(profile, json!({ "payload": answer["payload"], "renewed": false, "expires_at": NOW / 1000 + 300 }));
}

#[tokio::test]
async fn other_spellings_of_the_fields_are_known() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    app.call("sessions.login", json!({ "user": "ALICE ", "pass": PASSWORD })).await.unwrap();
    assert_eq!(app.refused("sessions.login", json!({ "user": "alice" })).await, "validation_failed");
}

#[tokio::test]
async fn every_login_is_a_session_of_its_own() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    let (first, second) = (app.token().await, app.token().await);
    assert_ne!(first, second);
    assert_eq!(app.call_by(&first, "sessions.logout", json!({})).await, json!({ "status": "logged_out" }));
    assert_eq!(app.check(&first).await, json!({ "valid": false, "error": "invalid_token" }));
    assert!(app.is_live(&second).await);
    assert!(app.caller(&first).await.is_err());
}

#[tokio::test]
async fn of_a_token_only_its_hash_is_stored() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    let token = app.token().await;
    let rows = app.base.db.query(Query::new("SELECT token_hash, id, attributes FROM sessions", [])).await.unwrap();
    assert_eq!(rows[0].0[0], Value::Bytes(crate::sessions::lookup::hash(&token).to_vec()));
    let audit = app.call("audit.list", json!({})).await.unwrap().to_string();
    assert!(!audit.contains(&token) && !audit.contains(PASSWORD));
}

#[tokio::test]
async fn what_is_no_token_is_refused_without_a_look() {
    let app = TestApp::new().await;
    for token in ["", "nonsense", &"A".repeat(64), &"a".repeat(63), &"g".repeat(64)] {
        let reads = app.db_reads();
        assert_eq!(app.check(token).await["error"], "invalid_token", "{token}");
        assert_eq!(app.db_reads(), reads, "{token}");
    }
    assert_eq!(app.check(&"a".repeat(64)).await["error"], "invalid_token");
}

#[tokio::test]
async fn a_token_of_another_user_is_told_apart() {
    let app = TestApp::new().await;
    let alice = app.user("alice", PASSWORD).await;
    let bob = app.user("bob", PASSWORD).await;
    let token = app.token().await;
    let check =
        async |user| app.call("sessions.check_token", json!({ "token": token, "user_id": user })).await.unwrap();
    assert_eq!(check(alice).await["valid"], true);
    assert_eq!(check(bob).await, json!({ "valid": false, "error": "user_mismatch" }));
}

#[tokio::test]
async fn refusals_look_the_same_whatever_is_wrong() {
    let app = TestApp::with("[login]\nmax_failures = 3").await;
    app.user("alice", PASSWORD).await;
    app.user("locked", PASSWORD).await;
    let disabled = app.user("disabled", PASSWORD).await;
    let disable =
        Statement::one("test", "UPDATE users SET status = 'inactive' WHERE id = $1", [disabled.to_string().into()]);
    app.base.db.commit(vec![disable]).await.unwrap();
    for _ in 0..3 {
        app.login_refused("locked", "wrong").await;
    }
    let mut answers = Vec::new();
    for (username, password) in [
        ("nobody", "wrong"),
        ("alice", "wrong"),
        ("locked", PASSWORD),
        ("disabled", PASSWORD),
        ("", ""),
        ("a\u{1}b", "x"),
    ] {
        let login = json!({ "username": username, "password": password });
        let error = app.call("sessions.login", login).await.unwrap_err();
        answers.push((error.code, error.detail, error.fields, error.retry_after));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    assert_eq!(answers[0].0.as_str(), "invalid_credentials");
}

/// Ended elsewhere, or by somebody who has not come to forget it yet: ending it again makes sure.
#[tokio::test]
async fn ending_what_has_ended_forgets_it() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    let token = app.token().await;
    let Caller::User { session, .. } = app.caller(&token).await.unwrap() else { unreachable!() };
    let elsewhere = Statement::any("test", "UPDATE sessions SET ended_at = $1", [Value::from(NOW)]);
    app.base.db.commit(vec![elsewhere]).await.unwrap();
    assert!(app.is_live(&token).await, "nobody told the cache");
    app.call("sessions.end", json!({ "id": session })).await.unwrap();
    assert!(!app.is_live(&token).await);
}

#[tokio::test]
async fn a_database_that_is_down_is_never_a_wrong_password() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    let token = app.token().await;
    app.modules.sessions.forget_all();
    app.break_db(true);
    assert_eq!(app.login_refused("alice", PASSWORD).await, "unavailable");
    assert_eq!(app.login_refused("nobody", PASSWORD).await, "unavailable");
    assert_eq!(app.refused("sessions.check_token", json!({ "token": token })).await, "unavailable");
    app.break_db(false);
    assert!(app.is_live(&token).await);
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    let (own, other) = (app.token().await, app.token().await);
    let caller = app.caller(&own).await.unwrap();
    let change = |old: &str, new: &str| json!({ "password": old, "new_password": new });
    for (old, new) in
        [("wrong", "another good phrase"), (PASSWORD, "short"), (PASSWORD, PASSWORD), (PASSWORD, "password")]
    {
        let refused = app.refused_as(caller.clone(), "sessions.change_password", change(old, new)).await;
        assert_eq!(refused, "validation_failed", "{new}");
    }
    let audit = app.call("audit.list", json!({ "action": "sessions.change_password" })).await.unwrap();
    let guesses: Vec<_> = audit["entries"].as_array().unwrap().iter().map(|entry| &entry["outcome"]).collect();
    assert_eq!(guesses, ["refused"], "a wrong password is remembered, one that is not good enough is not");
    assert!(app.is_live(&other).await);
    app.call_as(caller, "sessions.change_password", change(PASSWORD, "another good phrase")).await.unwrap();
    assert!(app.is_live(&own).await);
    assert!(!app.is_live(&other).await);
    assert_eq!(app.login_refused("alice", PASSWORD).await, "invalid_credentials");
    app.sign_in("alice", "another good phrase").await;
}

/// Sessions of a clock that was a year ahead are void, and must not count.
#[tokio::test]
async fn void_sessions_end_no_login() {
    let app = TestApp::new().await;
    let user = app.user("alice", PASSWORD).await;
    let person = users::find_login(app.base.db.as_ref(), user).await.unwrap().unwrap();
    let ahead = NOW + 365 * DAY;
    let login = |number: u16| NewLogin {
        id: SessionId(app.env.uuid()),
        kind: SessionKind::Login,
        user,
        hash: std::array::from_fn(|index| if index < 2 { number.to_be_bytes()[index] } else { 7 }),
        now: ahead,
        idle_expires_at: ahead + 300_000,
        absolute_expires_at: ahead + 3_600_000,
        address: None,
        password_changed_at: person.password_changed_at,
        proved_at: Some(NOW),
        provider: None,
        is_operator: false,
    };
    app.base.db.commit((0..300).map(|number| store::insert_login(&login(number))).collect()).await.unwrap();
    let token = app.token().await;
    assert!(app.is_live(&token).await);
}

#[tokio::test]
async fn a_login_too_many_ends_the_session_that_would_end_first() {
    let app = TestApp::new().await;
    let user = app.user("alice", PASSWORD).await;
    let first = app.token().await;
    app.clock.advance(1);
    let second = app.token().await;
    let person = users::find_login(app.base.db.as_ref(), user).await.unwrap().unwrap();
    let login = |number: u8| NewLogin {
        id: SessionId(app.env.uuid()),
        kind: SessionKind::Login,
        user,
        hash: [number; 32],
        now: NOW + 1,
        idle_expires_at: NOW + 300_010 + i64::from(number),
        absolute_expires_at: NOW + 3_600_000,
        address: None,
        password_changed_at: person.password_changed_at,
        proved_at: Some(NOW),
        provider: None,
        is_operator: false,
    };
    app.base.db.commit((1..=254).map(|number| store::insert_login(&login(number))).collect()).await.unwrap();
    assert!(app.is_live(&first).await && app.is_live(&second).await, "256 are not too many");
    app.clock.advance(1_000);
    let third = app.token().await;
    assert!(!app.is_live(&first).await && app.is_live(&second).await && app.is_live(&third).await);
    let list = app.call("sessions.list", json!({ "user": "alice", "limit": 1_000 })).await.unwrap();
    assert_eq!(list["sessions"].as_array().unwrap().len(), 256);
    let all = json!({ "user": "alice", "limit": 1_000, "include_ended": true });
    let list = app.call("sessions.list", all).await.unwrap();
    let ended = list["sessions"].as_array().unwrap().iter().filter(|session| session["end_reason"] == "too_many");
    assert_eq!(ended.count(), 1);
    let ended = app.call("sessions.end_all", json!({ "id": "alice" })).await.unwrap();
    assert_eq!(ended["ended"], 256, "the one that had ended is not ended again");
}

#[tokio::test]
async fn people_see_and_end_their_own_sessions_and_no_others() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    app.user("bob", PASSWORD).await;
    let (own, other) = (app.token().await, app.token().await);
    let bob = app.sign_in("bob", PASSWORD).await["token"].as_str().unwrap().to_owned();
    let list = app.call_by(&own, "sessions.list_own", json!({})).await;
    assert_eq!(list["sessions"].as_array().unwrap().len(), 2);
    assert!(list["sessions"].as_array().unwrap().iter().all(|session| session["user"] == "alice"));
    let bobs = app.call_by(&bob, "sessions.list_own", json!({})).await["sessions"][0]["id"].clone();
    let alice = app.caller(&own).await.unwrap();
    assert_eq!(app.refused_as(alice.clone(), "sessions.end_own", json!({ "id": bobs })).await, "not_found");
    let Caller::User { session, .. } = app.caller(&other).await.unwrap() else { panic!("a person") };
    app.call_as(alice, "sessions.end_own", json!({ "id": session })).await.unwrap();
    assert!(!app.is_live(&other).await && app.is_live(&own).await && app.is_live(&bob).await);
    let ended = app.call("sessions.end_all", json!({ "id": "ALICE" })).await.unwrap();
    assert_eq!(ended["ended"], 1);
    assert!(!app.is_live(&own).await && app.is_live(&bob).await);
    let all = app.call("sessions.list", json!({ "user": "bob", "kind": "login" })).await.unwrap();
    assert_eq!(all["sessions"].as_array().unwrap().len(), 1);
    app.call("sessions.end", json!({ "id": bobs })).await.unwrap();
    assert!(!app.is_live(&bob).await);
    assert_eq!(app.refused("sessions.end", json!({ "id": app.env.uuid() })).await, "not_found");
}

#[tokio::test]
async fn an_old_hash_is_made_anew_at_the_next_login() {
    let app = TestApp::new().await;
    let user = app.user("alice", PASSWORD).await;
    // `password`, 64 MiB, by the reference implementation.
    let old = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    let set = Statement::one("test", "UPDATE users SET password_hash = $2 WHERE id = $1", [user.into(), old.into()]);
    app.base.db.commit(vec![set]).await.unwrap();
    app.login_refused("alice", "passwort").await;
    let stored = async || {
        let rows = app.base.db.query(Query::new("SELECT password_hash FROM users", [])).await.unwrap();
        rows[0].cursor().text().unwrap().to_owned()
    };
    assert_eq!(stored().await, old);
    app.sign_in("alice", "password").await;
    assert!(stored().await.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    app.sign_in("alice", "password").await;
}

#[tokio::test]
async fn everybody_may_ask_who_they_are() {
    let app = TestApp::new().await;
    let user = app.user("alice", PASSWORD).await;
    let token = app.token().await;
    let identity = app.call_by(&token, "sessions.whoami", json!({})).await;
    assert_eq!(identity["user"]["user_id"], json!(user));
    assert_eq!(identity["permissions"], json!([]));
    let identity = app.call("sessions.whoami", json!({})).await.unwrap();
    assert_eq!(identity, json!({ "caller": "admin-token", "permissions": ["admin"] }));
}
