use serde_json::json;
use shared::api::sessions::Login;

use super::PASSWORD;
use crate::accounts::SignedIn;
use crate::caller::Caller;
use crate::env::SECOND;
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
    let issuer = app.config.server.public_url.as_str();
    let claims = |issuer: &str, kind: &str, id: &str, (from, to)| {
        Claims::new(issuer, kind, "alice".to_owned(), id.to_owned(), from, to)
    };
    let good = claims(issuer, "Session", &opaque, (NOW, NOW + SECOND));
    assert!(app.is_live(&app.signed(Purpose::SignSession, &good)).await);
    assert!(!app.is_live(&app.signed(Purpose::SignLink, &good)).await, "the key of another purpose");
    for (wrong, what) in [
        (claims("https://b.example", "Session", &opaque, (NOW, NOW + SECOND)), "the issuer"),
        (claims(issuer, "Verification", &opaque, (NOW, NOW + SECOND)), "the kind"),
        (claims(issuer, "Session", &opaque, (NOW - SECOND, NOW)), "exp"),
        (claims(issuer, "Session", &opaque, (NOW + SECOND, NOW + 2 * SECOND)), "nbf"),
        (claims(issuer, "Session", &"0".repeat(64), (NOW, NOW + SECOND)), "an unknown jti"),
        (claims(issuer, "Session", &signed, (NOW, NOW + SECOND)), "a token in a token"),
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
}
