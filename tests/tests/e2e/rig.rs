//! The peers themselves: a refusal that the rig does not make would let a test pass for the wrong reason.

use serde_json::json;
use tests::browser::{Elsewhere, Visit};
use tests::http::Http;
use tests::postgres::{Postgres, database};
use tests::process::{Spec, both, free_port, stdout};
use tests::provider::Provider;
use tests::redis::Redis;
use tests::sts::Sts;
use tests::{TIMEOUT, folder, rig, until};

/// The AWS CLI with the keys that authd would have, or others.
fn aws(sts: &Sts, env: &[(String, String)], args: &[&str]) -> std::process::Output {
    let home = folder("aws");
    rig::program("aws").envs(sts.endpoint()).envs(env.iter().cloned()).env("HOME", home.path()).args(args).run(TIMEOUT)
}

fn keys(made: &serde_json::Value) -> Vec<(String, String)> {
    let names = [
        ("AWS_ACCESS_KEY_ID", "AccessKeyId"),
        ("AWS_SECRET_ACCESS_KEY", "SecretAccessKey"),
        ("AWS_SESSION_TOKEN", "SessionToken"),
    ];
    let text = |field: &str| made["Credentials"][field].as_str().expect("credentials are complete").to_owned();
    names.map(|(name, field)| (name.to_owned(), text(field))).into()
}

fn assume(sts: &Sts, role: &str, more: &[&str]) -> std::process::Output {
    let arn = sts.role(role);
    let mut args = vec!["sts", "assume-role", "--role-session-name", "alice", "--output", "json", "--role-arn", &arn];
    args.extend(more);
    aws(sts, &sts.daemon(), &args)
}

#[track_caller]
fn refused(output: &std::process::Output, words: &str) {
    assert!(!output.status.success(), "not refused: {}", both(output));
    assert!(String::from_utf8_lossy(&output.stderr).contains(words), "expected {words:?}: {}", both(output));
}

#[test]
fn sts_refuses_what_aws_refuses() {
    let sts = Sts::start();
    let external = ["--external-id", &sts.external_id];
    stdout(&assume(&sts, "developer", &external));
    refused(&assume(&sts, "developer", &[]), "not authorized to perform: sts:AssumeRole on resource");
    refused(&assume(&sts, "developer", &["--external-id", "another"]), "AccessDenied");
    refused(&assume(&sts, "forbidden", &[]), "AccessDenied");
    stdout(&assume(&sts, "untagged", &[]));
    let tagged = assume(&sts, "untagged", &["--tags", "Key=team,Value=dev"]);
    refused(
        &tagged,
        "User: arn:aws:iam::123456789012:user/authd is not authorized to perform: sts:TagSession on resource: \
         arn:aws:iam::123456789012:role/untagged",
    );
    refused(&assume(&sts, "open", &["--duration-seconds", "7200"]), "exceeds the MaxSessionDuration");
    let wrong = [("AWS_ACCESS_KEY_ID".to_owned(), sts.access_key_id.clone())];
    let wrong = [wrong.to_vec(), vec![("AWS_SECRET_ACCESS_KEY".to_owned(), "wrong".to_owned())]].concat();
    refused(&aws(&sts, &wrong, &["sts", "get-caller-identity"]), "SignatureDoesNotMatch");

    sts.steer("fault", &json!({"action": "AssumeRole", "code": "RegionDisabledException", "message": "STS is off"}));
    refused(&assume(&sts, "open", &[]), "STS is off");
    stdout(&assume(&sts, "open", &[]));
    let calls = sts.calls("AssumeRole");
    assert_eq!(calls[0]["external_id"], sts.external_id.as_str());
    assert_eq!(calls[0]["session_name"], "alice");
    assert!(calls.iter().any(|c| c["tags"]["team"] == "dev" && c["outcome"] == "AccessDenied"), "{calls:?}");
}

#[test]
fn sts_credentials_run_out() {
    let sts = Sts::start();
    let made = stdout(&assume(&sts, "open", &[]));
    let keys = keys(&serde_json::from_str(&made).expect("the CLI prints JSON"));
    let who = ["sts", "get-caller-identity", "--output", "text", "--query", "Arn"];
    let arn = stdout(&aws(&sts, &keys, &who));
    assert_eq!(arn.trim(), "arn:aws:sts::123456789012:assumed-role/open/alice");
    let bucket = format!("s3://{}/file", sts.bucket);
    stdout(&aws(&sts, &keys, &["s3", "cp", "/etc/passwd", &bucket]));
    refused(&aws(&sts, &keys, &["s3", "rm", &bucket]), "AccessDenied");
    sts.steer("expire", &json!({}));
    refused(&aws(&sts, &keys, &who), "ExpiredToken");
    refused(&aws(&sts, &keys, &["s3", "cp", "/etc/passwd", &bucket]), "ExpiredToken");

    sts.lifetime(7);
    let made: serde_json::Value = serde_json::from_str(&stdout(&assume(&sts, "open", &[]))).expect("JSON");
    let said: jiff::Timestamp = made["Credentials"]["Expiration"].as_str().expect("a time").parse().expect("RFC 3339");
    let call = sts.calls("AssumeRole").pop().expect("there was one");
    let asked: jiff::Timestamp = call["at"].as_str().expect("a time").parse().expect("RFC 3339");
    let life = said.duration_since(asked).as_secs_f32();
    assert!((5.0..=8.0).contains(&life), "the credentials say they live {life} s");
}

