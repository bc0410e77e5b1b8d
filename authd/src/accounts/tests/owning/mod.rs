//! Accounts that people own: resets, what is told, deletion.

mod addresses;
mod signing_up;

use serde_json::{Value, json};

use super::PASSWORD;
use crate::accounts::factors;
use crate::caller::Caller;
use crate::db::Query;
use crate::env::{DAY, MINUTE, SECOND};
use crate::mail::testing::{Queued, queued};
use crate::testing::TestApp;

const MAIL: &str = "[mail]\nsmtp_url = \"smtp://127.0.0.1:1?tls=none\"\nfrom = \"auth@example.com\"\n\
     per_address_per_hour = 100\nper_network_per_hour = 1000\n";
const NEW: &str = "another horse battery";

async fn open() -> TestApp {
    TestApp::with(&format!("{MAIL}[accounts]\nsign_up = \"open\"\n")).await
}

async fn ask(app: &TestApp, operation: &str, fields: Value) -> Result<Value, crate::error::Error> {
    app.call_as(Caller::Anonymous, operation, fields).await
}

async fn refused(app: &TestApp, operation: &str, fields: Value) -> &'static str {
    app.refused_as(Caller::Anonymous, operation, fields).await
}

/// The last mail of this kind, and its token.
async fn last(app: &TestApp, template: &str) -> (Queued, String) {
    let mails = queued(&app.base).await;
    // The next mail is a later one: ids of one millisecond are in no order.
    app.clock.advance(1);
    let mail =
        mails.into_iter().rfind(|mail| mail.template == template).unwrap_or_else(|| panic!("no mail {template}"));
    let token = mail.values.token.as_ref().map(|token| token.expose().to_owned()).unwrap_or_default();
    (mail, token)
}

async fn sign_up(app: &TestApp, email: &str) -> Value {
    ask(app, "accounts.sign_up", json!({ "email": email })).await.unwrap();
    let (_, token) = last(app, "sign_up").await;
    ask(app, "accounts.verify_sign_up", json!({ "token": token, "password": PASSWORD })).await.unwrap()
}

async fn caller(app: &TestApp, logged_in: &Value) -> Caller {
    app.caller(logged_in["token"].as_str().unwrap()).await.unwrap()
}

async fn log_in(app: &TestApp, username: &str, password: &str) -> Result<Value, &'static str> {
    let fields = json!({ "username": username, "password": password });
    ask(app, "sessions.login", fields).await.map_err(|error| error.code.as_str())
}

#[tokio::test]
async fn a_reset_ends_every_session_and_the_mailbox_is_told() {
    let app = open().await;
    let old = sign_up(&app, "ada@example.com").await;
    app.call("users.update", json!({ "id": "ada@example.com", "username": "ada" })).await.unwrap();
    ask(&app, "accounts.request_reset", json!({ "email": "ADA@example.com" })).await.unwrap();
    let (mail, token) = last(&app, "reset").await;
    assert_eq!(mail.to, "ada@example.com");
    let same = json!({ "token": token, "password": PASSWORD });
    assert_eq!(refused(&app, "accounts.confirm_reset", same).await, "validation_failed", "it is the current one");
    ask(&app, "accounts.confirm_reset", json!({ "token": token, "password": NEW })).await.unwrap();
    assert!(app.caller(old["token"].as_str().unwrap()).await.is_err());
    assert_eq!(last(&app, "password_changed").await.0.to, "ada@example.com");
    assert_eq!(log_in(&app, "ada", PASSWORD).await.unwrap_err(), "invalid_credentials");
    log_in(&app, "ada", NEW).await.unwrap();
}

