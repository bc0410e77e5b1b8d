use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use shared::api::sessions::Login;
use shared::id::SessionId;

use super::PASSWORD;
use crate::accounts::SignedIn;
use crate::caller::Caller;
use crate::env::{SECOND, SKEW};
use crate::keys::{Claims, Purpose};
use crate::registry::Called;
use crate::testing::{NOW, TestApp};

impl TestApp {
    /// Signs alice in; both forms of her token.
    async fn two_forms(&self) -> (String, String) {
        let (_, login) = self.registry.typed::<Login, SignedIn>().unwrap();
        let op = Login { username: "alice".into(), password: PASSWORD.into(), totp: None };
        let Ok(Called::Running(signed_in)) = login.call(self.anonymous(), op) else { panic!("not at once") };
        let signed_in = signed_in.await.unwrap();
        (signed_in.answer.token.expose().to_owned(), signed_in.signed.expose().to_owned())
    }

    async fn session_of(&self, token: &str) -> String {
        let Ok(Caller::User { session, .. }) = self.caller(token).await else { panic!("no session") };
        session.to_string()
    }

    fn signed(&self, purpose: Purpose, claims: &Claims) -> String {
        self.base.keys.sign(purpose, claims).unwrap()
    }
}

#[tokio::test]
async fn signed_and_opaque_are_one_session_and_ending_either_ends_both() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    for ended in [0, 1] {
        let forms = app.two_forms().await;
        let forms = [forms.0, forms.1];
        let callers = [app.caller(&forms[0]).await.unwrap(), app.caller(&forms[1]).await.unwrap()];
        assert_eq!(callers[0], callers[1]);
        for form in &forms {
            assert!(app.is_live(form).await);
            let told = app.call("introspection.introspect", json!({ "token": form })).await.unwrap();
            assert_eq!((&told["active"], &told["username"]), (&json!(true), &json!("alice")));
        }
        app.call_by(&forms[ended], "sessions.logout", json!({})).await;
        for form in &forms {
            assert!(!app.is_live(form).await && app.caller(form).await.is_err(), "{ended}");
        }
    }
    // The endpoint of RFC 7009 too.
    let (opaque, signed) = app.two_forms().await;
    let person = app.caller(&opaque).await.unwrap();
    app.call_as(person, "introspection.revoke", json!({ "token": signed })).await.unwrap();
    assert!(!app.is_live(&opaque).await);
}

#[tokio::test]
async fn use_of_the_signed_form_extends_the_session() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    let (opaque, signed) = app.two_forms().await;
    app.clock.advance(200 * SECOND);
    assert_eq!(app.check(&signed).await["renewed"], true);
    app.clock.advance(200 * SECOND);
    assert!(app.is_live(&opaque).await);
}

#[tokio::test]
async fn only_a_token_of_the_right_key_kind_issuer_and_time_is_a_session() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    let (opaque, signed) = app.two_forms().await;
    let session = app.session_of(&opaque).await;
    let claims = |issuer: &str, kind: &str, id: &str, (from, to)| {
        Claims::new(issuer, kind, "alice".to_owned(), id.to_owned(), from, to)
    };
    let issuer = app.config.server.public_url.as_str();
    let good = claims(issuer, "Session", &session, (NOW, NOW + SECOND));
    assert!(app.is_live(&app.signed(Purpose::SignSession, &good)).await);
    assert!(!app.is_live(&app.signed(Purpose::SignLink, &good)).await, "the key of another purpose");
    for (wrong, what) in [
        (claims("https://b.example", "Session", &session, (NOW, NOW + SECOND)), "the issuer"),
        (claims(issuer, "Verification", &session, (NOW, NOW + SECOND)), "the kind"),
        (claims(issuer, "Session", &session, (NOW - SECOND, NOW)), "exp"),
        (claims(issuer, "Session", &session, (NOW + SKEW + SECOND, NOW + 2 * SKEW)), "nbf"),
        (claims(issuer, "Session", &SessionId(app.env.uuid()).to_string(), (NOW, NOW + SECOND)), "an unknown jti"),
        (claims(issuer, "Session", &opaque, (NOW, NOW + SECOND)), "a token as jti"),
    ] {
        assert!(!app.is_live(&app.signed(Purpose::SignSession, &wrong)).await, "{what}");
    }
    let (head, signature) = signed.rsplit_once('.').unwrap();
    let (_, payload) = head.split_once('.').unwrap();
    // {"alg":"none"} and {"alg":"HS256"}
    for forged in [
        format!("{head}."),
        format!("{head}.{}", signature.chars().rev().collect::<String>()),
        format!("eyJhbGciOiJub25lIn0.{payload}."),
        format!("eyJhbGciOiJIUzI1NiJ9.{payload}.{signature}"),
    ] {
        assert!(!app.is_live(&forged).await && app.caller(&forged).await.is_err(), "{forged}");
    }
    assert!(app.is_live(&signed).await);
    assert!(matches!(app.caller(&signed).await, Ok(Caller::User { .. })));
}

