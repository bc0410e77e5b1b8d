//! `session.Session` and `user.User`: the codes, and what travels as metadata. What needs a mailbox is tested with one.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use shared::grpc::session::LoginRequest;
use shared::grpc::user::{Actions, DeleteRequest, ResetRequest, SignupRequest, TotpRequest};

use super::*;
use crate::accounts::factors::testing::code_in_app;
use crate::env::Env;

const PASSWORD: &str = "correct horse";
const MAIL: &str = "[mail]\nsmtp_url = \"smtp://127.0.0.1:1?tls=none\"\nfrom = \"auth@example.com\"\n\
     [accounts]\nsign_up = \"open\"\n";

impl End {
    /// `OK`, or the message of the status.
    fn code(&self) -> &str {
        match self.status {
            0 => "OK",
            _ => self.headers["grpc-message"].to_str().unwrap(),
        }
    }

    fn metadata(&self, name: &str) -> String {
        assert_eq!(self.code(), "OK", "{self:?}");
        self.headers[name].to_str().unwrap().to_owned()
    }
}

impl Daemon {
    async fn told(&self, path: &str, authorization: Option<&str>, message: &impl Message) -> End {
        let metadata: Vec<_> = authorization.iter().map(|token| ("authorization", *token)).collect();
        self.call_raw(path, &metadata, framed(message)).await
    }

    async fn login(&self, username: &str, password: &str, totp: &str) -> End {
        let login = LoginRequest { ident: username.into(), pwd: STANDARD.encode(password), totp: totp.into() };
        self.told("/session.Session/Login", None, &login).await
    }

    async fn totp(&self, session: &str, action: Actions, password: &str, totp: &str) -> End {
        let pwd = STANDARD.encode(password);
        let request = TotpRequest { action: action.into(), pwd, totp: totp.into() };
        self.told("/user.User/Totp", Some(session), &request).await
    }
}

#[tokio::test]
async fn a_session_travels_in_base64_of_either_alphabet() {
    let daemon = Daemon::start("").await;
    daemon.sign_in("alice").await;
    assert_eq!(daemon.login("alice", "wrong", "").await.code(), "E-008");
    assert_eq!(daemon.login("nobody", PASSWORD, "").await.code(), "E-008");
    for pwd in ["not base64!", ""] {
        let plain = LoginRequest { ident: "alice".into(), pwd: pwd.into(), totp: String::new() };
        assert_eq!(daemon.told("/session.Session/Login", None, &plain).await.code(), "E-006", "{pwd}");
    }
    for alphabet in [STANDARD, URL_SAFE_NO_PAD] {
        let token = daemon.login("alice", PASSWORD, "").await.metadata("authorization");
        let signed = String::from_utf8(STANDARD.decode(token).unwrap()).unwrap();
        // One session: HTTP takes both forms of its token.
        let profile = request("GET", "/auth/profile", &bearer(&signed), "");
        assert_eq!(daemon.send(&profile).await.body["payload"]["username"], "alice");
        let token = alphabet.encode(&signed);
        assert_eq!(daemon.told("/session.Session/Logout", Some(&token), &()).await.code(), "OK");
        assert_eq!(daemon.told("/session.Session/Logout", Some(&token), &()).await.code(), "E-005");
        assert_eq!(daemon.send(&profile).await.status, 401);
    }
    for (authorization, code) in [(None, "E-002"), (Some("a.b"), "E-007"), (Some("YQ"), "E-005"), (Some(""), "E-005")] {
        for path in ["/session.Session/Logout", "/user.User/Delete", "/user.User/Totp"] {
            let end = daemon.told(path, authorization, &()).await;
            assert_eq!(end.code(), code, "{path} {authorization:?}");
            let info = rpc::ErrorInfo::decode(end.details.details[0].value.as_slice()).unwrap();
            assert!(!info.metadata["detail"].is_empty() && end.details.message == code, "{info:?}");
        }
    }
    let twice = [("authorization", "YQ"), ("authorization", "YQ")];
    assert_eq!(daemon.call_raw("/session.Session/Logout", &twice, framed(&())).await.code(), "E-007");
}