#[tokio::test]
async fn a_reset_needs_the_code_where_totp_is_on_and_counts_guesses() {
    let app = open().await;
    let logged_in = sign_up(&app, "ada@example.com").await;
    let user = logged_in["payload"]["user_id"].as_str().unwrap().parse().unwrap();
    factors::testing::insert(&app.base, user, true).await;
    ask(&app, "accounts.request_reset", json!({ "email": "ada@example.com" })).await.unwrap();
    let (_, token) = last(&app, "reset").await;
    let confirm = |totp: Option<String>| json!({ "token": token, "password": NEW, "totp": totp });
    let without = json!({ "token": token, "password": NEW });
    assert_eq!(refused(&app, "accounts.confirm_reset", without).await, "totp_required");
    for _ in 0..9 {
        assert_eq!(refused(&app, "accounts.confirm_reset", confirm(Some("000000".into()))).await, "validation_failed");
    }
    let code = factors::testing::code(&app.base, 0);
    assert_eq!(refused(&app, "accounts.confirm_reset", confirm(Some(code))).await, "validation_failed", "locked");
    app.clock.advance(16 * MINUTE);
    let code = factors::testing::code(&app.base, 0);
    ask(&app, "accounts.confirm_reset", confirm(Some(code))).await.unwrap();
    assert_eq!(log_in(&app, "ada@example.com", NEW).await.unwrap_err(), "totp_required");
}

#[tokio::test]
async fn a_locked_name_is_opened_by_a_reset() {
    let app = open().await;
    sign_up(&app, "ada@example.com").await;
    for name in ["ada@example.com", "ADA@example.com"].into_iter().cycle().take(10) {
        log_in(&app, name, "a wrong password").await.unwrap_err();
    }
    log_in(&app, "ada@example.com", PASSWORD).await.unwrap_err();
    ask(&app, "accounts.request_reset", json!({ "email": "ada@example.com" })).await.unwrap();
    let (_, token) = last(&app, "reset").await;
    ask(&app, "accounts.confirm_reset", json!({ "token": token, "password": NEW })).await.unwrap();
    log_in(&app, "ada@example.com", NEW).await.unwrap();
}

#[tokio::test]
async fn a_name_and_an_address_share_one_lock_out() {
    let app = open().await;
    sign_up(&app, "ada@example.com").await;
    app.call("users.update", json!({ "id": "ada@example.com", "username": "ada" })).await.unwrap();
    for name in ["ada@example.com", "ada"].into_iter().cycle().take(10) {
        log_in(&app, name, "a wrong password").await.unwrap_err();
    }
    for name in ["ada", "ada@example.com"] {
        assert_eq!(log_in(&app, name, PASSWORD).await.unwrap_err(), "invalid_credentials", "{name}");
    }
}

#[tokio::test]
async fn ones_own_name_or_address_is_no_password_wherever_one_is_set() {
    let app = open().await;
    let weak = |error: crate::error::Error| {
        let field = error.fields.first().map(|field| field.detail.clone()).unwrap_or_default();
        assert!(error.code.as_str() == "validation_failed" && field.contains("easy to guess"), "{error:?}");
    };
    let own = ["LOVELACE@example.com", "lovelace"];
    ask(&app, "accounts.sign_up", json!({ "email": "lovelace@example.com" })).await.unwrap();
    let (_, token) = last(&app, "sign_up").await;
    for password in own {
        let verify = json!({ "token": token, "password": password });
        weak(ask(&app, "accounts.verify_sign_up", verify).await.unwrap_err());
    }
    let ada = ask(&app, "accounts.verify_sign_up", json!({ "token": token, "password": PASSWORD })).await.unwrap();
    app.call("users.update", json!({ "id": "lovelace@example.com", "username": "countess" })).await.unwrap();
    let ada = caller(&app, &ada).await;
    ask(&app, "accounts.request_reset", json!({ "email": "lovelace@example.com" })).await.unwrap();
    let (_, reset) = last(&app, "reset").await;
    for password in ["Countess", own[0], own[1]] {
        let change = json!({ "password": PASSWORD, "new_password": password });
        weak(app.call_as(ada.clone(), "sessions.change_password", change).await.unwrap_err());
        weak(ask(&app, "accounts.confirm_reset", json!({ "token": reset, "password": password })).await.unwrap_err());
        weak(app.call("users.update", json!({ "id": "countess", "password": password })).await.unwrap_err());
    }
    let invite = json!({ "email": "babbage@example.com", "username": "engineer" });
    app.call("users.invite", invite).await.unwrap();
    let (_, token) = last(&app, "invitation").await;
    for password in ["engineer", "babbage@example.com", "Babbage@Example.com"] {
        weak(ask(&app, "accounts.verify_sign_up", json!({ "token": token, "password": password })).await.unwrap_err());
        let create = json!({ "username": "engineer2", "email": "babbage@example.com", "password": password });
        if password != "engineer" {
            weak(app.call("users.create", create).await.unwrap_err());
        }
    }
}