#[test]
fn web_identity_is_verified() {
    let provider = Provider::start(&["http://127.0.0.1:10099/back".into()]);
    let sts = Sts::start();
    let token = provider_id_token(&provider);
    let assume = |token: &str| {
        let arn = sts.role("web");
        let args = ["sts", "assume-role-with-web-identity", "--role-session-name", "alice", "--role-arn", &arn];
        aws(&sts, &[], &[&args[..], &["--output", "json", "--web-identity-token", token]].concat())
    };
    refused(&assume(&token), "No OpenIDConnect provider found");
    sts.trust(&provider);
    let made = stdout(&assume(&token));
    let keys = keys(&serde_json::from_str(&made).expect("JSON"));
    let who = ["sts", "get-caller-identity", "--output", "text", "--query", "Arn"];
    assert_eq!(stdout(&aws(&sts, &keys, &who)).trim(), "arn:aws:sts::123456789012:assumed-role/web/alice");
    let mut wrong = keys.clone();
    wrong[1].1.push('x');
    refused(&aws(&sts, &wrong, &who), "SignatureDoesNotMatch");
    let (head, signature) = token.rsplit_once('.').expect("a JWT");
    let flipped: String = signature.chars().rev().collect();
    refused(&assume(&format!("{head}.{flipped}")), "InvalidIdentityToken");
    provider.steer("ttl", &json!({"id": 1}));
    let short = provider_id_token(&provider);
    until(TIMEOUT, "the ID token's end", || {
        String::from_utf8_lossy(&assume(&short).stderr).contains("ExpiredTokenException").then_some(())
    });
}

/// Signs in at the provider as alice, in a browser, and exchanges the code.
fn provider_id_token(provider: &Provider) -> String {
    let url = format!(
        "{}/oauth2/authorize?response_type=code&client_id={}&redirect_uri=http%3A%2F%2F127.0.0.1%3A10099%2Fback&scope=openid\
         &state=s&nonce=n&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256",
        provider.domain, provider.public_client
    );
    let page = Visit::new().go(&url);
    let back = page.visited.iter().find(|u| u.contains("/back?")).unwrap_or_else(|| panic!("no redirect: {page:?}"));
    let code = back.split(['?', '&']).find_map(|p| p.strip_prefix("code=")).expect("a code");
    let form = format!(
        "grant_type=authorization_code&client_id={}&code={code}&redirect_uri=http%3A%2F%2F127.0.0.1%3A10099%2Fback\
         &code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        provider.public_client
    );
    let made = Http::tcp(provider.ports[1]).form("/oauth2/token", &form).expect("the provider answers").expect(200);
    made["id_token"].as_str().expect("an ID token").to_owned()
}

#[test]
fn declining_comes_back_as_access_denied() {
    let provider = Provider::start(&["http://127.0.0.1:10099/back".into()]);
    let url = format!(
        "{}/oauth2/authorize?response_type=code&client_id={}&redirect_uri=http%3A%2F%2F127.0.0.1%3A10099%2Fback&scope=openid&state=s",
        provider.domain, provider.public_client
    );
    let page = Visit::new().cancels().go(&url);
    assert!(page.visited.iter().any(|u| u.contains("error=access_denied") && u.contains("state=s")), "{page:?}");
}

#[test]
fn another_machine_has_another_loopback() {
    let (shared, own) = (free_port(), free_port());
    let serve = |port: u16| {
        let dir = folder("www");
        std::fs::write(dir.path().join("index.html"), format!("<p>port {port}</p>")).expect("it is ours");
        let mut server = rig::program("python")
            .args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()])
            .dir(dir.path())
            .start(dir.path().join("log"));
        server.listening(port, TIMEOUT);
        (server, dir)
    };
    let _servers = [serve(shared), serve(own)];
    let elsewhere = Elsewhere::reaching(&[shared]);
    let visit = |port: u16, visit: Visit| visit.go(&format!("http://127.0.0.1:{port}/")).text;
    assert!(visit(shared, Visit::new().from(&elsewhere)).contains(&format!("port {shared}")));
    assert!(visit(own, Visit::new()).contains(&format!("port {own}")));
    assert!(!visit(own, Visit::new().from(&elsewhere)).contains(&format!("port {own}")));
}

#[test]
fn databases_and_caches_start() {
    assert!(database().starts_with("postgres://"));
    let mut postgres = Postgres::start();
    postgres.sql("postgres", "CREATE TABLE t (v text); INSERT INTO t VALUES ('kept')");
    postgres.crash_and_restart();
    assert_eq!(postgres.sql("postgres", "SELECT v FROM t"), "kept");
    for redis in [Redis::start(), Redis::start_tls()] {
        redis.command(&["SET", "authd:key", "kept"]);
        assert!(String::from_utf8_lossy(&redis.everything()).contains("kept"));
    }
}

/// A backend that is busy does not notice that its postmaster is gone.
#[test]
fn a_killed_postgres_leaves_no_backend() {
    let mut postgres = Postgres::start();
    let port = postgres.port().to_string();
    let busy = "SELECT count(*) FROM generate_series(1, 1000000000000)";
    let client = rig::program("psql").args(["-X", "-h", "127.0.0.1", "-U", "postgres", "-p", &port, "-c", busy]);
    let client = client.start_piped();
    let backend = until(TIMEOUT, "the backend at work", || {
        let active = "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%generate_series(1,%'";
        let pids = postgres.sql("postgres", &format!("{active} AND pid <> pg_backend_pid()"));
        pids.parse::<u32>().ok()
    });
    postgres.kill();
    assert!(std::fs::read_link(format!("/proc/{backend}/cwd")).is_err(), "it runs no more");
    assert!(!client.finish(TIMEOUT).status.success(), "its client was cut off");
}

#[test]
fn commands_are_given_their_input() {
    let output = Spec::new("bash").args(["-c", "echo out; echo err >&2; cat"]).stdin("in").run(TIMEOUT);
    assert_eq!(stdout(&output), "out\nin");
}
