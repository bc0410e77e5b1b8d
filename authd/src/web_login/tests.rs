use std::sync::Arc;

use serde_json::json;
use shared::api::factors::Reauthenticate;
use shared::api::sessions::Login;
use shared::base64url::Base64Url;
use shared::problem::Code;
use shared::secret::Secret;
use tokio::net::TcpListener;

use super::{Outcome, WebLogin};
use crate::accounts::factors::testing::{code, insert};
use crate::accounts::passkeys::testing as passkeys;
use crate::caller::Caller;
use crate::env::{HOUR, MINUTE};
use crate::error::Error;
use crate::oidc_client::{Answer, Refusal};
use crate::sessions::model::FRESH;
use crate::testing::TestApp;
use crate::testing::peer::Peer;

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
            other => panic!("signed in without a code: {other:?}"),
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

/// A provider that does not answer.
const PROVIDERS: &str = "[[provider]]\nname = \"one\"\nissuer = \"http://127.0.0.1:1/one\"\nclient_id = \"authd\"\n\
    authorization_endpoint = \"http://127.0.0.1:1/a?b=c\"\ntoken_endpoint = \"http://127.0.0.1:1/t\"\n\
    jwks_uri = \"http://127.0.0.1:1/k\"\nweb = true\n\
    [[provider]]\nname = \"two\"\nissuer = \"http://127.0.0.1:1/two\"\nclient_id = \"authd\"\n\
    authorization_endpoint = \"http://127.0.0.1:1/a\"\ntoken_endpoint = \"http://127.0.0.1:1/t\"\n\
    jwks_uri = \"http://127.0.0.1:1/k\"\nweb = true\n\
    [[provider]]\nname = \"terminals\"\nissuer = \"http://127.0.0.1:1/three\"\nclient_id = \"authd\"\n";

fn parameter(url: &str, name: &str) -> String {
    let found = url.split(['?', '&']).find_map(|pair| pair.strip_prefix(&format!("{name}=")));
    found.unwrap_or_else(|| panic!("no {name}: {url}")).to_owned()
}

fn answer(state: &str, issuer: Option<&str>) -> Answer {
    Answer { state: state.to_owned(), result: Ok(Secret::new("code")), issuer: issuer.map(str::to_owned) }
}

#[tokio::test]
async fn a_browser_is_sent_to_a_provider_with_values_of_its_own() {
    let app = TestApp::with(PROVIDERS).await;
    assert_eq!(app.web().providers().collect::<Vec<_>>(), ["one", "two"], "the third one is for terminals");
    assert_eq!(app.web().depart("terminals", String::new(), false).await.unwrap_err().code, Code::NotFound);
    let [first, second] =
        [app.web().depart("one", String::new(), false).await, app.web().depart("one", String::new(), false).await];
    let (first, second) = (first.unwrap(), second.unwrap());
    for name in ["state", "nonce", "code_challenge"] {
        let values = [&first, &second].map(|departure| parameter(&departure.url, name));
        assert!(values[0].len() == 43 && values[0] != values[1], "{name}: {values:?}");
        assert!(!first.started.contains(&values[0]), "it is sealed");
    }
    assert_eq!(parameter(&first.url, "code_challenge_method"), "S256");
    assert!(!first.url.contains("prompt="), "{}", first.url);
    let back = shared::wire::percent_encode(&format!("{}/auth/one/callback", app.config.server.public_url)).to_string();
    assert_eq!(parameter(&first.url, "redirect_uri"), back);
}

#[tokio::test]
async fn only_the_browser_that_left_can_return_and_only_from_where_it_went() {
    let app = TestApp::with(PROVIDERS).await;
    let departure = app.web().depart("one", "/docs".to_owned(), false).await.unwrap();
    let state = parameter(&departure.url, "state");
    let arrive = async |name: &str, started: Option<&str>, answer: Answer| {
        app.web().arrive(app.anonymous(), None, name, BINDING, started, answer).await.unwrap_err().code
    };
    let started = Some(departure.started.as_str());
    let others = app.web().depart("one", String::new(), false).await.unwrap().started;
    for (name, started, answer) in [
        // Of no browser, of another sign-in, altered, of another provider, with another one's issuer.
        ("one", None, answer(&state, None)),
        ("one", Some(others.as_str()), answer(&state, None)),
        ("one", Some(&departure.started[1..]), answer(&state, None)),
        ("one", started, answer(&format!("{}x", &state[1..]), None)),
        ("one", started, answer("", None)),
        ("two", started, answer(&state, None)),
        ("one", started, answer(&state, Some("http://127.0.0.1:1/two"))),
    ] {
        assert_eq!(arrive(name, started, answer.clone()).await, Code::InvalidToken, "{name} {answer:?}");
    }
    let declined = Answer { result: Err(Refusal::new("access_denied", None)), ..answer(&state, None) };
    assert_eq!(arrive("one", started, declined).await, Code::Forbidden);
    // Everything is right, and the provider is asked, which is down.
    let right = answer(&state, Some("http://127.0.0.1:1/one"));
    assert_eq!(arrive("one", started, right.clone()).await, Code::Unavailable);
    app.clock.advance(10 * MINUTE);
    assert_eq!(arrive("one", started, right.clone()).await, Code::InvalidToken, "ten minutes are over");
    app.clock.advance(-11 * MINUTE);
    assert_eq!(arrive("one", started, right).await, Code::InvalidToken, "a wrong clock began it");
}

