//! Against a peer that answers as a script says. The walk through an account at the real daemon is in
//! `tests/tests/e2e/accounts/client.rs`.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::super::peer::{Act, Peer, until};
use super::super::{Builder, Endpoint, Reason, Required, Use};
use super::*;
use crate::problem::{Code, FieldProblem};

const ID: &str = "00000000-0000-7000-8000-000000000001";
/// A session that ends in the year 2096.
const END: i64 = 4_000_000_000;

fn secret(text: &str) -> Secret {
    Secret::new(text)
}

/// An answer with every field of every response.
fn answer() -> Value {
    let payload = json!({"user_id": ID, "username": "ada@example.com", "name": "Ada"});
    json!({
        "status": "s", "token": "t", "expires_at": END, "payload": payload, "renewed": false, "valid": true,
        "factors": [], "recovery_codes": [],
    })
}

fn request_of(text: &str) -> (String, String, Value) {
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
    assert_eq!(header("x-forwarded-for: "), "10.0.0.9", "{head}");
    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    (line, header("authorization: "), serde_json::from_str(body).unwrap_or_default())
}

#[tokio::test]
async fn every_argument_is_the_field_of_its_name_and_the_persons_address_is_told() {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    let peer = Peer::start(move |_, request| {
        seen.lock().unwrap().push(request_of(request));
        let mut answer = answer();
        if request.starts_with("POST /auth/totp/enable") {
            answer =
                json!({"secret": "s", "uri": "u", "qr_svg": "q", "qr_png": "q", "expires_at": "2096-10-02T07:06:40Z"});
        } else if request.starts_with("GET /auth/factors") {
            answer["recovery_codes"] = json!(0);
        }
        Act::Answer(answer)
    });
    let authd = peer.await.authd().service_token(secret("of-the-service")).build().unwrap();
    let accounts = authd.accounts(Some("::ffff:10.0.0.9".parse().unwrap()));
    let (token, password, code) = (|| secret("mailed"), || secret("current"), || secret("123456"));
    accounts.sign_up("ada@example.com").await.unwrap();
    accounts.verify_sign_up(token(), password(), Some("Ada".to_owned())).await.unwrap();
    accounts.login("ada", password(), Some(code())).await.unwrap();
    accounts.request_reset("ada@example.com").await.unwrap();
    accounts.confirm_reset(token(), password(), Some(code())).await.unwrap();
    accounts.confirm_email(token()).await.unwrap();
    let account = accounts.of_session(secret("session"));
    assert_eq!(account.profile().await.unwrap().payload.username, "ada@example.com");
    account.change_password(password(), secret("new"), None).await.unwrap();
    account.change_email(password(), "ada@example.org", Some(code())).await.unwrap();
    account.list_factors().await.unwrap();
    account.enable_totp(password()).await.unwrap();
    account.confirm_totp(code()).await.unwrap();
    account.renew_recovery_codes(password(), code()).await.unwrap();
    account.disable_totp(password(), code()).await.unwrap();
    account.delete(password(), None).await.unwrap();

    let expected = [
        ("POST /auth/signup", "", json!({"email": "ada@example.com"})),
        ("POST /auth/signup/verify", "", json!({"token": "mailed", "password": "current", "name": "Ada"})),
        ("POST /auth/login", "", json!({"username": "ada", "password": "current", "totp": "123456"})),
        ("POST /auth/password/reset", "", json!({"email": "ada@example.com"})),
        ("POST /auth/password/reset/confirm", "", json!({"token": "mailed", "password": "current", "totp": "123456"})),
        ("POST /auth/email/confirm", "", json!({"token": "mailed"})),
        ("GET /auth/profile", "Bearer session", Value::Null),
        ("PUT /auth/password", "Bearer session", json!({"password": "current", "new_password": "new"})),
        (
            "POST /auth/email",
            "Bearer session",
            json!({"email": "ada@example.org", "password": "current", "totp": "123456"}),
        ),
        ("GET /auth/factors", "Bearer session", Value::Null),
        ("POST /auth/totp/enable", "Bearer session", json!({"password": "current"})),
        ("POST /auth/totp/confirm", "Bearer session", json!({"code": "123456"})),
        ("POST /auth/recovery-codes", "Bearer session", json!({"password": "current", "code": "123456"})),
        ("POST /auth/totp/disable", "Bearer session", json!({"password": "current", "code": "123456"})),
        ("DELETE /auth/account", "Bearer session", json!({"password": "current"})),
    ];
    let expected = expected.map(|(line, bearer, body)| (line.to_owned(), bearer.to_owned(), body));
    assert_eq!(*requests.lock().unwrap(), expected);
}

/// What failed, if authd did not refuse.
fn failure(error: &AccountError) -> Option<Reason> {
    match error {
        AccountError::Refused(_) => None,
        AccountError::Failed(denial) => Some(denial.reason()),
    }
}

