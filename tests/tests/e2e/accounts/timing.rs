//! Whether an address is known is not told by time: authd does the same for both, part by part.
//!
//! What is compared is the CPU time until the answer, and what is written to the disk. A mail is sent after that, so here a mail server that accepts
//! connections and says nothing has all that authd opens, and no mail of the test is tried meanwhile. The delivery is left
//! out because it holds up no answer. After a sign-up and after a request for a change each address gets one mail; after
//! a request for a reset the row of an unknown address is deleted instead of being sent.

use super::PASSWORD;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::time::Duration;
use tests::authd::{Authd, Setup};
use tests::http::Http;
use tests::timing::{Work, median_ratio, work};
use tests::{TIMEOUT, until};

/// Pairs of requests, one for a known and one for an unknown address.
const ROUNDS: usize = 400;
/// An address gets as few mails as the default allows it in an hour, and a person has a bound of sixty step-ups.
const ADDRESSES: usize = ROUNDS / 4;
const PEOPLE: usize = ROUNDS / 25;
/// Bytes of a page of the database.
const PAGE: u64 = 4096;
/// As many mails as authd has on the way.
const ON_THE_WAY: usize = 4;

/// authd with accounts that have these addresses, and a mail server that holds up every mail.
struct Scene {
    authd: Authd,
    _server: TcpListener,
}

impl Scene {
    fn new() -> Self {
        let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("smtp://{}?tls=none", server.local_addr().expect("it is bound"));
        let toml = "[mail]\nper_hour = 1000000\nper_address_per_hour = 1000000\nper_network_per_hour = 1000000\n\
                    [accounts]\nsign_up = \"open\"\n[login]\nmax_failures_per_address = 1000000\n";
        let authd = Setup::new().toml(toml).env("SMTP_URL", &url).env("SMTP_FROM", "auth@example.com").start();
        for number in 0..ADDRESSES {
            let user = json!({"username": format!("known-{number}"), "email": known(number)});
            authd.admin().post("/users", &user).expect("it answers").expect(201);
            let verify = format!("/users/known-{number}/verify");
            authd.admin().post(&verify, &json!({})).expect("it answers").expect(200);
        }
        for number in 0..ON_THE_WAY {
            let to = json!({"to": format!("{number}@example.com")});
            authd.admin().post("/mails/test", &to).expect("it answers").expect(201);
        }
        until(TIMEOUT, "mails on the way", || {
            let mails = authd.admin().get("/mails").expect("it answers").expect(200);
            mails["mails"].as_array()?.iter().all(|mail| mail["attempts"] == 1).then_some(())
        });
        Self { authd, _server: server }
    }

    /// Asks for a known and for an unknown address in each round, and compares the work.
    fn compare(&self, ask: impl Fn(usize, &str)) {
        let mut seen: [Vec<Work>; 2] = Default::default();
        for round in 0..ROUNDS {
            let number = round % ADDRESSES;
            let addresses = [known(number), unknown(number)];
            for step in 0..2 {
                // Each of the two comes first in turn.
                let kind = (step + round) % 2;
                let ((), work) = work(self.authd.pid(), || ask(round, &addresses[kind]));
                seen[kind].push(work);
            }
        }
        for part in PARTS {
            let [known, unknown] =
                seen.each_ref().map(|all| all.iter().map(|work| cpu(work, part)).collect::<Vec<_>>());
            let (least, most) = median_ratio(&known, &unknown);
            // To read the row of an account takes a little; a hash or a commit is far more.
            let is_same = least <= 1.1 && most >= 1.0 / 1.1;
            assert!(is_same, "{part}: a known address takes {least:.3} to {most:.3} times as long");
        }
        // The least, because now and then a page is full, or something else is written meanwhile.
        let [known, unknown] = seen.map(|all| all.iter().map(|work| work.written).min().unwrap_or_default());
        // A page more would be too many.
        let is_same = known.abs_diff(unknown) < PAGE;
        assert!(is_same, "for a known address it writes {known} bytes, for another one {unknown}");
    }
}

/// What is compared each for itself, so that a commit less shows beside a hash.
const PARTS: [&str; 3] = ["hashing", "db-writer", "the rest"];

/// The time of the threads of this part.
fn cpu(work: &Work, part: &str) -> Duration {
    let is_of = |thread: &str| PARTS.into_iter().find(|part| *part == thread).unwrap_or("the rest") == part;
    let times = work.cpu.iter().filter(|(thread, _)| is_of(thread)).map(|(_, time)| *time);
    // A part that does nothing for either is the same.
    times.sum::<Duration>() + Duration::from_micros(1)
}

fn known(number: usize) -> String {
    format!("known-{number}@example.com")
}

fn unknown(number: usize) -> String {
    format!("other-{number}@example.com")
}

#[track_caller]
fn post(http: &Http, path: &str, body: &Value) {
    let answer = http.post(path, body).expect("it answers").expect(202);
    assert_eq!(answer, json!({"status": "mail_requested"}));
}

#[test]
fn a_sign_up_is_the_same_work_for_a_known_address() {
    let scene = Scene::new();
    scene.compare(|_, email| post(&scene.authd.http(), "/auth/signup", &json!({"email": email})));
}

#[test]
fn a_reset_is_the_same_work_for_an_unknown_address() {
    let scene = Scene::new();
    scene.compare(|_, email| post(&scene.authd.http(), "/auth/password/reset", &json!({"email": email})));
}

#[test]
fn a_change_of_address_is_the_same_work_for_a_known_address() {
    let scene = Scene::new();
    let sessions: Vec<Http> = (0..PEOPLE)
        .map(|number| {
            let login = json!({"username": format!("person-{number}"), "password": PASSWORD});
            scene.authd.admin().post("/users", &login).expect("it answers").expect(201);
            let session = scene.authd.http().post("/auth/login", &login).expect("it answers").expect(200);
            scene.authd.http().bearer(session["token"].as_str().expect("a session"))
        })
        .collect();
    scene.compare(|round, email| {
        let change = json!({"email": email, "password": PASSWORD});
        post(&sessions[round % PEOPLE], "/auth/email", &change);
    });
}