/// Ada's identity would otherwise come to whoever's session the browser has when it returns, or the other way round.
#[tokio::test]
async fn an_identity_is_linked_in_the_session_that_asked_for_it_and_in_no_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let toml = PROVIDERS.replace("http://127.0.0.1:1/one", &url).replace("http://127.0.0.1:1", &url);
    let app = TestApp::with(&toml.replace("/t\"", "/token\"").replace("/k\"", "/keys\"")).await;
    let peer = Peer::start(app.clock.clone(), listener);
    app.user("alice", PASSWORD).await;
    let session = async || app.web().visitor(&token(app.sign_in_web(PASSWORD).await)).await.unwrap().unwrap();
    let (mine, other) = (session().await, session().await);
    let Caller::User { session: asked, .. } = &mine else { panic!() };
    let arrive = async |visitor: Option<&Caller>| {
        let departure = app.web().depart_to_link("one", *asked).await.unwrap();
        let nonce = parameter(&departure.url, "nonce");
        // Who is signed in there may be another one than who presses.
        assert_eq!(parameter(&departure.url, "prompt"), "login");
        peer.set(|script| {
            script.nonce = nonce;
            script.claims.insert("aud".into(), json!("authd"));
        });
        let answer = answer(&parameter(&departure.url, "state"), None);
        let started = Some(departure.started.as_str());
        let arrived = app.web().arrive(app.anonymous(), visitor.cloned(), "one", BINDING, started, answer).await;
        match arrived.unwrap().outcome {
            Outcome::Linking(linked) => linked.map_err(|error| error.code),
            other => panic!("{other:?}"),
        }
    };
    let linked = "SELECT COUNT(*) FROM identities WHERE user_id IS NOT NULL";
    assert_eq!(arrive(None).await, Err(Code::Forbidden));
    assert_eq!(arrive(Some(&other)).await, Err(Code::Forbidden));
    assert_eq!(app.number(linked).await, 0);
    assert_eq!(arrive(Some(&mine)).await, Ok(()));
    assert_eq!(app.number(linked).await, 1);
    app.clock.advance(5 * MINUTE);
    let late = app.web().depart_to_link("one", *asked).await.unwrap_err();
    assert_eq!(late.code, Code::StepUpRequired);
}

#[tokio::test]
async fn a_proof_gives_the_browser_another_session_in_place_of_its_own() {
    let app = TestApp::with(passkeys::CONFIG).await;
    let alice = app.user("alice", PASSWORD).await;
    let first = token(app.sign_in_web(PASSWORD).await);
    let (_, authenticator) = passkeys::insert(&app.base, alice).await;
    let caller = async |token: &str| app.web().visitor(token).await.unwrap();
    let is_fresh = async |token: &str| {
        let Some(Caller::User { session, .. }) = caller(token).await else { panic!("a person") };
        app.modules.sessions.is_fresh(session).await.unwrap()
    };
    let call = async |token: &str| app.anonymous().of(caller(token).await.unwrap());
    app.clock.advance(FRESH);
    assert!(!is_fresh(&first).await);
    let op = || Reauthenticate { password: Secret::new(PASSWORD), totp: None };
    let (one, two) = (call(&first).await, call(&first).await);
    let second = app.web().step_up(one, op()).await.unwrap();
    assert!(caller(&first).await.is_none() && is_fresh(second.expose()).await);
    let error = app.web().step_up(two, op()).await.unwrap_err();
    assert_eq!(error.code, Code::Conflict, "the first has ended");

    app.clock.advance(FRESH);
    let options = app.call_as(caller(second.expose()).await.unwrap(), "passkeys.begin_proof", json!({})).await.unwrap();
    let challenge: Base64Url<32> = serde_json::from_value(options["challenge"].clone()).unwrap();
    let made = authenticator.get(&passkeys::party(), &challenge.0.try_into().unwrap());
    let assertion = passkeys::assertion(&made);
    // The operation answers with no cookie.
    let by_operation =
        app.refused_as(caller(second.expose()).await.unwrap(), "passkeys.prove", assertion.clone()).await;
    assert_eq!((by_operation, is_fresh(second.expose()).await), ("conflict", false));
    let options = app.call_as(caller(second.expose()).await.unwrap(), "passkeys.begin_proof", json!({})).await.unwrap();
    let challenge: Base64Url<32> = serde_json::from_value(options["challenge"].clone()).unwrap();
    let made = authenticator.get(&passkeys::party(), &challenge.0.try_into().unwrap());
    let assertion = serde_json::from_value(passkeys::assertion(&made)).unwrap();
    let third = app.web().step_up_by_passkey(call(second.expose()).await, assertion).await.unwrap();
    assert!(caller(second.expose()).await.is_none() && is_fresh(third.expose()).await);

    // A program's session is not replaced.
    let login = app.sign_in("alice", PASSWORD).await["token"].as_str().unwrap().to_owned();
    let login = app.anonymous().of(app.caller(&login).await.unwrap());
    assert_eq!(app.web().step_up(login, op()).await.unwrap_err().code, Code::Conflict);
}