#[tokio::test]
async fn a_refusal_has_its_fault_and_a_failure_its_reason() {
    let refuse = |code: Code, field: Option<FieldProblem>| {
        let problem = Problem { retry_after: Some(7), ..Problem::new(code, "for people") };
        Act::Refuse(Problem { fields: field.into_iter().collect(), ..problem })
    };
    let wrong = || {
        let reason = Some(crate::problem::Reason::Wrong);
        Some(FieldProblem { field: "totp".to_owned(), detail: "wrong".to_owned(), reason })
    };
    let script = move |number: usize| match number {
        0 => refuse(Code::Forbidden, None),
        1 => refuse(Code::ValidationFailed, wrong()),
        2 => refuse(Code::InvalidCredentials, None),
        3 => refuse(Code::RateLimited, None),
        4 => refuse(Code::Unavailable, None),
        5 => refuse(Code::Internal, None),
        6 => Act::Gateway(502, "down"),
        7 => Act::Gateway(403, "{\"status\":\"refused\"}"),
        _ => Act::Close,
    };
    let peer = Peer::start(move |number, _| script(number)).await;
    let authd = peer.authd().build().unwrap();
    for (number, expected) in [
        ("E-003", None, Some(7)),
        ("E-004", None, Some(7)),
        ("E-008", None, Some(7)),
        ("E-001", None, Some(7)),
        ("E-001", Some(Reason::Unavailable), Some(7)),
        ("E-001", Some(Reason::Unavailable), Some(7)),
        ("E-001", Some(Reason::Unavailable), Some(1)),
        ("E-001", Some(Reason::Misconfigured), None),
        ("E-001", Some(Reason::Unavailable), Some(1)),
    ]
    .into_iter()
    .enumerate()
    {
        let error = authd.accounts(None).sign_up("ada@example.com").await.unwrap_err();
        let seconds = error.retry_after().map(|wait| wait.as_secs());
        assert_eq!((error.fault().as_str(), failure(&error), seconds), expected, "{number}");
        assert_eq!(error.detail() == "for people", failure(&error).is_none(), "{number}: {error}");
        assert!(error.to_string().starts_with(error.detail()), "{number}: {error}");
        assert_eq!(peer.count(), number + 1, "what was sent is not sent again");
    }
}

#[tokio::test]
async fn a_change_has_the_deadline_of_a_login_and_a_read_that_of_a_question() {
    let peer = Peer::start(|_, _| Act::Hang).await;
    let (short, long) = (Duration::from_millis(200), Duration::from_mins(1));
    let account = |builder: Builder| builder.build().unwrap().accounts(None).of_session(secret("session"));
    let change = account(peer.authd().deadline(long).login_deadline(short));
    let read = account(peer.authd().deadline(short).login_deadline(long));
    let both = async { (change.delete(secret("current"), None).await.unwrap_err(), read.profile().await.unwrap_err()) };
    let (change, read) = tokio::time::timeout(long / 2, both).await.expect("both are short");
    for error in [change, read] {
        assert_eq!((error.fault(), failure(&error)), (AccountFault::Unknown, Some(Reason::TimedOut)));
    }
}

#[tokio::test]
async fn only_what_was_not_sent_or_reads_is_sent_again() {
    let nobody = Authd::at(Endpoint::url("http://127.0.0.1:9").unwrap()).build().unwrap();
    let error = nobody.accounts(None).sign_up("ada@example.com").await.unwrap_err();
    assert_eq!((failure(&error), nobody.stats().asked), (Some(Reason::Unreachable), 5));

    let peer = Peer::start(|_, _| Act::Close).await;
    let account = peer.authd().build().unwrap().accounts(None).of_session(secret("session"));
    assert!(account.delete(secret("current"), None).await.is_err());
    assert_eq!(peer.count(), 1);
    assert!(account.profile().await.is_err());
    assert_eq!(peer.count(), 6);
}

#[tokio::test]
async fn a_session_that_ended_is_not_remembered() {
    let release = Arc::new(Notify::new());
    let held = release.clone();
    let peer = Peer::start(move |_, request| match request.split(' ').nth(1) {
        Some("/check-token") => Act::Answer(answer()),
        Some("/auth/profile") => Act::Refuse(Problem::new(Code::InvalidToken, "the session has ended")),
        Some("/auth/account") => Act::Hold(held.clone(), answer()),
        _ => Act::Refuse(Problem::new(Code::Conflict, "TOTP is on")),
    });
    let peer = peer.await;
    let authd = peer.authd().deadline(Duration::from_mins(1)).build().unwrap();
    let account = authd.accounts(None).of_session(secret("session"));
    let remember = async || {
        authd.check(&secret("session"), &Required::nothing(), Use::Read).await.unwrap();
        assert_eq!(authd.stats().entries, 1);
    };
    remember().await;
    assert_eq!(account.enable_totp(secret("current")).await.unwrap_err().fault(), AccountFault::NotAvailable);
    assert_eq!(authd.stats().entries, 1, "the session is as good as before");
    assert_eq!(account.profile().await.unwrap_err().fault(), AccountFault::InvalidToken);
    assert_eq!(authd.stats().entries, 0);

    remember().await;
    let asked = peer.count();
    let deleting = tokio::spawn(async move { account.delete(secret("current"), None).await });
    until(|| peer.count() > asked).await;
    assert_eq!(authd.stats().entries, 0, "who asked may be gone before the answer");
    remember().await;
    release.notify_one();
    deleting.await.unwrap().unwrap();
    assert_eq!(authd.stats().entries, 0, "a read asked in between");
}

#[tokio::test]
async fn what_cannot_be_a_session_is_refused_without_asking() {
    let peer = Peer::saying(answer()).await;
    let accounts = peer.authd().build().unwrap().accounts(None);
    for (session, expected) in [("", AccountFault::TokenMissing), ("a\nb", AccountFault::InvalidToken)] {
        let account = accounts.of_session(secret(session));
        assert_eq!(account.profile().await.unwrap_err().fault(), expected);
        assert_eq!(account.delete(secret("current"), None).await.unwrap_err().fault(), expected);
        assert_eq!(account.logout().await.unwrap_err().fault(), expected);
    }
    assert_eq!(peer.count(), 0);
}

#[test]
fn a_secret_is_not_shown() {
    let authd = Authd::at(Endpoint::url("http://127.0.0.1:9").unwrap()).build().unwrap();
    assert!(!format!("{:?}", authd.accounts(None).of_session(secret("hunter2"))).contains("hunter2"));
}