#[tokio::test]
async fn a_change_without_a_code_forgives_no_wrong_codes() {
    let app = open().await;
    let ada = sign_up(&app, "ada@example.com").await;
    factors::testing::insert(&app.base, ada["payload"]["user_id"].as_str().unwrap().parse().unwrap(), true).await;
    let ada = caller(&app, &ada).await;
    let guess = async |password: &str, code: &str| {
        let fields = json!({ "password": password, "code": code });
        app.call_as(ada.clone(), "factors.disable_totp", fields).await.map_err(|error| error.code.as_str())
    };
    for _ in 0..9 {
        assert_eq!(guess(PASSWORD, "000000").await.unwrap_err(), "validation_failed");
    }
    // The session is fresh, so this needs no code.
    let change = json!({ "password": PASSWORD, "new_password": NEW });
    app.call_as(ada.clone(), "sessions.change_password", change).await.unwrap();
    assert_eq!(guess(NEW, "000000").await.unwrap_err(), "validation_failed");
    let code = factors::testing::code(&app.base, 0);
    assert_eq!(guess(NEW, &code).await.unwrap_err(), "validation_failed", "the tenth locked the name");
}

#[tokio::test]
async fn a_person_is_told_of_a_new_password_and_of_factors() {
    let app = open().await;
    let ada = sign_up(&app, "ada@example.com").await;
    let ada = caller(&app, &ada).await;
    let change = json!({ "password": PASSWORD, "new_password": NEW });
    app.call_as(ada.clone(), "sessions.change_password", change).await.unwrap();
    assert_eq!(last(&app, "password_changed").await.0.to, "ada@example.com");
    let Caller::User { id, .. } = ada else { panic!("a person") };
    factors::testing::insert(&app.base, id, false).await;
    assert!(queued(&app.base).await.iter().all(|mail| mail.template != "factors_changed"));
    let code = factors::testing::code(&app.base, 0);
    app.call_as(ada.clone(), "factors.confirm_totp", json!({ "code": code })).await.unwrap();
    assert_eq!(last(&app, "factors_changed").await.0.to, "ada@example.com");
}

#[tokio::test]
async fn a_queue_that_others_have_filled_keeps_nobody_from_a_change() {
    let app = TestApp::with(&format!("{MAIL}max_queued = 2\n")).await;
    app.call("users.create", json!({ "username": "ada", "password": PASSWORD, "email": "ada@example.com" }))
        .await
        .unwrap();
    app.call("users.verify", json!({ "id": "ada" })).await.unwrap();
    let reset = json!({ "email": "ada@example.com" });
    ask(&app, "accounts.request_reset", reset.clone()).await.unwrap();
    let (_, token) = last(&app, "reset").await;
    ask(&app, "accounts.request_reset", json!({ "email": "nobody@example.com" })).await.unwrap();
    assert_eq!(refused(&app, "accounts.request_reset", reset).await, "unavailable");
    ask(&app, "accounts.confirm_reset", json!({ "token": token, "password": NEW })).await.unwrap();
    let ada = caller(&app, &log_in(&app, "ada", NEW).await.unwrap()).await;
    let change = json!({ "password": NEW, "new_password": PASSWORD });
    app.call_as(ada, "sessions.change_password", change).await.unwrap();
    app.call("users.update", json!({ "id": "ada", "email": "ada@example.org" })).await.unwrap();
    let mut told: Vec<String> = queued(&app.base).await.into_iter().map(|mail| mail.template).collect();
    told.sort_unstable();
    assert_eq!(told, ["email_changed", "password_changed", "password_changed", "reset"]);
}

