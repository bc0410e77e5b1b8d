//! Two real services that ask authd about their callers, in Rust by the client library and in Python by introspection:
//! what they remember, for how long, and that nobody gets through when authd says no, or nothing.

use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use tests::authd::Authd;
use tests::backend::{Backend, Example};
use tests::http::Response;
use tests::process::stdout;
use tests::{TIMEOUT, until};

const PASSWORD: &str = "correct horse battery staple";
const REMEMBER: Duration = Duration::from_secs(3);
/// How long a service waits for authd: more than an answer takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(10);

/// authd with alice, who may read and write notes, and the token of the service `notes`.
struct House {
    authd: Authd,
    service_token: String,
    example: Example,
}

impl House {
    /// Furnished as the examples' README says.
    fn new(example: Example) -> Self {
        let authd = Authd::start();
        let alice = json!({"username": "alice", "password": PASSWORD});
        authd.admin().post("/users", &alice).expect("it answers").expect(201);
        let access = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/examples/access.toml");
        stdout(&authd.authctl(&["apply", access.to_str().expect("UTF-8"), "--yes"]));
        let service_token = stdout(&authd.authctl(&["service", "token", "create", "notes"])).trim().to_owned();
        Self { authd, service_token, example }
    }

    fn backend(&self) -> Backend {
        let (remember, deadline) = (REMEMBER.as_secs().to_string(), DEADLINE.as_secs().to_string());
        let env = [("REMEMBER_SECONDS", remember.as_str()), ("DEADLINE_SECONDS", deadline.as_str())];
        Backend::start(self.example, &self.authd, &self.service_token, &env)
    }

    /// How often authd was asked about a session.
    fn asked(&self) -> u64 {
        let metrics = self.authd.socket().get("/metrics").expect("it answers").text();
        let start = format!("authd_requests_total{{operation=\"{}\"", self.example.asks_by());
        let counts = metrics.lines().filter(|line| line.starts_with(&start));
        counts.map(|line| line.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()).expect("a number")).sum()
    }
}

#[track_caller]
fn login(backend: &Backend) -> String {
    let answer = backend.http().post("/login", &json!({"username": "alice", "password": PASSWORD}));
    answer.expect("it answers").expect(200)["token"].as_str().expect("a token").to_owned()
}

fn read(backend: &Backend, token: &str) -> Response {
    backend.http().bearer(token).get("/notes").expect("it answers")
}

fn write(backend: &Backend, token: &str) -> Response {
    backend.http().with("token", token).post("/notes", &json!({"text": "hello"})).expect("it answers")
}

#[track_caller]
fn assert_refused(answer: &Response, status: u16, challenge: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.json()["status"], status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let found = answer.header("www-authenticate").unwrap_or_default();
    assert!(found.starts_with(challenge) && found.is_empty() == challenge.is_empty(), "{found}");
}

/// Reads afresh, and again from memory, all within what is remembered; the moment of the fresh answer.
fn read_twice(house: &House, backend: &Backend, token: &str) -> Instant {
    until(TIMEOUT, "a machine that is quick enough for two reads", || {
        // A write asks afresh, and what it learns is what the reads live on.
        let begin = Instant::now();
        assert_eq!(write(backend, token).status, 201);
        let fresh = Instant::now();
        let before = house.asked();
        for _ in 0..3 {
            assert_eq!(read(backend, token).status, 200);
        }
        let asked = house.asked() - before;
        (begin.elapsed() < REMEMBER).then(|| {
            assert_eq!(asked, 0, "reads are answered from memory");
            fresh
        })
    })
}

