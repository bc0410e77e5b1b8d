//! People through the real daemon: signing in, sliding, lock-out, on both engines; and that refusals take the same.

use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tests::authd::{Authd, Setup};
use tests::timing::{median_ratio, without_queueing};
use tests::{TIMEOUT, until};

const PASSWORD: &str = "correct horse battery staple";

/// Every engine that keeps the truth.
fn engines(toml: &str) -> [(&'static str, Authd); 2] {
    let postgres = Setup::new().toml(toml).database(&tests::postgres::database());
    [("SQLite", Setup::new().toml(toml).start()), ("PostgreSQL", postgres.start())]
}

#[track_caller]
fn create(authd: &Authd, username: &str) -> String {
    let made = authd.admin().post("/users", &json!({"username": username, "password": PASSWORD}));
    made.expect("it answers").expect(201)["id"].as_str().expect("an id").to_owned()
}

fn login(authd: &Authd, username: &str, password: &str) -> (u16, Value) {
    let answer = authd.http().post("/auth/login", &json!({"username": username, "password": password}));
    let answer = answer.expect("it answers");
    (answer.status, serde_json::from_str(&answer.text()).expect("JSON"))
}

#[track_caller]
fn token(authd: &Authd, username: &str) -> String {
    let (status, answer) = login(authd, username, PASSWORD);
    assert_eq!(status, 200, "{answer}");
    answer["token"].as_str().expect("a token").to_owned()
}

fn check(authd: &Authd, token: &str) -> Value {
    authd.http().with("token", token).post("/check-token", &json!({})).expect("it answers").expect(200)
}

/// The whole life of an access, as a service and its people see it.
#[test]
fn a_person_with_a_role_may_do_what_it_says_and_no_longer_than_it_says_so() {
    for (engine, authd) in engines("") {
        let admin = authd.admin();
        let post = |path: &str, body: Value| admin.post(path, &body).expect("it answers");
        let person = create(&authd, "alice");
        post("/services", json!({"name": "billing"})).expect(201);
        post("/services", json!({"name": "shop"})).expect(201);
        post("/roles", json!({"name": "clerk"})).expect(201);
        post("/permissions", json!({"name": "invoice.read"})).expect(201);
        post("/role-permissions", json!({"role_id": "clerk", "permission_id": "invoice.read"})).expect(200);
        post("/person-service-roles", json!({"person_id": "alice", "service_id": "billing", "role_id": "clerk"}))
            .expect(200);
        let service = post("/services/billing/token", json!({})).expect(201);
        let service = authd.http().bearer(service["token"].as_str().expect("a secret"));
        let session = token(&authd, "alice");
        let may = || {
            let asked = json!({"person_id": person, "service_id": "billing", "permission_name": "invoice.read"});
            service.post("/check-permission", &asked).expect("it answers").expect(200)["has_permission"] == true
        };
        let access = || {
            service.clone().with("token", &session).post("/check-access", &json!({})).expect("it answers").expect(200)
        };
        assert!(!may(), "{engine}: the service does not have the role");
        assert_eq!(access()["error"], "no_access", "{engine}");
        post("/service-roles", json!({"service_id": "billing", "role_id": "clerk"})).expect(200);
        assert!(may(), "{engine}");
        let granted = access();
        assert_eq!(granted["access"]["roles"], json!(["clerk"]), "{engine}: {granted}");
        assert_eq!(granted["access"]["permissions"], json!(["invoice.read"]), "{engine}");
        let foreign = json!({"person_id": person, "service_id": "shop", "permission_name": "invoice.read"});
        assert_eq!(service.post("/check-permission", &foreign).expect("it answers").status, 403, "{engine}");
        assert_eq!(service.get("/users").expect("it answers").status, 403, "{engine}");

        let checked = authd.http().bearer(&session).post("/check-token", &json!({"service_id": "billing"}));
        let checked = checked.expect("it answers").expect(200);
        assert_eq!(checked["payload"]["permissions"], json!(["invoice.read"]), "{engine}: {checked}");
        let elsewhere = authd.http().bearer(&session).post("/check-token", &json!({"service_id": "shop"}));
        assert_eq!(elsewhere.expect("it answers").expect(200)["error"], "no_access", "{engine}");

        let path = "/service-roles?service_id=billing&role_id=clerk";
        admin.send("DELETE", path, None).expect("it answers").expect(200);
        assert!(!may(), "{engine}: at once");
        assert_eq!(access()["valid"], false, "{engine}: at once");
        admin.send("DELETE", "/users/alice", None).expect("it answers").expect(200);
        assert_eq!(check(&authd, &session)["valid"], false, "{engine}: deleted people are signed out");
    }
}

#[test]
fn sessions_and_locks_survive_a_restart() {
    for (engine, mut authd) in engines("[login]\nmax_failures = 3") {
        create(&authd, "alice");
        create(&authd, "bob");
        let session = token(&authd, "alice");
        for _ in 0..3 {
            assert_eq!(login(&authd, "BOB", "wrong").0, 401, "{engine}");
        }
        authd.start_again();
        assert_eq!(check(&authd, &session)["valid"], true, "{engine}");
        assert_eq!(login(&authd, "bob", PASSWORD).0, 401, "{engine}: locked still");
        let cleared = authd.authctl(&["lockout", "clear", "bob"]);
        assert!(cleared.status.success(), "{engine}: {cleared:?}");
        assert_eq!(login(&authd, "bob", PASSWORD).0, 200, "{engine}");
    }
}

/// When something was asked and when it was answered: authd did it in between.
#[derive(Clone, Copy)]
struct Span {
    asked: Instant,
    answered: Instant,
}

impl Span {
    fn of<T>(act: impl FnOnce() -> T) -> (T, Self) {
        let asked = Instant::now();
        let done = act();
        (done, Self { asked, answered: Instant::now() })
    }
}

#[test]
fn a_session_slides_and_ends_in_real_time() {
    const TTL: Duration = Duration::from_secs(10);
    const THRESHOLD: Duration = Duration::from_secs(1);
    // authd counts milliseconds
    const ROUNDING: Duration = Duration::from_millis(2);
    let authd = Setup::new().toml("[sessions]\nttl_seconds = 10\nrenew_threshold_seconds = 1").start();
    create(&authd, "alice");
    let idle = token(&authd, "alice");
    let (session, mut renewed) = Span::of(|| token(&authd, "alice"));
    let (begun, mut renewals) = (renewed, 0);
    // Asking about a session is using it, so the idle one is asked about only when its time must be over.
    let last = loop {
        let (checked, span) = Span::of(|| check(&authd, &session));
        assert_eq!(checked["valid"], true, "it is in use, last {:?} ago", renewed.asked.elapsed());
        if checked["renewed"] == true {
            let since = span.answered - renewed.asked;
            assert!(since + ROUNDING >= THRESHOLD, "renewed after {since:?}: not at every check");
            (renewed, renewals) = (span, renewals + 1);
        } else {
            let since = span.asked - renewed.answered;
            assert!(since < THRESHOLD + ROUNDING, "not renewed after {since:?}");
        }
        if begun.answered.elapsed() > TTL + THRESHOLD {
            break checked;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(renewals > 0 && last["expires_at"].is_i64(), "{last}");
    assert_eq!(check(&authd, &idle)["error"], "invalid_token");
}

/// An unknown user, a wrong password, a locked name and a disabled user take authd the same.
///
/// Each round asks for all four, and what is compared is the ratio of two answers of one round: what else runs on the
/// machine widens the spread of these ratios but does not move their median. The test fails when even the nearer end of
/// the median's confidence interval is more than 5 % away.
#[test]
fn refused_logins_take_the_same_whatever_is_wrong() {
    const ROUNDS: usize = 300;
    const KINDS: [&str; 4] = ["unknown", "wrong password", "locked", "disabled"];
    let toml = "[login]\nmax_failures = 100\nmax_failures_per_address = 1000000";
    let mut authd = Setup::new().toml(toml).start();
    // A name takes a hundred failures; each of these has to take fewer.
    let users: Vec<String> = (0..4).map(|n| format!("wrong-{n}")).collect();
    users.iter().for_each(|user| drop(create(&authd, user)));
    create(&authd, "locked");
    create(&authd, "disabled");
    let disabled =
        authd.admin().send("PUT", "/users/disabled", Some(("application/json", br#"{"status":"inactive"}"#)));
    disabled.expect("it answers").expect(200);
    for _ in 0..100 {
        assert_eq!(login(&authd, "locked", "not the password").0, 401);
    }
    assert_eq!(login(&authd, "locked", PASSWORD).0, 401, "it is locked");
    let pid = authd.process().pid();
    let mut times: [Vec<Duration>; 4] = Default::default();
    for round in 0..ROUNDS {
        let wrong = users[round % users.len()].as_str();
        let unknown = format!("nobody-{}", round % users.len());
        let asked = [
            (unknown.as_str(), "not the password"),
            (wrong, "not the password"),
            ("locked", PASSWORD),
            ("disabled", PASSWORD),
        ];
        for step in 0..4 {
            // Each kind comes first, second, third and last in turn.
            let kind = (step + round) % 4;
            let ((status, answer), time) = without_queueing(pid, || login(&authd, asked[kind].0, asked[kind].1));
            times[kind].push(time);
            assert_eq!((status, answer["error"].as_str()), (401, Some("invalid_credentials")), "{answer}");
        }
    }
    for (one, other) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
        let (least, most) = median_ratio(&times[one], &times[other]);
        let alike = least <= 1.05 && most >= 1.0 / 1.05;
        assert!(alike, "{} takes {least:.3} to {most:.3} times as long as {}", KINDS[one], KINDS[other]);
    }
}

/// Sends a login and closes the connection without waiting for the answer.
fn hang_up(authd: &Authd, username: &str, password: &str) {
    let body = json!({"username": username, "password": password}).to_string();
    let head = "POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length";
    let mut stream = TcpStream::connect(("127.0.0.1", authd.port())).expect("it listens");
    stream.write_all(format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes()).expect("it reads");
}

#[test]
fn a_client_that_hangs_up_does_not_fail_to_log_in() {
    let mut authd = Setup::new().start();
    create(&authd, "alice");
    let is_clear = |authd: &Authd| {
        let list = authd.admin().get("/lockouts?all=true").expect("it answers").expect(200);
        (!list.to_string().contains("name:alice")).then_some(())
    };
    for ended in 1..=12 {
        hang_up(&authd, "alice", PASSWORD);
        // Before a login begins, the name is as clear as after it.
        until(TIMEOUT, "the login's end", || {
            let list = authd.admin().get("/audit?action=sessions.login&limit=100").expect("it answers").expect(200);
            (list["entries"].as_array().map_or(0, Vec::len) == ended).then_some(())
        });
        until(TIMEOUT, "the end of its count", || is_clear(&authd));
    }
    token(&authd, "alice");
    hang_up(&authd, "alice", PASSWORD);
    assert!(authd.process().stop(TIMEOUT).success());
    authd.start_again();
    assert!(is_clear(&authd).is_some(), "neither when the daemon stops");
}