#[tokio::test]
async fn a_link_that_was_asked_for_with_the_old_password_ends_with_it() {
    let app = open().await;
    let ada = sign_up(&app, "ada@example.com").await;
    let caller = caller(&app, &ada).await;
    let mut password = PASSWORD.to_owned();
    let own = json!({ "password": PASSWORD, "new_password": NEW });
    let changes = [
        (caller.clone(), "sessions.change_password", own, NEW),
        (Caller::AdminToken, "users.update", json!({ "id": "ada@example.com", "password": PASSWORD }), PASSWORD),
        (Caller::AdminToken, "users.update", json!({ "id": "ada@example.com", "email": "ada@example.net" }), PASSWORD),
    ];
    for (who, operation, fields, next) in changes {
        let session = log_in(&app, "ada@example.com", &password).await.unwrap();
        let ask = json!({ "password": password, "email": "mallory@example.com" });
        let ada = app.caller(session["token"].as_str().unwrap()).await.unwrap();
        app.call_as(ada, "accounts.change_email", ask).await.unwrap();
        let (_, token) = last(&app, "email_change").await;
        app.call_as(who, operation, fields).await.unwrap();
        assert_eq!(
            refused(&app, "accounts.confirm_email", json!({ "token": token })).await,
            "invalid_token",
            "{operation}"
        );
        next.clone_into(&mut password);
    }
}

#[tokio::test]
async fn a_deleted_account_leaves_nothing_personal() {
    let app = open().await;
    let ada = sign_up(&app, "ada@example.com").await;
    let user = ada["payload"]["user_id"].as_str().unwrap().to_owned();
    factors::testing::insert(&app.base, user.parse().unwrap(), true).await;
    ask(&app, "accounts.request_reset", json!({ "email": "ada@example.com" })).await.unwrap();
    let (_, reset) = last(&app, "reset").await;
    let ada = caller(&app, &ada).await;
    let delete = async |fields: Value| {
        app.call_as(ada.clone(), "accounts.delete", fields).await.map_err(|error| error.code.as_str())
    };
    assert_eq!(delete(json!({ "password": PASSWORD })).await.unwrap_err(), "totp_required");
    let code = factors::testing::code(&app.base, 0);
    delete(json!({ "password": PASSWORD, "totp": code })).await.unwrap();
    assert_eq!(last(&app, "deleted").await.0.to, "ada@example.com");
    let sql = "SELECT username || name || COALESCE(email, '') || COALESCE(password_hash, '') || COALESCE(live_name, '') FROM users";
    assert_eq!(app.base.db.query(Query::new(sql, [])).await.unwrap()[0].cursor().string().unwrap(), "");
    for table in ["links", "factors", "recovery_codes"] {
        let sql = match table {
            "links" => "SELECT 1 FROM links WHERE user_id IS NOT NULL",
            "factors" => "SELECT 1 FROM factors",
            _ => "SELECT 1 FROM recovery_codes",
        };
        assert!(app.base.db.query(Query::new(sql, [])).await.unwrap().is_empty(), "{table}");
    }
    assert_eq!(
        refused(&app, "accounts.confirm_reset", json!({ "token": reset, "password": NEW })).await,
        "invalid_token"
    );
    log_in(&app, "ada@example.com", PASSWORD).await.unwrap_err();
    sign_up(&app, "ada@example.com").await;
}