fn a_session_lives_and_ends_in_two_services(example: Example) {
    let house = House::new(example);
    let (a, b) = (house.backend(), house.backend());
    let token = login(&a);

    let before = house.asked();
    assert_eq!(read(&a, &token).status, 200);
    assert_eq!(house.asked() - before, 1, "the first read asks");
    for count in 1..=3 {
        let written = write(&b, &token);
        assert_eq!(written.expect(201), json!({"author": "alice", "text": "hello"}));
        assert_eq!(house.asked() - before, 1 + count, "every write asks");
    }

    let fresh = read_twice(&house, &a, &token);
    b.http().bearer(&token).post("/logout", &json!({})).expect("it answers").expect(200);
    assert_refused(&write(&b, &token), 401, "Bearer");
    assert_refused(&read(&b, &token), 401, "Bearer");
    until(TIMEOUT, "the end of the session in A", || {
        let sent = Instant::now();
        let answer = read(&a, &token);
        if answer.status == 200 {
            assert!(sent < fresh + REMEMBER, "{:?} after the last fresh answer", fresh.elapsed());
            return None;
        }
        assert_refused(&answer, 401, "Bearer");
        Some(())
    });
    assert_refused(&write(&a, &token), 401, "Bearer");
    for backend in [&a, &b] {
        assert!(!backend.log().contains(&token) && !backend.log().contains(&house.service_token));
    }
}

