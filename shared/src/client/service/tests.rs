//! Against a peer that answers as a script says: overload, silence and nonsense are not to be had from authd itself.

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::super::env::testing::Still;
use super::super::peer::{Act, Peer, until};
use super::*;
use crate::problem::{Code, Problem};

const ID: &str = "00000000-0000-7000-8000-000000000001";

fn valid(scopes: &[&str]) -> Value {
    json!({"valid": true, "scopes": scopes, "token_id": ID, "name": "demo"})
}

fn session(permissions: &[&str], lives: i64) -> Value {
    let payload = json!({"user_id": ID, "username": "alice", "name": "Alice", "service_id": ID,
        "roles": ["editor"], "permissions": permissions});
    json!({"valid": true, "payload": payload, "renewed": false, "expires_at": Still::START / 1000 + lives})
}

fn token() -> Secret {
    Secret::new("amp_live_secret")
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const NONE: &[&str] = &[];

async fn reason(authd: &Authd, scopes: &[&str], usage: Use) -> Option<Reason> {
    authd.validate(&token(), scopes, None, usage).await.err().map(|denial| denial.reason())
}

#[tokio::test]
async fn a_read_is_answered_from_memory_for_a_minute_and_a_write_never() {
    let peer = Peer::saying(valid(&["read"])).await;
    let clock = Arc::new(Still::default());
    let authd = peer.authd().env(clock.clone()).build().unwrap();
    for (wait, usage, asked) in [
        (0, Use::Read, 1),
        (0, Use::Read, 1),
        (59, Use::Read, 1),
        (1, Use::Read, 2),
        (0, Use::Write, 3),
        (0, Use::Write, 4),
        // the write's answer is the newest: the minute starts again
        (59, Use::Read, 4),
        (1, Use::Read, 5),
    ] {
        clock.pass(seconds(wait));
        assert_eq!(reason(&authd, &["read"], usage).await, None);
        assert_eq!(peer.count(), asked, "{wait} {usage:?}");
    }
    assert_eq!(authd.stats(), Stats { asked: 5, remembered: 3, joined: 0, entries: 1 });
}

#[tokio::test]
async fn scopes_are_decided_at_every_use() {
    let peer = Peer::saying(valid(&["read"])).await;
    let authd = peer.authd().build().unwrap();
    assert_eq!(reason(&authd, &["read"], Use::Read).await, None);
    assert_eq!(reason(&authd, &["read", "write"], Use::Read).await, Some(Reason::InsufficientScope));
    assert_eq!(reason(&authd, NONE, Use::Read).await, None);
    assert_eq!(peer.count(), 1, "one identity answers all three");
    let elsewhere = authd.validate(&token(), NONE, Some("10.0.0.1".parse().unwrap()), Use::Read).await;
    assert!(elsewhere.is_ok());
    assert_eq!(peer.count(), 2, "about an address authd decides");
}

#[tokio::test]
async fn a_session_is_remembered_half_way_to_its_end() {
    let peer = Peer::saying(session(&["notes.read"], 40)).await;
    let clock = Arc::new(Still::default());
    let authd = peer.authd().service("notes").env(clock.clone()).build().unwrap();
    let needs = Required::permission("notes.read");
    for (wait, asked) in [(0, 1), (19, 1), (1, 2), (9, 2), (1, 3)] {
        clock.pass(seconds(wait));
        assert_eq!(authd.check(&token(), &needs, Use::Read).await.unwrap().username, "alice");
        assert_eq!(peer.count(), asked, "{wait}");
    }
    let denial = authd.check(&token(), &Required::permission("notes.write"), Use::Read).await.unwrap_err();
    assert_eq!((denial.reason(), peer.count()), (Reason::NotPermitted, 3));
    authd.check(&token(), &needs, Use::Write).await.unwrap();
    assert_eq!(peer.count(), 4);
}

#[tokio::test]
async fn reads_of_one_token_ask_once_and_the_answer_survives_whoever_asked_first() {
    let release = Arc::new(Notify::new());
    let held = release.clone();
    let peer = Peer::start(move |_, _| Act::Hold(held.clone(), valid(&["read"]))).await;
    let authd = peer.authd().deadline(seconds(30)).build().unwrap();
    let read = |authd: Authd| tokio::spawn(async move { reason(&authd, &["read"], Use::Read).await });
    let first = read(authd.clone());
    until(|| peer.count() > 0).await;
    first.abort();
    let others: Vec<_> = (0..50).map(|_| read(authd.clone())).collect();
    until(|| authd.stats().joined == 50).await;
    release.notify_one();
    for other in others {
        assert_eq!(other.await.unwrap(), None);
    }
    assert_eq!(peer.count(), 1);
}

#[tokio::test]
async fn what_is_forgotten_while_it_is_asked_about_is_not_remembered() {
    let release = Arc::new(Notify::new());
    let held = release.clone();
    let peer = Peer::start(move |number, request| match number {
        0 => Act::Hold(held.clone(), session(&[], 300)),
        _ if request.starts_with("POST /auth/logout") => Act::Answer(json!({"status": "logged_out"})),
        _ => Act::Answer(json!({"valid": false, "error": "invalid_token"})),
    });
    let peer = peer.await;
    let authd = peer.authd().deadline(seconds(30)).build().unwrap();
    let reading = {
        let authd = authd.clone();
        tokio::spawn(async move { authd.check(&token(), &Required::nothing(), Use::Read).await.is_ok() })
    };
    until(|| peer.count() > 0).await;
    authd.logout(&token()).await.unwrap();
    // It neither joins the question from before, nor finds its answer later.
    let denial = authd.check(&token(), &Required::nothing(), Use::Read).await.unwrap_err();
    assert_eq!(denial.reason(), Reason::Unknown);
    release.notify_one();
    assert!(reading.await.unwrap(), "it was asked before the logout");
    assert_eq!(authd.stats().entries, 0);
}

#[tokio::test]
async fn a_refusal_evicts_and_is_not_remembered_itself() {
    let peer = Peer::start(|number, _| match number {
        1 => Act::Answer(json!({"valid": false, "scopes": [], "error": "token_revoked", "detail": "d"})),
        _ => Act::Answer(valid(&["read"])),
    });
    let peer = peer.await;
    let authd = peer.authd().build().unwrap();
    assert_eq!(reason(&authd, NONE, Use::Read).await, None);
    assert_eq!(reason(&authd, NONE, Use::Write).await, Some(Reason::Revoked));
    assert_eq!(authd.stats().entries, 0);
    assert_eq!(reason(&authd, NONE, Use::Read).await, None);
    assert_eq!(peer.count(), 3);
}

#[tokio::test]
async fn a_forgotten_token_is_asked_about_again() {
    let peer = Peer::start(|_, _| Act::Answer(valid(&["read"]))).await;
    let authd = peer.authd().build().unwrap();
    for _ in 0..2 {
        assert_eq!(reason(&authd, NONE, Use::Read).await, None);
        assert_eq!(peer.count(), 1);
    }
    authd.forget(&token());
    assert_eq!(reason(&authd, NONE, Use::Read).await, None);
    assert_eq!(peer.count(), 2);
}

#[tokio::test]
async fn an_overloaded_authd_is_asked_again_when_it_says() {
    let peer = Peer::start(|number, _| match number {
        0 => Act::Problem(503, Some(1)),
        1 => Act::Problem(429, None),
        2 => Act::Close,
        _ => Act::Answer(valid(&["read"])),
    });
    let peer = peer.await;
    let authd = peer.authd().deadline(seconds(30)).build().unwrap();
    let start = Instant::now();
    assert_eq!(reason(&authd, &["read"], Use::Write).await, None);
    assert!(start.elapsed() >= seconds(1), "Retry-After is honoured: {:?}", start.elapsed());
    assert_eq!((peer.count(), authd.stats().asked), (4, 4));

    let busy = Peer::start(|_, _| Act::Problem(503, Some(60))).await;
    let authd = busy.authd().build().unwrap();
    let denial = authd.validate(&token(), NONE, None, Use::Read).await.unwrap_err();
    assert_eq!((denial.reason(), denial.retry_after()), (Reason::Unavailable, Some(seconds(60))));
    assert_eq!(busy.count(), 1, "what would come after the deadline is not waited for");

    let dead = Peer::start(|_, _| Act::Problem(503, None)).await;
    assert_eq!(reason(&dead.authd().build().unwrap(), NONE, Use::Read).await, Some(Reason::Unavailable));
    assert_eq!(dead.count(), 5, "there is an end");
}

#[tokio::test]
async fn a_login_is_never_sent_twice() {
    let login = Login { username: "alice".into(), password: Secret::new("pass"), totp: None };
    for (act, expected) in [
        (None, Reason::Unavailable),
        (Some(503), Reason::Unavailable),
        (Some(429), Reason::Throttled),
        (Some(401), Reason::LoginRefused),
        (Some(422), Reason::LoginRefused),
    ] {
        let peer = Peer::start(move |_, _| act.map_or(Act::Close, |status| Act::Problem(status, Some(0)))).await;
        let denial = peer.authd().build().unwrap().login(&login, None).await.unwrap_err();
        assert_eq!((denial.reason(), peer.count()), (expected, 1), "{act:?}");
    }
    let peer = Peer::start(|_, _| Act::Refuse(Problem::new(Code::TotpRequired, "send a code as totp"))).await;
    let denial = peer.authd().build().unwrap().login(&login, None).await.unwrap_err();
    assert_eq!((denial.problem().error, denial.status().as_u16()), (Code::TotpRequired, 401), "not a wrong password");
    let peer = Peer::start(|_, request| {
        assert!(request.contains("x-forwarded-for: 10.0.0.9\r\n"), "{request}");
        Act::Answer(json!({"token": "t", "expires_at": 1, "payload": {"user_id": ID, "username": "a", "name": "A"}}))
    });
    let authd = peer.await.authd().build().unwrap();
    authd.login(&login, Some("::ffff:10.0.0.9".parse().unwrap())).await.unwrap();
    // Where nothing was sent, it is tried again.
    let nobody = Authd::at(Endpoint::url("http://127.0.0.1:9").unwrap()).build().unwrap();
    assert_eq!(nobody.login(&login, None).await.unwrap_err().reason(), Reason::Unreachable);
    assert_eq!(nobody.stats().asked, 5);
}

/// Whatever comes back that is not a whole "yes": nobody gets through.
#[tokio::test]
async fn anything_but_a_whole_yes_is_a_denial() {
    for (answer, expected) in [
        ("", Reason::Misconfigured),
        ("<html>", Reason::Misconfigured),
        ("null", Reason::Misconfigured),
        ("{}", Reason::Misconfigured),
        ("[]", Reason::Misconfigured),
        ("{\"valid\":true}", Reason::Misconfigured),
        ("{\"valid\":\"true\",\"scopes\":[]}", Reason::Misconfigured),
        ("{\"valid\":true,\"scopes\":[\"read\"]}", Reason::Misconfigured),
        ("{\"valid\":true,\"scopes\":[\"read\"],\"name\":\"n\"}", Reason::Misconfigured),
        ("{\"valid\":false,\"scopes\":[\"read\"]}", Reason::Unknown),
        ("{\"valid\":false,\"scopes\":[\"read\"],\"error\":\"token_not_found\"}", Reason::Unknown),
        ("{\"valid\":false,\"scopes\":[\"read\"],\"error\":\"token_expired\"}", Reason::Expired),
        ("{\"valid\":false,\"scopes\":[\"read\"],\"error\":\"address_not_allowed\"}", Reason::AddressNotAllowed),
        ("{\"valid\":false,\"scopes\":[\"read\"],\"error\":\"made_up_later\"}", Reason::Misconfigured),
    ] {
        let peer = Peer::start(move |_, _| Act::Raw(answer)).await;
        let authd = peer.authd().build().unwrap();
        for usage in [Use::Read, Use::Write] {
            assert_eq!(reason(&authd, NONE, usage).await, Some(expected), "{answer}");
        }
        assert_eq!(authd.stats().entries, 0, "{answer}");
    }
    for (answer, expected) in [
        ("{\"valid\":true}", Reason::Misconfigured),
        ("{\"valid\":false}", Reason::Unknown),
        ("{\"valid\":false,\"error\":\"invalid_token\"}", Reason::Unknown),
        ("{\"valid\":false,\"error\":\"no_access\"}", Reason::NotPermitted),
        ("{\"valid\":true,\"expires_at\":4000000000,\"payload\":{\"user_id\":\"x\"}}", Reason::Misconfigured),
        (
            "{\"valid\":true,\"expires_at\":4000000000,\"payload\":{\"user_id\":\
             \"00000000-0000-7000-8000-000000000001\",\"username\":\"a\",\"name\":\"A\"}}",
            Reason::Misconfigured,
        ),
    ] {
        let peer = Peer::start(move |_, _| Act::Raw(answer)).await;
        let authd = peer.authd().service("notes").build().unwrap();
        let denial = authd.check(&token(), &Required::nothing(), Use::Read).await.unwrap_err();
        assert_eq!(denial.reason(), expected, "{answer}");
        assert_eq!(authd.stats().entries, 0, "{answer}");
    }
}

/// A refusal of whoever stands before authd, in words that ours could be.
#[tokio::test]
async fn a_refusal_is_no_success_whatever_it_says() {
    let peer = Peer::start(move |_, _| Act::Gateway(403, "{\"status\":\"refused\"}")).await;
    let authd = peer.authd().build().unwrap();
    assert!(authd.logout(&token()).await.is_err());
}

#[tokio::test]
async fn silence_ends_at_the_deadline_and_absence_at_once() {
    let peer = Peer::start(|_, _| Act::Hang).await;
    let authd = peer.authd().deadline(Duration::from_millis(200)).build().unwrap();
    for usage in [Use::Read, Use::Write] {
        let start = Instant::now();
        assert_eq!(reason(&authd, NONE, usage).await, Some(Reason::TimedOut));
        assert!(start.elapsed() >= Duration::from_millis(200));
    }
    assert!(authd.logout(&token()).await.unwrap_err().reason() == Reason::TimedOut);

    let nobody = Authd::at(Endpoint::url("http://127.0.0.1:9").unwrap()).build().unwrap();
    assert_eq!(reason(&nobody, NONE, Use::Read).await, Some(Reason::Unreachable));
    let socket = Authd::at(Endpoint::Socket("/nonexistent/authd.sock".into())).build().unwrap();
    assert_eq!(reason(&socket, NONE, Use::Write).await, Some(Reason::Unreachable));
}

#[tokio::test]
async fn while_authd_is_down_a_read_lives_on_its_minute_alone() {
    let peer = Peer::start(|number, _| if number == 0 { Act::Answer(valid(&["read"])) } else { Act::Close }).await;
    let clock = Arc::new(Still::default());
    let authd = peer.authd().env(clock.clone()).build().unwrap();
    assert_eq!(reason(&authd, &["read"], Use::Read).await, None);
    clock.pass(seconds(59));
    assert_eq!(reason(&authd, &["read"], Use::Write).await, Some(Reason::Unavailable));
    assert_eq!(reason(&authd, &["read"], Use::Read).await, None, "that authd is down says nothing about the token");
    clock.pass(seconds(1));
    assert_eq!(reason(&authd, &["read"], Use::Read).await, Some(Reason::Unavailable));
}

#[tokio::test]
async fn what_cannot_be_a_token_is_not_asked_about() {
    let peer = Peer::saying(valid(&[])).await;
    let authd = peer.authd().build().unwrap();
    for (text, expected) in [("", Reason::Missing), ("a b", Reason::Unknown), ("a\u{fc}", Reason::Unknown)] {
        let denial = authd.validate(&Secret::new(text), NONE, None, Use::Write).await.unwrap_err();
        assert_eq!(denial.reason(), expected);
    }
    assert_eq!(peer.count(), 0);
}

#[tokio::test]
async fn more_questions_than_allowed_wait_for_their_turn() {
    let peer = Peer::start(|_, _| Act::Hang).await;
    let authd = peer.authd().most_asks(1).deadline(seconds(60)).build().unwrap();
    let write = |authd: Authd| tokio::spawn(async move { reason(&authd, NONE, Use::Write).await });
    let first = write(authd.clone());
    until(|| peer.count() > 0).await;
    let second = tokio::time::timeout(Duration::from_millis(100), write(authd.clone())).await;
    assert!(second.is_err() && peer.count() == 1);
    first.abort();
    until(|| peer.count() > 1).await;
}

#[test]
fn tokens_do_not_travel_in_clear_and_are_not_shown() {
    let remote = || Authd::at(Endpoint::url("http://auth.example.test").unwrap());
    assert!(remote().build().unwrap_err().contains("https"));
    let builder = remote().insecure().service_token(Secret::new("hunter2"));
    assert!(!format!("{builder:?}").contains("hunter2"));
    let authd = builder.build().unwrap();
    assert!(!format!("{authd:?}").contains("hunter2"));
}
