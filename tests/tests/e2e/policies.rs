//! Forward-auth without a proxy in front: what `authd check` says about policies, and what the log says about refusals.

use serde_json::Value;
use std::process::Output;
use tests::authd::{Authd, Setup};
use tests::process::{both, stdout};
use tests::{TIMEOUT, until};

const POLICY: &str = r#"
[[policy]]
name = "shop"
service = "nowhere"
source = "forwarded"

[[policy.rule]]
methods = ["GET"]
paths = ["/api/*"]
scopes = ["read"]

[[policy.rule]]
paths = ["/desk"]
permissions = ["orders.read"]

[[policy.rule]]
paths = ["/*"]
public = true
"#;

fn check(args: &[&str]) -> Output {
    let args: Vec<&str> = ["check"].into_iter().chain(args.iter().copied()).collect();
    Setup::new().toml(POLICY).run(&args)
}

#[test]
fn authd_check_tells_which_rule_decides() {
    for (request, told) in [
        ("GET /api/orders", "rule 1 (/api/*) decides: API tokens with the scopes read\n"),
        ("POST /desk/", "rule 2 (/desk) decides: people with the permissions orders.read in the service nowhere\n"),
        ("GET /x", "rule 3 (/*) decides: public, everybody is allowed\n"),
    ] {
        assert_eq!(stdout(&check(&["--policy", "shop", request])), told, "{request}");
    }
    for (request, why) in [
        ("POST /api/orders", "rule 1 (/api/*) is for other methods"),
        ("GET /API/orders", "take this path for one of rule 1 (/api/*)"),
        ("GET /api/../x", "a segment of dots"),
    ] {
        let told = stdout(&check(&["--policy", "shop", request]));
        assert!(told.starts_with("refused for everybody: ") && told.contains(why), "{request}: {told}");
    }
    for (args, says) in [
        (&["--policy", "shup", "GET /"][..], "there are shop"),
        (&["--policy", "shop", "/api"], "\"GET /path\""),
        (&["--policy", "shop"], "REQUEST"),
        (&["GET /"], "--policy"),
    ] {
        let refused = check(args);
        assert_eq!(refused.status.code(), Some(2), "{args:?}: {}", both(&refused));
        assert!(both(&refused).contains(says), "{args:?}: {}", both(&refused));
    }
}

#[test]
fn authd_check_warns_of_rules_that_hide_or_widen_one_another() {
    let checked = check(&[]);
    assert!(checked.status.success(), "{}", both(&checked));
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    for warning in [
        "warning: policy shop, rule 1 (/api/*) does not take other methods, which is refused there: rule 3 (/*) is wider",
        "warning: policy shop, rule 2 (/desk) is for that path only: rule 3 (/*) decides about what is below",
        "the configuration is valid",
    ] {
        assert!(told.contains(warning), "{told}");
    }
    assert!(stdout(&checked).contains("[[policy.rule]]"));
}

/// The lines of the log that say this, as JSON.
fn lines(authd: &Authd, message: &str) -> Vec<Value> {
    let log = authd.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"].as_str().is_some_and(|text| text.contains(message))).collect()
}

fn ask(authd: &Authd, token: Option<&str>, method: &str, uri: &str) -> u16 {
    let http = authd.http().with("x-forwarded-method", method).with("x-forwarded-uri", uri);
    let http = token.into_iter().fold(http, tests::http::Http::bearer);
    http.get("/auth/forward/shop").expect("authd answers").status
}

#[test]
fn a_policy_whose_service_does_not_exist_is_warned_of_at_the_start() {
    let authd = Setup::new().toml(POLICY).start();
    let warned = lines(&authd, "a service that does not exist");
    assert_eq!(warned.len(), 1, "{}", authd.log());
    assert_eq!(
        (&warned[0]["level"], &warned[0]["policy"], &warned[0]["service"]),
        (&"WARN".into(), &"shop".into(), &"nowhere".into())
    );
    assert_eq!(lines(&authd, "is for that path only").len(), 1, "{}", authd.log());

    let there = POLICY.replace("nowhere", "authd");
    let authd = Setup::new().toml(&there).start();
    assert!(lines(&authd, "a service that does not exist").is_empty(), "{}", authd.log());
}

#[test]
fn a_refusal_is_in_the_log_with_policy_rule_who_and_path() {
    let authd = Setup::new().toml(POLICY).start();
    let (other, id) = authd.mint("other", &["other"]);
    let bob = serde_json::json!({"username": "bob", "password": "correct horse battery"});
    authd.admin().post("/users", &bob).expect("authd answers").expect(201);
    let login = authd.http().post("/auth/login", &bob).expect("authd answers").expect(200);
    let bob = login["token"].as_str().expect("a token");
    let asked = [
        (None, "GET", "/api/a?secret=canary", 401, "rule 1 (/api/*)", "anonymous", "/api/a"),
        (Some(&*other), "GET", "/api/a", 403, "rule 1 (/api/*)", &*format!("token:{id}"), "/api/a"),
        (Some(&other), "POST", "/api/a", 403, "none", &format!("token:{id}"), "/api/a"),
        (Some(bob), "GET", "/desk", 403, "rule 2 (/desk)", "user:bob(", "/desk"),
        (Some(bob), "GET", "/DESK", 403, "none", "user:bob(", "/DESK"),
        (Some(&other), "GET", "/api/../a#canary", 403, "none", "anonymous", "/api/../a"),
    ];
    for (token, method, uri, status, ..) in asked {
        assert_eq!(ask(&authd, token, method, uri), status, "{method} {uri}");
    }
    let logged = until(TIMEOUT, "lines in the log", || {
        Some(lines(&authd, "forward-auth refused")).filter(|lines| lines.len() == asked.len())
    });
    for ((_, method, uri, _, rule, who, path), line) in asked.iter().zip(&logged) {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            (text("level"), text("policy"), text("rule")),
            ("INFO".into(), "shop".into(), (*rule).into()),
            "{line}"
        );
        assert!(text("who").starts_with(who) && text("path") == *path, "{method} {uri}: {line}");
        assert!(!text("why").is_empty() && !text("request_id").is_empty(), "{line}");
    }
    assert!(!authd.log().contains("canary"));
}

#[test]
fn what_anybody_can_cause_does_not_fill_the_log() {
    let authd = Setup::new().toml(POLICY).start();
    for _ in 0..150 {
        assert_eq!(ask(&authd, None, "GET", "/api/a"), 401);
    }
    // A network alone has twenty lines in a minute, and the test may see two minutes.
    let count = lines(&authd, "forward-auth refused").len();
    assert!((5..=40).contains(&count), "{count}");
}