fn nobody_gets_through_without_a_yes(example: Example) {
    let mut house = House::new(example);
    let a = house.backend();
    let token = login(&a);
    for path in ["/notes", "/notes?token=x"] {
        assert_refused(&a.http().get(path).expect("it answers"), 401, "Bearer");
    }
    assert_refused(&read(&a, &"0".repeat(64)), 401, "Bearer error=\"invalid_token\"");
    assert_refused(&read(&a, "nonsense"), 401, "Bearer error=\"invalid_token\"");
    let twice = a.http().bearer(&token).with("token", &token).get("/notes").expect("it answers");
    assert_refused(&twice, 401, "Bearer error=\"invalid_request\"");
    // Who is signed in and has nothing here is told apart from who is not signed in.
    let person = json!({"username": "stranger", "password": PASSWORD});
    house.authd.admin().post("/users", &person).expect("it answers").expect(201);
    let stranger = house.authd.http().post("/auth/login", &person).expect("it answers").expect(200);
    let stranger = stranger["token"].as_str().expect("a token");
    for answer in [read(&a, stranger), write(&a, stranger)] {
        assert_refused(&answer, 403, "Bearer error=\"insufficient_scope\"");
    }
    let (api_token, _) = house.authd.mint("robot", &["notes.read", "notes.write"]);
    assert!(matches!(write(&a, &api_token).status, 401 | 403), "an API token is not a person");
    let wrong = a.http().post("/login", &json!({"username": "alice", "password": "not this one"}));
    assert_refused(&wrong.expect("it answers"), 401, "Bearer");

    // What is taken away is gone for the next write, and what is left still works.
    assert_eq!(write(&a, &token).status, 201);
    let path = "/person-service-roles?person_id=alice&service_id=notes&role_id=writer";
    house.authd.admin().send("DELETE", path, None).expect("it answers").expect(200);
    assert_refused(&write(&a, &token), 403, "Bearer error=\"insufficient_scope\"");
    assert_eq!(read(&a, &token).status, 200);

    // Frozen: it takes the question, and never answers.
    house.authd.process().freeze();
    let begin = Instant::now();
    assert_refused(&write(&a, &token), 504, "");
    assert!((DEADLINE..DEADLINE + TIMEOUT).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    house.authd.process().signal(Signal::CONT);
    until(TIMEOUT, "an authd that answers again", || (write(&a, &token).status == 403).then_some(()));

    house.authd.kill();
    let down = write(&a, &token);
    assert_refused(&down, 503, "");
    assert!(down.header("retry-after").is_some());
    until(TIMEOUT, "the end of what is remembered", || {
        let answer = read(&a, &token);
        (answer.status != 200).then(|| assert_refused(&answer, 503, ""))
    });
    assert_refused(&a.http().get("/notes").expect("it answers"), 401, "Bearer");

    house.authd.start_again();
    assert_eq!(read(&a, &token).status, 200, "nobody was logged out");
}

#[test]
fn a_session_lives_and_ends_in_two_services_of_the_client_library() {
    a_session_lives_and_ends_in_two_services(Example::Rust);
}

#[test]
fn a_session_lives_and_ends_in_two_services_in_python() {
    a_session_lives_and_ends_in_two_services(Example::Python);
}

#[test]
fn nobody_gets_through_the_client_library_without_a_yes() {
    nobody_gets_through_without_a_yes(Example::Rust);
}

#[test]
fn nobody_gets_through_python_without_a_yes() {
    nobody_gets_through_without_a_yes(Example::Python);
}

#[test]
fn a_service_whose_own_token_is_gone_lets_nobody_through() {
    for example in [Example::Rust, Example::Python] {
        let house = House::new(example);
        let a = house.backend();
        let token = login(&a);
        assert_eq!(write(&a, &token).status, 201, "{example:?}");
        let list = house.authd.admin().get("/services/notes/token").expect("it answers").expect(200);
        let id = list["tokens"][0]["token_id"].as_str().expect("an id").to_owned();
        let path = format!("/services/notes/token/{id}");
        house.authd.admin().send("DELETE", &path, None).expect("it answers").expect(200);
        assert_refused(&write(&a, &token), 503, "");
    }
}

#[test]
fn an_api_token_needs_its_scope_its_network_and_its_life() {
    let house = House::new(Example::Rust);
    let a = house.backend();
    let export = |token: &str| a.http().bearer(token).get("/export").expect("it answers");
    let admin = house.authd.admin();
    let mint = |name: &str, more: Value| {
        let mut body = json!({"name": name, "scopes": ["notes.export"]});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let made = admin.post("/auth/tokens", &body).expect("it answers").expect(201);
        (made["token"].as_str().expect("a secret").to_owned(), made["token_id"].as_str().expect("an id").to_owned())
    };
    let (robot, id) = mint("robot", json!({}));
    assert_eq!(export(&robot).expect(200)["exported_by"], "robot");
    let (other, _) = mint("other", json!({"scopes": ["notes.read"]}));
    let refused = export(&other);
    assert_refused(&refused, 403, "Bearer error=\"insufficient_scope\"");
    assert!(refused.header("www-authenticate").is_some_and(|text| text.contains("scope=\"notes.export\"")));
    assert_eq!(export(&mint("near", json!({"cidrs": ["127.0.0.0/8"]})).0).status, 200);
    assert_refused(&export(&mint("far", json!({"cidrs": ["10.0.0.0/8"]})).0), 401, "Bearer error=\"invalid_token\"");
    assert_refused(&export(&tests::authd::random_token()), 401, "Bearer error=\"invalid_token\"");

    // An end that comes before the memory's is the end: this one lives less than a read may be remembered.
    let mut made = 0;
    let (brief, end) = until(TIMEOUT, "a machine that is quick enough to use such a token", || {
        made += 1;
        let end = jiff::Timestamp::from_millisecond(now_millis() + 1500).expect("a time");
        let mut body = json!({"name": format!("brief-{made}"), "scopes": ["notes.export"]});
        body["expires_at"] = end.to_string().into();
        let answer = admin.post("/auth/tokens", &body).expect("it answers");
        let token = answer.json()["token"].as_str()?.to_owned(); // none, if its end was over before it was made
        (export(&token).status == 200).then_some((token, end))
    });
    until(TIMEOUT, "the token's own end", || {
        let sent = now_millis();
        let answer = export(&brief);
        if answer.status == 200 {
            assert!(sent < end.as_millisecond(), "believed past its end");
            return None;
        }
        assert_refused(&answer, 401, "Bearer error=\"invalid_token\"");
        Some(())
    });

    let path = format!("/auth/tokens/{id}/revoke");
    admin.post(&path, &json!({})).expect("it answers").expect(200);
    let revoked = Instant::now();
    until(TIMEOUT, "the end of a revoked token", || {
        let sent = Instant::now();
        let answer = export(&robot);
        if answer.status == 200 {
            assert!(sent < revoked + REMEMBER);
            return None;
        }
        assert_refused(&answer, 401, "Bearer error=\"invalid_token\"");
        Some(())
    });
}

#[expect(clippy::disallowed_methods, reason = "a token is to end soon")]
fn now_millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
