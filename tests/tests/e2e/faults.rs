//! Providers and AWS that are down, slow or talk nonsense: PENDING or a clear 502/503, never a lost login or a panic.

use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tests::browser::Visit;
use tests::login::{Mode, Service, Terminal};

#[track_caller]
fn assert_clear(answer: &tests::http::Response) {
    assert!([502, 503, 504].contains(&answer.status), "{}: {}", answer.status, answer.text());
    let problem = answer.json();
    assert!(problem["error"].is_string() && problem["detail"].as_str().is_some_and(|d| !d.is_empty()), "{problem}");
}

fn authorized(answer: &tests::http::Response) -> Value {
    let said = answer.expect(200);
    assert_eq!(said["status"], "AUTHORIZED", "{said}");
    said
}

#[test]
fn a_provider_that_fails_before_it_took_the_code_leaves_the_login_open() {
    let service = Service::start();
    let owner = Terminal::start(&service.authd, Mode::Loopback);
    service.provider.fault("/oauth2/token", 503, 50);
    let page = Visit::new().go(&owner.auth_url);
    assert!(!page.url.contains("release="), "{page:?}");
    let answer = owner.poll(Some(&owner.secret), None);
    assert_eq!(answer.expect(200)["status"], "PENDING", "{}", page.text);
    service.provider.steer("fault", &json!([]));
    let page = Visit::new().go(&owner.auth_url);
    let release = owner.release(&page);
    authorized(&owner.poll(Some(&owner.secret), Some(&release)));
}

#[test]
fn a_provider_that_talks_nonsense_is_no_sign_in() {
    let service = Service::start();
    for body in ["<html>maintenance</html>", "{}", "{\"id_token\":\"a.b.c\",\"access_token\":\"x\"}", "[]"] {
        let owner = Terminal::start(&service.authd, Mode::Loopback);
        service.provider.steer("fault", &json!({"path": "/oauth2/token", "status": 200, "body": body}));
        let page = Visit::new().go(&owner.auth_url);
        assert!(!page.url.contains("release="), "{body}: {page:?}");
        assert!(page.text.len() > 20, "{body}: the person is told something: {}", page.text);
        let said = owner.poll(Some(&owner.secret), None).expect(200);
        assert_ne!(said["status"], "AUTHORIZED", "{body}: {said}");
    }
    assert!(!service.authd.log().contains("panicked"), "{}", service.authd.log());
}

#[test]
fn a_slow_provider_is_given_up_in_bounded_time() {
    let service = Service::start();
    let owner = Terminal::start(&service.authd, Mode::Loopback);
    service.provider.steer("fault", &json!({"path": "/oauth2/token", "delay": 120_000}));
    let begun = Instant::now();
    let visit = Visit::new().start(&owner.auth_url);
    let output = visit.finish(Duration::from_secs(75));
    assert!(begun.elapsed() < Duration::from_mins(1), "{}", tests::process::both(&output));
    assert_eq!(service.authd.http().get("/health/live").expect("it answers").status, 200);
}

#[test]
fn aws_down_or_slow_or_mad_is_503_and_can_be_asked_again() {
    let service = Service::start();
    let owner = Terminal::start(&service.authd, Mode::Loopback);
    let page = Visit::new().go(&owner.auth_url);
    let release = owner.release(&page);
    for fault in [
        json!({"drop": true, "times": 50}),
        json!({"code": "InternalFailure", "status": 500, "times": 50}),
        json!({"code": "Throttling", "status": 400, "message": "Rate exceeded", "times": 50}),
        json!({"status": 200, "body": "<html>hello</html>", "times": 50}),
        json!({"status": 200, "body": "", "times": 50}),
    ] {
        service.sts.steer("fault", &fault);
        assert_clear(&owner.poll(Some(&owner.secret), Some(&release)));
    }
    service.sts.steer("fault", &json!([]));
    let said = authorized(&owner.poll(Some(&owner.secret), Some(&release)));

    // a renewal that fails leaves the session as it was
    service.sts.steer("fault", &json!({"drop": true, "times": 50}));
    let body = json!({"refresh_token": said["refresh_token"], "duration_seconds": 1200});
    assert_clear(&service.authd.http().post("/auth/cli/renew", &body).expect("authd answers"));
    service.sts.steer("fault", &json!([]));
    authorized(&service.authd.http().post("/auth/cli/renew", &body).expect("authd answers"));
}