#[tokio::test]
async fn totp_is_turned_on_by_two_calls_and_asked_for_from_then_on() {
    let daemon = Daemon::start("").await;
    daemon.sign_in("alice").await;
    let session = daemon.login("alice", PASSWORD, "").await.metadata("authorization");
    assert_eq!(daemon.totp(&session, Actions::Disable, PASSWORD, "000000").await.code(), "E-003", "it is not on");
    assert_eq!(daemon.totp(&session, Actions::Enable, PASSWORD, "000000").await.code(), "E-003", "none was begun");
    assert_eq!(daemon.totp(&session, Actions::Enable, "wrong", "").await.code(), "E-008");
    let secret = daemon.totp(&session, Actions::Enable, PASSWORD, "").await.metadata("x-totp-secret");
    assert_eq!(daemon.totp(&session, Actions::Enable, PASSWORD, "000000").await.code(), "E-004");
    let code = code_in_app(&secret, Env::real().now());
    assert_eq!(daemon.totp(&session, Actions::Enable, "wrong", &code).await.code(), "E-008");
    let recovery = daemon.totp(&session, Actions::Enable, PASSWORD, &code).await.metadata("x-totp-recovery-codes");
    let recovery: Vec<&str> = recovery.split(' ').collect();
    assert_eq!(recovery.len(), 10);
    assert_eq!(daemon.totp(&session, Actions::Enable, PASSWORD, "").await.code(), "E-003", "it is on");

    assert_eq!(daemon.login("alice", PASSWORD, "").await.code(), "E-004");
    assert_eq!(daemon.login("alice", PASSWORD, "000000").await.code(), "E-004");
    assert_eq!(daemon.login("alice", "wrong", "000000").await.code(), "E-008", "the password first");
    daemon.login("alice", PASSWORD, recovery[0]).await.metadata("authorization");
    assert_eq!(daemon.login("alice", PASSWORD, recovery[0]).await.code(), "E-004", "once");

    let delete = |password: &str, totp: &str| DeleteRequest { pwd: STANDARD.encode(password), totp: totp.into() };
    for (password, totp, code) in [(PASSWORD, "", "E-004"), ("wrong", recovery[1], "E-008")] {
        let end = daemon.told("/user.User/Delete", Some(&session), &delete(password, totp)).await;
        assert_eq!(end.code(), code, "{password} {totp}");
    }
    assert_eq!(daemon.totp(&session, Actions::Disable, PASSWORD, "").await.code(), "E-004");
    assert_eq!(daemon.totp(&session, Actions::Disable, PASSWORD, recovery[1]).await.code(), "OK");
    assert_eq!(daemon.totp(&session, Actions::Disable, PASSWORD, "").await.code(), "E-003");
    let end = daemon.told("/user.User/Delete", Some(&session), &delete(PASSWORD, "")).await;
    assert_eq!(end.code(), "OK", "{end:?}");
    assert_eq!(daemon.told("/user.User/Delete", Some(&session), &delete(PASSWORD, "")).await.code(), "E-005");
    let unknown = TotpRequest { action: 2, pwd: STANDARD.encode(PASSWORD), totp: String::new() };
    daemon.sign_in("bob").await;
    let session = daemon.login("bob", PASSWORD, "").await.metadata("authorization");
    assert_eq!(daemon.told("/user.User/Totp", Some(&session), &unknown).await.code(), "E-006");
}

#[tokio::test]
async fn guesses_and_mails_are_bounded_as_over_http() {
    let daemon = Daemon::start(&format!("{MAIL}[login]\nmax_failures = 3\n")).await;
    daemon.sign_in("alice").await;
    for _ in 0..3 {
        assert_eq!(daemon.login("alice", "wrong", "").await.code(), "E-008");
    }
    assert_eq!(daemon.login("alice", PASSWORD, "").await.code(), "E-008", "the name is locked");
    let sign_up = SignupRequest { email: "ada@example.com".into(), pwd: String::new() };
    for _ in 0..5 {
        assert_eq!(daemon.told("/user.User/Signup", None, &sign_up).await.code(), "E-003");
    }
    let end = daemon.told("/user.User/Signup", None, &sign_up).await;
    assert_eq!((end.code(), end.status, end.reason().as_str()), ("E-001", 8, "RATE_LIMITED"));
    let retry = end.details.details.iter().find(|detail| detail.type_url.ends_with("google.rpc.RetryInfo"));
    let retry = rpc::RetryInfo::decode(retry.unwrap().value.as_slice()).unwrap();
    assert!(retry.retry_delay.unwrap().seconds > 60);
}

#[tokio::test]
async fn what_needs_a_mailed_token_says_so_and_takes_no_other() {
    let daemon = Daemon::start(MAIL).await;
    daemon.sign_in("alice").await;
    let session = daemon.login("alice", PASSWORD, "").await.metadata("authorization");
    let pwd = STANDARD.encode("correct horse battery staple");
    let sign_up = |email: &str, pwd: &str| SignupRequest { email: email.into(), pwd: pwd.into() };
    let reset = ResetRequest { email: "ada@example.com".into(), pwd: pwd.clone(), totp: String::new() };
    for (authorization, email, pwd, code) in [
        (None, "ada@example.com", pwd.as_str(), "E-003"),
        (None, "ada@example.com", "", "E-003"),
        (None, "ada", pwd.as_str(), "E-009"),
        (None, "ada@example.com", "?", "E-006"),
        (Some("?"), "ada@example.com", pwd.as_str(), "E-007"),
        (Some("YQ"), "ada@example.com", pwd.as_str(), "E-005"),
        (Some(session.as_str()), "ada@example.com", pwd.as_str(), "E-005"),
        (Some("YQ"), "ada@example.com", "cGFzc3dvcmQx", "E-009"),
    ] {
        let end = daemon.told("/user.User/Signup", authorization, &sign_up(email, pwd)).await;
        assert_eq!(end.code(), code, "{authorization:?} {email} {pwd}");
        if code == "E-003" {
            let info = rpc::ErrorInfo::decode(end.details.details[0].value.as_slice()).unwrap();
            assert_eq!((end.status, info.reason.as_str()), (9, "VERIFICATION_REQUIRED"));
        }
    }
    for (authorization, code) in [(None, "E-003"), (Some("?"), "E-007"), (Some(session.as_str()), "E-005")] {
        assert_eq!(daemon.told("/user.User/Reset", authorization, &reset).await.code(), code, "{authorization:?}");
    }
    let closed = Daemon::start("").await;
    let end = closed.told("/user.User/Signup", None, &sign_up("ada@example.com", &pwd)).await;
    assert_eq!((end.code(), end.status), ("E-003", 7), "sign-up is closed");
}
