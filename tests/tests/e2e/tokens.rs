//! API tokens through the real daemon, over HTTP and the admin socket, on both engines.

use serde_json::json;
use tests::TIMEOUT;
use tests::authd::{Authd, Setup};
use tests::process::{Spec, stdout};

/// Every engine that keeps the truth.
fn engines() -> [(&'static str, Authd); 2] {
    let postgres = Setup::new().database(&tests::postgres::database());
    [("SQLite", Authd::start()), ("PostgreSQL", postgres.start())]
}

#[test]
fn a_token_lives_and_dies() {
    for (engine, authd) in engines() {
        let (token, id) = authd.mint("demo", &["read", "write"]);
        let good = authd.validate(&token, &["read"]);
        assert_eq!(good["valid"], true, "{engine}: {good}");
        assert_eq!(good["token_id"], id.as_str());
        assert_eq!(good["name"], "demo");
        let lacking = authd.validate(&token, &["read", "launch"]);
        assert_eq!((&lacking["valid"], &lacking["error"]), (&json!(false), &json!("insufficient_scopes")), "{engine}");
        assert_eq!(lacking["scopes"], json!([]));
        assert!(lacking["detail"].as_str().is_some_and(|d| d.contains("launch")), "{lacking}");

        // a live name is taken, whoever asks
        let again =
            authd.socket().post("/auth/tokens", &json!({"name": "demo", "scopes": ["read"]})).expect("it answers");
        assert_eq!(again.status, 409, "{engine}: {}", again.text());

        let path = format!("/auth/tokens/{id}/revoke");
        let first = authd.admin().post(&path, &json!({"reason": "over"})).expect("it answers").expect(200);
        let second = authd.admin().post(&path, &json!({})).expect("it answers").expect(200);
        assert_eq!(first["revoked_at"], second["revoked_at"], "{engine}: the first time stands");
        assert_eq!(authd.validate(&token, &[])["error"], "token_revoked", "{engine}");
        authd.mint("demo", &["read"]);
        let unknown = format!("{}{}", "amp_live_", "A".repeat(43));
        assert_eq!(authd.validate(&unknown, &[])["error"], "token_not_found", "{engine}");
    }
}

#[test]
fn rotating_keeps_the_id_and_ends_the_old_secret() {
    for (engine, authd) in engines() {
        let (old, id) = authd.mint("turning", &["read"]);
        let path = format!("/auth/tokens/{id}/rotate");
        let made = authd.admin().post(&path, &json!({"grace_seconds": 600})).expect("it answers").expect(200);
        let new = made["token"].as_str().expect("a new secret");
        assert_eq!(made["token_id"], id.as_str(), "{engine}");
        for token in [old.as_str(), new] {
            assert_eq!(authd.validate(token, &["read"])["valid"], true, "{engine}: both live during the grace");
        }
        let made = authd.admin().post(&path, &json!({"grace_seconds": 0})).expect("it answers").expect(200);
        let newest = made["token"].as_str().expect("a new secret");
        assert_eq!(authd.validate(newest, &[])["valid"], true, "{engine}");
        assert_eq!(authd.validate(new, &[])["valid"], false, "{engine}: no grace");

        let made = authd.admin().post("/auth/tokens", &json!({"name": "short", "scopes": ["read"], "ttl_days": 1}));
        let made = made.expect("it answers").expect(201);
        let path = format!("/auth/tokens/{}/extend", made["token_id"].as_str().expect("an id"));
        let longer = authd.admin().post(&path, &json!({"extend_days": 30})).expect("it answers").expect(200);
        let time = |v: &serde_json::Value| v["expires_at"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
        let gained = time(&longer).expect("a time").duration_since(time(&made).expect("a time"));
        assert_eq!(gained.as_hours(), 30 * 24, "{engine}");
    }
}

/// As a program of another system reads them, which subscripts both without a look whether they are there.
const READER: &str = r#"
import json, sys
page, shown = (json.loads(line) for line in sys.stdin)
for token in [*page["tokens"], shown]:
    state = "revoked" if token["revoked"] is True else "live" if token["revoked"] is False else "?"
    print(token["token_id"], token["name"], ",".join(token["scopes"]), state, dict(token["metadata"]))
"#;

#[test]
fn another_systems_program_reads_a_list_and_a_token() {
    for (engine, authd) in engines() {
        let (_, id) = authd.mint("old", &["read"]);
        authd.mint("new", &["read"]);
        authd.admin().post(&format!("/auth/tokens/{id}/revoke"), &json!({})).expect("it answers").expect(200);
        let get = |path: &str| authd.admin().get(path).expect("it answers").expect(200).to_string();
        let input = [get("/auth/tokens?include_revoked=true"), get(&format!("/auth/tokens/{id}"))].join("\n");
        let read = stdout(&Spec::new("python3").arg("-c").arg(READER).stdin(input).run(TIMEOUT));
        let states: Vec<_> = read.lines().filter_map(|line| line.split(' ').nth(3)).collect();
        assert_eq!(states, ["live", "revoked", "revoked"], "{engine}: {read}");
    }
}

#[test]
fn a_retry_gets_the_same_answer() {
    for (engine, authd) in engines() {
        let body = json!({"name": "once", "scopes": ["read"]});
        let ask = authd.admin().with("idempotency-key", "the-same-key");
        let first = ask.post("/auth/tokens", &body).expect("it answers").expect(201);
        let second = ask.post("/auth/tokens", &body).expect("it answers").expect(201);
        assert_eq!(first, second, "{engine}");
        let token = first["token"].as_str().expect("a secret");
        assert_eq!(authd.validate(token, &["read"])["valid"], true, "{engine}");
        let list = authd.admin().get("/auth/tokens").expect("it answers").expect(200);
        assert_eq!(list["total"], 1, "{engine}: {list}");
    }
}

#[test]
fn managing_needs_a_caller_who_may() {
    let authd = Authd::start();
    let body = json!({"name": "x", "scopes": ["read"]});
    let nobody = authd.http().post("/auth/tokens", &body).expect("it answers");
    assert_eq!((nobody.status, nobody.header("www-authenticate").is_some()), (401, true), "{}", nobody.text());
    let (token, _) = authd.mint("service", &["read", "admin"]);
    let service = authd.http().bearer(&token).post("/auth/tokens", &body).expect("it answers");
    assert_eq!(service.status, 403, "a scope named admin is a service's own business: {}", service.text());
    assert_eq!(service.json()["error"].as_str(), Some("forbidden"), "{}", service.text());
    let socket = authd.socket().with("origin", "http://evil.example");
    let browser = socket.post("/auth/tokens", &body).expect("it answers");
    assert_eq!(browser.status, 403, "a web page must not reach the socket: {}", browser.text());
    let odd = authd.socket().host("evil.example").post("/auth/tokens", &body).expect("it answers");
    assert!((400..500).contains(&odd.status), "rebinding: {} {}", odd.status, odd.text());
    authd.socket().post("/auth/tokens", &body).expect("it answers").expect(201);
}

#[test]
fn the_commands_of_the_readme_work() {
    let authd = Authd::start();
    let made = stdout(&authd.authctl(&["create", "demo", "--scopes", "read", "write"]));
    let token =
        made.split_whitespace().find(|w| w.starts_with("amp_live_")).unwrap_or_else(|| panic!("no token: {made}"));
    assert_eq!(authd.validate(token, &["write"])["valid"], true);
    assert!(stdout(&authd.authctl(&["list"])).contains("demo"));
    let list: serde_json::Value = serde_json::from_str(&stdout(&authd.authctl(&["list", "-o", "json"]))).expect("JSON");
    let id = list["tokens"][0]["token_id"].as_str().unwrap_or_else(|| panic!("no id: {list}")).to_owned();
    assert!(stdout(&authd.authctl(&["info", &id])).contains("demo"));
    stdout(&authd.authctl(&["revoke", &id, "--yes"]));
    assert_eq!(authd.validate(token, &[])["error"], "token_revoked");
    assert!(!stdout(&authd.authctl(&["list"])).contains("demo"));
    assert!(stdout(&authd.authctl(&["list", "--all"])).contains("demo"));
    stdout(&authd.authctl(&["status"]));
    let audit = stdout(&authd.authctl(&["audit"]));
    assert!(audit.contains("tokens.create") && audit.contains("tokens.revoke"), "{audit}");
}

#[test]
fn authctl_tells_what_to_start() {
    let mut authd = Authd::start();
    authd.kill();
    let output = authd.authctl(&["list"]);
    assert_eq!(output.status.code(), Some(4), "{}", tests::process::both(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("authd"), "{said}");
}

#[test]
fn bad_requests_get_a_problem_and_never_a_panic() {
    let authd = Authd::start();
    let deep = format!("{{\"token\":{}1{}}}", "[".repeat(50_000), "]".repeat(50_000));
    let huge = format!("{{\"token\":\"{}\"}}", "x".repeat(1 << 20));
    for (body, allowed) in [
        ("", &[400, 422][..]),
        ("{", &[400]),
        ("[\"token\"]", &[400, 422]),
        ("{\"token\":1}", &[400, 422]),
        ("{\"token\":\"a\",\"token\":\"b\"}", &[400, 422]),
        ("{\"token\":\"a\",\"unknown\":1}", &[400, 422]),
        (&deep, &[400, 413, 422]),
        (&huge, &[413]),
        ("\u{0}\u{1}\u{2}", &[400]),
    ] {
        let answer = authd.http().send("POST", "/auth/validate", Some(("application/json", body.as_bytes())));
        let answer = answer.unwrap_or_else(|e| panic!("{body:.40}: {e}"));
        assert!(allowed.contains(&answer.status), "{body:.40}: {} {}", answer.status, answer.text());
        let problem = answer.json();
        assert!(problem["error"].is_string() && problem["request_id"].is_string(), "{body:.40}: {problem}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{body:.40}");
    }
    let plain = authd.http().send("POST", "/auth/validate", Some(("text/plain", b"{}"))).expect("it answers");
    assert_eq!(plain.status, 415, "{}", plain.text());
    let wrong = authd.http().send("DELETE", "/auth/validate", None).expect("it answers");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")), "{}", wrong.text());
    assert_eq!(authd.http().get("/no/such/path").expect("it answers").status, 404);
    for raw in [&b"\x16\x03\x01\x02\x00\x01"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"] {
        let _ = authd.http().raw(raw); // an error or a refusal, as long as the next one is served
    }
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x-a: b\r\n".repeat(5000));
    let _ = authd.http().raw(many.as_bytes());
    assert_eq!(authd.http().get("/health/live").expect("it answers").status, 200);
    assert!(!authd.log().contains("panicked"), "{}", authd.log());
}
