use std::sync::Arc;

use serde_json::json;
use shared::api::sessions::Login;
use shared::problem::Code;
use shared::secret::Secret;

use super::{Outcome, WebLogin};
use crate::accounts::factors::testing::{code, insert};
use crate::caller::Caller;
use crate::env::{HOUR, MINUTE};
use crate::error::Error;
use crate::testing::TestApp;

const PASSWORD: &str = "correct horse battery";
const BINDING: &str = "one-browser";

impl TestApp {
    fn web(&self) -> &Arc<WebLogin> {
        &self.modules.web_login
    }

    async fn sign_in_web(&self, password: &str) -> Result<Outcome, Error> {
        let (username, password) = ("alice".to_owned(), Secret::new(password.to_owned()));
        self.web().sign_in(self.anonymous(), BINDING, Login { username, password, totp: None }).await
    }

    async fn send_code(&self, binding: &str, pending: &str, code: &str) -> Result<Outcome, Error> {
        let code = Secret::new(code.to_owned());
        self.web().sign_in_with_code(self.anonymous(), binding, pending, code).await
    }

    /// What is sent with the code after the right password.
    async fn pending(&self) -> String {
        match self.sign_in_web(PASSWORD).await.unwrap() {
            Outcome::NeedsCode(pending) => pending,
            Outcome::SignedIn(_) => panic!("signed in without a code"),
        }
    }
}

#[track_caller]
fn token(outcome: Result<Outcome, Error>) -> String {
    match outcome {
        Ok(Outcome::SignedIn(token)) => token.expose().to_owned(),
        other => panic!("not signed in: {other:?}"),
    }
}

#[tokio::test]
async fn a_browsers_session_is_idle_for_an_hour_and_lives_twelve() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    let token = token(app.sign_in_web(PASSWORD).await);
    let visitor = async || app.web().visitor(&token).await.unwrap();
    assert!(matches!(visitor().await, Some(Caller::User { username, .. }) if username == "alice"));
    let list = app.call("sessions.list", json!({ "kind": "web" })).await.unwrap();
    assert_eq!(list["sessions"][0]["kind"], "web");
    assert_eq!(list["sessions"][0]["idle_expires_at"], "2027-01-15T09:00:00Z");
    assert_eq!(list["sessions"][0]["expires_at"], "2027-01-15T20:00:00Z");
    for _ in 0..12 {
        app.clock.advance(HOUR - 1);
        assert!(visitor().await.is_some());
    }
    app.clock.advance(12);
    assert!(visitor().await.is_none(), "after twelve hours");

    let second = super::tests::token(app.sign_in_web(PASSWORD).await);
    app.clock.advance(HOUR);
    assert!(app.web().visitor(&second).await.unwrap().is_none(), "after an hour without use");
}

#[tokio::test]
async fn only_a_live_session_of_a_browser_is_accepted_from_a_cookie() {
    let app = TestApp::new().await;
    let alice = app.user("alice", PASSWORD).await;
    let web = token(app.sign_in_web(PASSWORD).await);
    let login = app.sign_in("alice", PASSWORD).await["token"].as_str().unwrap().to_owned();
    let unknown = "0".repeat(64);
    for other in [login.as_str(), &unknown, "", "a"] {
        assert!(app.web().visitor(other).await.unwrap().is_none(), "{other}");
    }
    assert!(app.web().visitor(&web).await.unwrap().is_some());
    // The end of all sessions, and of the person's account, is that of a browser's too.
    app.call("users.update", json!({ "id": alice, "status": "inactive" })).await.unwrap();
    assert!(app.web().visitor(&web).await.unwrap().is_none());
}

#[tokio::test]
async fn every_end_of_sessions_ends_a_browsers_too() {
    let app = TestApp::new().await;
    let alice = app.user("alice", PASSWORD).await;
    for operation in ["sessions.logout", "sessions.end_all_own", "sessions.end_all", "sessions.end"] {
        let web = token(app.sign_in_web(PASSWORD).await);
        let caller = app.web().visitor(&web).await.unwrap().unwrap();
        let Caller::User { session, .. } = &caller else { panic!("a person") };
        let session = *session;
        match operation {
            "sessions.end_all" => app.call(operation, json!({ "id": alice })).await.unwrap(),
            "sessions.end" => app.call(operation, json!({ "id": session })).await.unwrap(),
            own => app.call_as(caller, own, json!({})).await.unwrap(),
        };
        assert!(app.web().visitor(&web).await.unwrap().is_none(), "{operation}");
    }
}