#[test]
fn refusals_of_aws_are_explained() {
    let service = Service::start();
    let owner = Terminal::start(&service.authd, Mode::Loopback);
    let page = Visit::new().go(&owner.auth_url);
    let release = owner.release(&page);
    for (code, status, message, wanted) in [
        ("AccessDenied", 403, "User: x is not authorized to perform: sts:AssumeRole on resource: y", "trust policy"),
        ("RegionDisabledException", 403, "STS is not activated in this region", "region"),
        ("ExpiredToken", 403, "The security token included in the request is expired", "expired"),
    ] {
        service.sts.steer("fault", &json!({"code": code, "status": status, "message": message, "times": 9}));
        let answer = owner.poll(Some(&owner.secret), Some(&release));
        assert!(answer.status >= 400, "{}", answer.text());
        assert!(answer.json()["detail"].to_string().to_lowercase().contains(wanted), "{code}: {}", answer.text());
    }
}

#[test]
fn a_database_that_is_down_is_503_and_never_an_answer() {
    let mut postgres = tests::postgres::Postgres::start();
    let authd = tests::authd::Setup::new().database(&postgres.database()).start();
    let (token, _) = authd.mint("kept", &["read"]);
    postgres.kill();
    let unknown = tests::authd::random_token();
    let body = json!({"token": unknown});
    let http = authd.http().timeout(Duration::from_mins(1));
    let answer = http.post("/auth/validate", &body).expect("authd answers");
    assert_eq!(answer.status, 503, "{}", answer.text());
    postgres.crash_and_restart();
    tests::until(tests::TIMEOUT, "the database again", || {
        let body = json!({"token": token});
        Some(authd.http().post("/auth/validate", &body).ok()?).filter(|a| a.status == 200 && a.json()["valid"] == true)
    });
}

#[test]
fn redis_that_is_down_is_degraded_and_nobody_is_logged_out() {
    let mut redis = tests::redis::Redis::start();
    let authd = tests::authd::Setup::new().env("REDIS_URL", &redis.url()).start();
    let (token, _) = authd.mint("kept", &["read"]);
    redis.process().kill();
    tests::until(tests::TIMEOUT, "degraded health", || {
        let health = authd.http().get("/health").ok()?;
        (health.status == 200 && health.json()["status"] == "degraded").then_some(())
    });
    assert_eq!(authd.validate(&token, &["read"])["valid"], true);
    authd.mint("still", &["read"]);
}

#[test]
fn redis_that_stalled_counts_nothing_that_was_answered_503() {
    let mut redis = tests::redis::Redis::start();
    let service = Service::with(|setup, _, _| setup.env("REDIS_URL", &redis.url()));
    Terminal::start(&service.authd, Mode::Loopback);
    redis.process().freeze();
    let body = json!({"poll_challenge": "A".repeat(43)});
    // More than one address may start in a minute.
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let start = || service.authd.http().post("/auth/cli/start", &body).expect("authd answers").status;
        let starts: Vec<_> = (0..40).map(|_| scope.spawn(start)).collect();
        starts.into_iter().map(|start| start.join().expect("it does not panic")).collect()
    });
    assert!(answers.iter().all(|status| *status == 503), "{answers:?}");
    redis.process().signal(Signal::CONT);
    let answer = tests::until(tests::TIMEOUT, "Redis found again", || {
        let answer = service.authd.http().post("/auth/cli/start", &body).expect("authd answers");
        (answer.status != 503).then_some(answer)
    });
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn redis_that_goes_away_in_the_middle_ends_no_login() {
    let mut redis = tests::redis::Redis::start();
    let service = Service::with(|setup, _, _| setup.env("REDIS_URL", &redis.url()));
    let owner = Terminal::start(&service.authd, Mode::Loopback);
    redis.process().kill();
    let answer = owner.poll(Some(&owner.secret), None);
    let is_honest = answer.status == 503 || (answer.status == 200 && answer.json()["status"] == "PENDING");
    assert!(is_honest, "an outage is no answer about the login: {}", answer.text());
    redis.crash_and_restart();
    tests::until(tests::TIMEOUT, "Redis found again", || {
        let answer = owner.poll(Some(&owner.secret), None);
        (answer.status == 200 && answer.json()["status"] == "PENDING").then_some(())
    });
    let page = Visit::new().go(&owner.auth_url);
    let release = owner.release(&page);
    authorized(&owner.poll(Some(&owner.secret), Some(&release)));
}
