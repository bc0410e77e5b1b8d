//! Who gets the credentials of a browser login, and above all who does not: the eight attacks on a login whose URL, state
//! or poll secret has leaked, or whose link was sent to a victim, in both modes, each with a twin that succeeds and
//! differs only in the value that the attacker lacks.

use serde_json::Value;
use tests::browser::{Elsewhere, Page, Visit};
use tests::http::Response;
use tests::login::{Mode, Service, Terminal, ask_status, shown_release};

/// What somebody holds of a login that the owner has started, and in which the owner has signed in.
#[derive(Clone, Copy, Debug, Default)]
struct Holds<'a> {
    state: &'a str,
    secret: Option<&'a str>,
    release: Option<&'a str>,
}

fn collect(service: &Service, holds: Holds<'_>) -> Response {
    ask_status(&service.authd.http(), holds.state, holds.secret, holds.release)
}

#[track_caller]
pub fn assert_nothing(service: &Service, answer: &Response, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    for word in ["AUTHORIZED", "access_key", "session_token", "refresh_token"] {
        assert!(!answer.text().contains(word), "{}", answer.text());
    }
    assert!(service.sts.calls("AssumeRole").is_empty(), "credentials were asked for");
}

#[track_caller]
pub fn assert_credentials(answer: &Response) -> Value {
    let said = answer.expect(200);
    assert_eq!(said["status"], "AUTHORIZED", "{said}");
    for field in ["access_key_id", "secret_access_key", "session_token", "refresh_token"] {
        assert!(said[field].as_str().is_some_and(|v| !v.is_empty()), "{field} is missing");
    }
    said
}

/// The owner starts a login and signs in, on one machine; the answer is also the release that came to the owner.
pub fn signed_in(service: &Service, mode: Mode) -> (Terminal, String) {
    let owner = Terminal::start(&service.authd, mode);
    let page = Visit::new().go(&owner.auth_url);
    let release = owner.release(&page);
    (owner, release)
}

/// The state as someone reads it out of the login URL.
fn state_in(url: &str) -> String {
    url.split(['?', '&']).find_map(|p| p.strip_prefix("state=")).expect("the login URL has a state").to_owned()
}

fn only_the_login_url(mode: Mode) {
    let service = Service::start();
    let (owner, release) = signed_in(&service, mode);
    let state = state_in(&owner.auth_url);
    let attack = Holds { state: &state, ..Holds::default() };
    assert_nothing(&service, &collect(&service, attack), 401);
    // opening the URL again, after the owner, brings no second release: the state is used up
    let late = Visit::new().from(&Elsewhere::reaching(&service.ports())).go(&owner.auth_url);
    assert!(shown_release(&late).is_none() && !late.url.contains("release="), "{late:?}");
    assert_nothing(&service, &collect(&service, attack), 401);
    let twin = Holds { secret: Some(&owner.secret), release: Some(&release), ..attack };
    assert_credentials(&collect(&service, twin));
}

fn only_the_state(mode: Mode) {
    let service = Service::start();
    let (owner, release) = signed_in(&service, mode);
    // even with the release, which the browser's history has beside the state
    let attack = Holds { state: &owner.state, secret: None, release: Some(&release) };
    assert_nothing(&service, &collect(&service, attack), 401);
    let guessed = Holds { secret: Some("00000000000000000000000000000000000000000000"), ..attack };
    assert_nothing(&service, &collect(&service, guessed), 401);
    let callback = format!("/auth/cli/callback?code=invented&state={}", owner.state);
    let answer = service.authd.http().get(&callback).expect("authd answers");
    assert!(!answer.text().contains("release"), "{}", answer.text());
    let twin = Holds { secret: Some(&owner.secret), ..attack };
    assert_credentials(&collect(&service, twin));
}

fn only_the_poll_secret(mode: Mode) {
    let service = Service::start();
    let (owner, release) = signed_in(&service, mode);
    let attack = Holds { state: &owner.state, secret: Some(&owner.secret), release: None };
    for _ in 0..3 {
        let answer = collect(&service, attack);
        assert_nothing(&service, &answer, 200);
        assert_eq!(answer.json()["status"], "PENDING");
    }
    let guess = Holds { release: Some("guessed-release-0123456789"), ..attack };
    assert_nothing(&service, &collect(&service, guess), 200);
    let twin = Holds { release: Some(&release), ..attack };
    assert_credentials(&collect(&service, twin));
}

/// The attacker starts a login and sends the link; the victim signs in where the attacker's loopback is not theirs.
fn started_by_the_attacker(mode: Mode) {
    let service = Service::start();
    let attacker = Terminal::start(&service.authd, mode);
    let elsewhere = Elsewhere::reaching(&service.ports());
    let page = Visit::new().from(&elsewhere).go(&attacker.auth_url);
    assert!(service.provider.hits("POST /oauth2/token") == 1, "the victim has signed in: {page:?}");
    match mode {
        // it went to the victim's own machine, where nobody listens
        Mode::Loopback => {
            assert!(
                page.visited.iter().any(|u| u.starts_with("http://127.0.0.1:") && u.contains("release=")),
                "{page:?}"
            );
            assert_eq!(attacker.release_on_loopback(), None);
        }
        Mode::Paste => assert!(shown_release(&page).is_some() && warns(&page), "{}", page.text),
    }
    for _ in 0..3 {
        let answer = attacker.poll(Some(&attacker.secret), None);
        assert_nothing(&service, &answer, 200);
        assert_eq!(answer.json()["status"], "PENDING");
    }

    // the twin: the same person, link and provider; only the browser runs where the login was started
    let owner = Terminal::start(&service.authd, mode);
    let page = Visit::new().go(&owner.auth_url);
    let release = owner.release(&page);
    let said = assert_credentials(&owner.poll(Some(&owner.secret), Some(&release)));
    assert_eq!(service.sts.calls("AssumeRole").len(), 1, "{said}");
}

/// The page of the paste mode says who is asking and what not to do.
fn warns(page: &Page) -> bool {
    let text = page.text.to_lowercase();
    text.contains("rig") && text.contains("deny") && text.contains("127.0.0.1")
}

#[test]
fn attack_only_the_login_url_loopback() {
    only_the_login_url(Mode::Loopback);
}

#[test]
fn attack_only_the_login_url_paste() {
    only_the_login_url(Mode::Paste);
}

#[test]
fn attack_only_the_state_loopback() {
    only_the_state(Mode::Loopback);
}

#[test]
fn attack_only_the_state_paste() {
    only_the_state(Mode::Paste);
}

#[test]
fn attack_only_the_poll_secret_loopback() {
    only_the_poll_secret(Mode::Loopback);
}

#[test]
fn attack_only_the_poll_secret_paste() {
    only_the_poll_secret(Mode::Paste);
}

#[test]
fn attack_link_sent_to_a_victim_loopback() {
    started_by_the_attacker(Mode::Loopback);
}

#[test]
fn attack_link_sent_to_a_victim_paste() {
    started_by_the_attacker(Mode::Paste);
}