#[tokio::test]
async fn a_signed_token_holds_at_a_node_whose_clock_is_behind() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    let (_, signed) = app.two_forms().await;
    app.clock.advance(-SKEW + SECOND);
    assert!(app.is_live(&signed).await);
    app.clock.advance(-2 * SECOND);
    assert!(!app.is_live(&signed).await);
}

#[tokio::test]
async fn a_signed_token_that_is_void_today_ends_its_session_when_it_is_revoked() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    for issuer in ["https://before.example", &app.config.server.public_url] {
        let (opaque, _) = app.two_forms().await;
        let (person, session) = (app.caller(&opaque).await.unwrap(), app.session_of(&opaque).await);
        let claims = Claims::new(issuer, "Session", "alice".to_owned(), session, NOW - 2 * SECOND, NOW - SECOND);
        let void = app.signed(Purpose::SignSession, &claims);
        assert!(!app.is_live(&void).await);
        app.call_as(person, "introspection.revoke", json!({ "token": void })).await.unwrap();
        assert!(!app.is_live(&opaque).await, "{issuer}");
    }
    // But not who has no signature.
    let (opaque, signed) = app.two_forms().await;
    let person = app.caller(&opaque).await.unwrap();
    let (head, signature) = signed.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{head}.{other}{}", &signature[1..]);
    app.call_as(person, "introspection.revoke", json!({ "token": forged })).await.unwrap();
    assert!(app.is_live(&opaque).await);
}

#[tokio::test]
async fn a_token_of_no_session_costs_one_read_and_a_key_that_cannot_be_read_is_no_answer() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    let (opaque, signed) = app.two_forms().await;
    let of_key = |id: &str, session: &str| {
        let header = json!({ "alg": "ES256", "typ": "authd-session+jwt", "kid": id });
        let claims = json!({ "jti": session, "iss": "", "sub": "", "knd": "Session", "iat": 0, "nbf": 0, "exp": 0 });
        let part = |json: Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        format!("{}.{}.AA", part(header), part(claims))
    };
    let (key, nobody) = (app.env.uuid().to_string(), app.env.uuid().to_string());
    let reads = app.db_reads();
    assert!(!app.is_live(&of_key(&key, &nobody)).await);
    assert_eq!(app.db_reads(), reads + 1, "the session is looked for, and the key is not");
    // Of a session that is cached.
    let session = app.session_of(&opaque).await;
    assert!(app.is_live(&signed).await);
    app.break_db(true);
    for _ in 0..2 {
        let error = app.caller(&of_key(&key, &session)).await.unwrap_err();
        assert_eq!(error.code.as_str(), "unavailable");
    }
    app.break_db(false);
    assert_eq!(app.caller(&of_key(&key, &session)).await.unwrap_err().code.as_str(), "invalid_token");
}

#[tokio::test]
async fn the_session_of_a_call_is_shown_and_ended() {
    let app = TestApp::new().await;
    app.user("alice", PASSWORD).await;
    let (token, other) = (app.token().await, app.token().await);
    let shown = app.call_by(&token, "sessions.show", json!({})).await;
    let listed = app.call_by(&token, "sessions.list_own", json!({})).await;
    assert!(listed["sessions"].as_array().unwrap().contains(&shown), "{shown} {listed}");
    assert_eq!((&shown["kind"], &shown["user"]), (&json!("login"), &json!("alice")));
    app.call_by(&token, "sessions.end_this", json!({})).await;
    assert!(!app.is_live(&token).await && app.is_live(&other).await);
    let ended = app.call("sessions.list", json!({ "include_ended": true })).await.unwrap();
    let ended = ended["sessions"].as_array().unwrap().iter().find(|session| session["id"] == shown["id"]).unwrap();
    assert_eq!(ended["end_reason"], "logged_out");
}
