//! One `Idempotency-Key`, many requests at the same time: all get the one answer.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Barrier;
use tests::authd::{Authd, Setup};
use tests::http::Response;

const AT_ONCE: usize = 16;
const ROUNDS: usize = 50;

fn engines() -> [(&'static str, Authd); 2] {
    let postgres = Setup::new().database(&tests::postgres::database());
    [("SQLite", Authd::start()), ("PostgreSQL", postgres.start())]
}

/// Sends the same request this often at the same time.
fn all_at_once(authd: &Authd, key: &str, path: &str, body: &Value) -> Vec<Response> {
    let barrier = Barrier::new(AT_ONCE);
    std::thread::scope(|scope| {
        let send = || {
            let ask = authd.admin().with("idempotency-key", key);
            barrier.wait();
            ask.post(path, body).expect("it answers")
        };
        let senders: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(send)).collect();
        senders.into_iter().map(|sender| sender.join().expect("no panic")).collect()
    })
}

/// What was answered beside the one answer that there should be, and how often.
#[derive(Default)]
struct Odd(BTreeMap<String, usize>);

impl Odd {
    /// The secret that all were given, or the first of several.
    fn tally(&mut self, engine: &str, answers: &[Response], status: u16) -> String {
        let mut bodies = Vec::new();
        for answer in answers {
            if answer.status == status {
                bodies.push(answer.text());
            } else {
                let what = format!("{engine}: {} {}", answer.status, answer.json()["error"]);
                *self.0.entry(what).or_default() += 1;
            }
        }
        bodies.sort();
        bodies.dedup();
        if bodies.len() > 1 {
            *self.0.entry(format!("{engine}: another body")).or_default() += bodies.len() - 1;
        }
        let first = bodies.first().map(|text| serde_json::from_str::<Value>(text).expect("JSON"));
        first.and_then(|body| Some(body["token"].as_str()?.to_owned())).unwrap_or_default()
    }

    fn assert_none(&self) {
        assert!(self.0.is_empty(), "of {} answers each: {:?}", ROUNDS * AT_ONCE, self.0);
    }
}

#[test]
fn concurrent_rotates_with_one_key_give_one_secret() {
    let mut odd = Odd::default();
    for (engine, authd) in engines() {
        let (mut current, id) = authd.mint("turning", &["read"]);
        let mut seen = Vec::new();
        for round in 0..ROUNDS {
            let path = format!("/auth/tokens/{id}/rotate");
            let answers = all_at_once(&authd, &format!("rotate-{round}"), &path, &json!({"grace_seconds": 0}));
            let next = odd.tally(engine, &answers, 200);
            assert_eq!(authd.validate(&next, &["read"])["valid"], true, "{engine}, round {round}: {:?}", odd.0);
            assert_eq!(authd.validate(&current, &["read"])["valid"], false, "{engine}, round {round}: no grace");
            seen.push(std::mem::replace(&mut current, next));
        }
        seen.push(current);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), ROUNDS + 1, "{engine}: a new secret each round");
    }
    odd.assert_none();
}

#[test]
fn concurrent_mints_with_one_key_make_one_token() {
    let mut odd = Odd::default();
    for (engine, authd) in engines() {
        for round in 0..ROUNDS {
            let name = format!("minted-{round}");
            let body = json!({"name": name, "scopes": ["read"]});
            let token = odd.tally(engine, &all_at_once(&authd, &name, "/auth/tokens", &body), 201);
            assert_eq!(authd.validate(&token, &["read"])["valid"], true, "{engine}, round {round}: {:?}", odd.0);
        }
        let list = authd.admin().get("/auth/tokens").expect("it answers").expect(200);
        assert_eq!(list["total"].as_u64(), Some(ROUNDS as u64), "{engine}: one token a round");
    }
    odd.assert_none();
}