#[tokio::test]
async fn a_password_without_the_code_makes_no_session() {
    let app = TestApp::new().await;
    let alice = app.user("alice", PASSWORD).await;
    insert(&app.base, alice, true).await;
    let pending = app.pending().await;
    assert_eq!(app.call("sessions.list", json!({})).await.unwrap()["sessions"].as_array().unwrap().len(), 0);
    assert!(app.web().visitor(&pending).await.unwrap().is_none());
    let refused = |outcome: Result<Outcome, Error>| outcome.unwrap_err().code;
    assert_eq!(refused(app.send_code(BINDING, &pending, "000000").await), Code::InvalidCredentials);
    let right = code(&app.base, 0);
    for (binding, pending) in [("another-browser", pending.as_str()), (BINDING, "AAAA"), (BINDING, "")] {
        assert_eq!(refused(app.send_code(binding, pending, &right).await), Code::InvalidToken, "{binding} {pending}");
    }
    token(app.send_code(BINDING, &pending, &right).await);
    assert_eq!(refused(app.send_code(BINDING, &pending, &right).await), Code::InvalidCredentials, "a code counts once");
}

#[tokio::test]
async fn the_proof_of_a_password_ends_after_five_minutes_and_with_the_password() {
    let app = TestApp::new().await;
    let alice = app.user("alice", PASSWORD).await;
    insert(&app.base, alice, true).await;
    let pending = app.pending().await;
    app.clock.advance(5 * MINUTE - 1);
    token(app.send_code(BINDING, &pending, &code(&app.base, 0)).await);
    app.clock.advance(1);
    let late = app.send_code(BINDING, &pending, &code(&app.base, 1)).await;
    assert_eq!(late.unwrap_err().code, Code::InvalidToken);

    let pending = app.pending().await;
    // Its end is further away than it can be: the clock was wrong when it was made.
    app.clock.advance(-MINUTE);
    let early = app.send_code(BINDING, &pending, &code(&app.base, 1)).await;
    assert_eq!(early.unwrap_err().code, Code::InvalidToken);
    app.clock.advance(MINUTE);

    app.call("users.update", json!({ "id": alice, "password": "another horse battery" })).await.unwrap();
    let changed = app.send_code(BINDING, &pending, &code(&app.base, 1)).await;
    assert_eq!(changed.unwrap_err().code, Code::InvalidToken);
}

#[tokio::test]
async fn codes_are_guessed_at_no_more_often_than_passwords() {
    let app = TestApp::with("[login]\nmax_failures = 5").await;
    let alice = app.user("alice", PASSWORD).await;
    insert(&app.base, alice, true).await;
    let pending = app.pending().await;
    for _ in 0..4 {
        assert_eq!(app.send_code(BINDING, &pending, "000000").await.unwrap_err().code, Code::InvalidCredentials);
    }
    // The name is locked, for the right code and for the right password.
    let right = app.send_code(BINDING, &pending, &code(&app.base, 0)).await;
    assert_eq!(right.unwrap_err().code, Code::InvalidCredentials);
    assert_eq!(app.sign_in_web(PASSWORD).await.unwrap_err().code, Code::InvalidCredentials);
    assert_eq!(app.login_refused("alice", PASSWORD).await, "invalid_credentials");
}

#[tokio::test]
async fn the_token_of_a_form_belongs_to_one_cookie() {
    let app = TestApp::new().await;
    let web = app.web();
    let token = web.form_token(BINDING).unwrap();
    assert!(web.accepts_form(BINDING, &token).unwrap());
    for (cookie, token) in [("another-browser", token.as_str()), (BINDING, ""), (BINDING, &token[1..]), ("", &token)] {
        assert!(!web.accepts_form(cookie, token).unwrap(), "{cookie} {token}");
    }
    assert_ne!(web.new_binding(), web.new_binding());
}

#[tokio::test]
async fn cookies_need_tls_except_on_this_machine() {
    for (url, usable, origin) in [
        ("https://Auth.Example.com:443/x", true, "https://auth.example.com"),
        ("https://auth.example.com:8443", true, "https://auth.example.com:8443"),
        ("http://127.0.0.1:8080", true, "http://127.0.0.1:8080"),
        ("http://auth.example.com", false, "http://auth.example.com"),
    ] {
        let app = TestApp::with(&format!("[server]\npublic_url = \"{url}\"")).await;
        assert_eq!((app.web().is_usable(), app.web().origin.as_str()), (usable, origin), "{url}");
    }
}
