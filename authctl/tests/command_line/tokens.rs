//! API tokens.

use shared::cli::Exit;

use crate::TOKEN_ID;
use crate::daemon::{Answer, Daemon, token};
use crate::program::Program;

fn created() -> Answer {
    Answer::json(
        201,
        &format!(
            r#"{{"token":"amp_live_secret","token_id":"{TOKEN_ID}","name":"demo","scopes":["read","write"],
            "created_at":"2027-01-15T08:00:00Z","expires_at":"2027-02-14T08:00:00Z"}}"#
        ),
    )
}

#[test]
fn create_prints_the_secret_alone_on_stdout() {
    let daemon = Daemon::start([created()]);
    let run = daemon.run(&Program::default(), &["create", "demo", "--scopes", "read", "write", "--ttl", "30"]);
    assert_eq!((run.exit, run.out.as_str()), (Exit::Ok, "amp_live_secret\n"), "{}", run.err);
    assert!(run.err.contains("in 30 days") && run.err.contains("not shown again"), "{}", run.err);
    let request = daemon.request();
    assert!(request.starts_with("POST /auth/tokens HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("idempotency-key: key-1\r\n"), "{request}");
    assert!(request.ends_with(r#"{"name":"demo","scopes":["read","write"],"ttl_days":30}"#), "{request}");
}

#[test]
fn create_as_json_is_the_object_of_the_api() {
    let daemon = Daemon::start([created()]);
    let run = daemon.run(&Program::default(), &["-o", "json", "token", "create", "demo", "--scopes", "read"]);
    let object: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(object["token"], "amp_live_secret");
    assert_eq!(object["expires_at"], "2027-02-14T08:00:00Z");
    assert_eq!(run.err, "");
}

#[test]
fn create_asks_again_with_the_same_key_when_the_answer_is_lost() {
    let daemon = Daemon::start([Answer::Hangup, created()]);
    let run = daemon.run(&Program::default(), &["create", "demo", "--scopes", "read"]);
    assert_eq!((run.exit, run.out.as_str()), (Exit::Ok, "amp_live_secret\n"), "{}", run.err);
    let (first, second) = (daemon.request(), daemon.request());
    assert!(first.contains("idempotency-key: key-1\r\n"));
    assert_eq!(first, second);
}

#[test]
fn create_without_any_answer_tells_the_key() {
    let daemon = Daemon::start([Answer::Hangup, Answer::Hangup]);
    let run = daemon.run(&Program::default(), &["create", "demo", "--scopes", "read"]);
    assert_eq!(run.exit, Exit::Unreachable);
    assert!(run.err.contains("--idempotency-key key-1"), "{}", run.err);
}

#[test]
fn a_secret_that_cannot_be_printed_can_be_had_again() {
    for format in ["table", "json"] {
        let daemon = Daemon::start([created()]);
        let program = Program { is_full: true, ..Program::default() };
        let run = daemon.run(&program, &["-o", format, "create", "demo", "--scopes", "read"]);
        assert_eq!(run.exit, Exit::Refused, "{}", run.err);
        assert!(run.err.contains("--idempotency-key key-1"), "{}", run.err);
    }
}

#[test]
fn list_follows_cursors_up_to_the_limit() {
    let page = |count: usize, cursor: &str| {
        let tokens = vec![token("a", ""); count].join(",");
        Answer::json(200, &format!(r#"{{"tokens":[{tokens}],"total":3000,"next_cursor":{cursor}}}"#))
    };
    let daemon = Daemon::start([page(200, r#""c1""#), page(100, r#""c2""#)]);
    let run = daemon.run(&Program::default(), &["list", "--all", "--limit", "300", "-o", "json"]);
    let object: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(object["tokens"].as_array().unwrap().len(), 300);
    assert_eq!(object["next_cursor"], "c2");
    let (first, second) = (daemon.request(), daemon.request());
    assert!(first.starts_with("GET /auth/tokens?"), "{first}");
    assert!(first.contains("limit=200") && first.contains("include_revoked=true"), "{first}");
    assert!(second.contains("limit=100") && second.contains("cursor=c1"), "{second}");
}

#[test]
fn list_is_a_table_that_fits() {
    let tokens = format!("{},{}", token("deploy-bot", ""), token("a\\u001b[31m", ""));
    let list = format!(r#"{{"tokens":[{tokens}],"total":5,"next_cursor":"c"}}"#);
    let daemon = Daemon::start([Answer::json(200, &list)]);
    let run = daemon.run(&Program { width: Some(80), ..Program::default() }, &["list", "--limit", "2"]);
    let expected = "\
ID                                    NAME         SCOPES        EXPIRES
0199a0b0-0000-7000-8000-000000000001  deploy-bot   orders:read   in 29 days
                                                   orders:write
0199a0b0-0000-7000-8000-000000000001  a\\u{1b}[31m  orders:read   in 29 days
";
    assert!(run.out.lines().all(|line| line.chars().count() <= 80), "{}{}", run.out, run.err);
    assert!(run.out.starts_with(expected), "{}|{}", run.out, run.err);
    assert!(run.out.contains("\\u{1b}") && !run.out.contains('\u{1b}'), "{}|{}", run.out, run.err);
    assert_eq!(run.err, "There are more (of 5): --cursor c shows the next ones, --all-pages all of them\n");
}

#[test]
fn info_tells_times_as_people_do() {
    let daemon = Daemon::start([Answer::json(
        200,
        &token("deploy-bot", r#","cidrs":["10.0.0.0/8"],"metadata":{"team":"pay"}"#),
    )]);
    let run = daemon.run(&Program::default(), &["info", "deploy-bot"]);
    assert_eq!(
        run.out,
        "ID            0199a0b0-0000-7000-8000-000000000001\n\
         Name          deploy-bot\n\
         Scopes        orders:read orders:write\n\
         Created       24 hours ago (2027-01-14T08:00:00Z) by socket:root(0)\n\
         Expires       in 29 days (2027-02-13T08:00:00Z)\n\
         Last used     never\n\
         Networks      10.0.0.0/8\n\
         Metadata      team=pay\n"
    );
    assert!(daemon.request().starts_with("GET /auth/tokens/deploy-bot HTTP/1.1\r\n"));
}

#[test]
fn revoke_off_a_terminal_wants_yes() {
    let daemon = Daemon::start([]);
    let run = daemon.run(&Program::default(), &["revoke", TOKEN_ID]);
    assert_eq!(run.exit, Exit::Usage);
    assert!(run.err.contains("--yes"), "{}", run.err);

    let revoked = format!(r#"{{"success":true,"token_id":"{TOKEN_ID}","revoked_at":"2027-01-15T08:00:00Z"}}"#);
    let daemon = Daemon::start([Answer::json(200, &revoked)]);
    let run = daemon.run(&Program::default(), &["revoke", TOKEN_ID, "--yes", "--reason", "leaked"]);
    assert_eq!((run.exit, run.out), (Exit::Ok, format!("Revoked {TOKEN_ID}, now (2027-01-15T08:00:00Z)\n")));
    assert!(daemon.request().ends_with(r#"{"reason":"leaked"}"#));
}

#[test]
fn revoke_on_a_terminal_asks_and_takes_no_for_an_answer() {
    let daemon = Daemon::start([Answer::json(200, &token("deploy-bot", ""))]);
    let run = daemon.run(&Program { confirm: Some(false), ..Program::default() }, &["revoke", "deploy-bot"]);
    assert_eq!((run.exit, run.err.as_str()), (Exit::Refused, "error: nothing was done\n"));
}

#[test]
fn validate_reads_the_token_from_stdin_and_exits_by_the_answer() {
    let no = r#"{"valid":false,"scopes":[],"error":"token_revoked","detail":"the token was revoked"}"#;
    let daemon = Daemon::start([Answer::json(200, no)]);
    let program = Program { stdin: "amp_live_x\n", ..Program::default() };
    let run = daemon.run(&program, &["token", "validate", "--scopes", "read"]);
    assert_eq!(run.exit, Exit::Refused);
    assert_eq!(run.out, "Valid         no\nWhy           the token was revoked\n");
    let request = daemon.request();
    assert!(
        request.ends_with(r#"{"required_scopes":["read"],"service_name":"authctl","token":"amp_live_x"}"#),
        "{request}"
    );
}

#[test]
fn rotate_prints_the_new_secret_alone_and_until_when_the_old_one_works() {
    let rotated = format!(
        r#"{{"token":"amp_live_new","token_id":"{TOKEN_ID}","name":"demo","scopes":["read"],"expires_at":null,
        "previous_expires_at":"2027-01-15T09:00:00Z"}}"#
    );
    let daemon = Daemon::start([Answer::json(200, &rotated)]);
    let run = daemon.run(&Program::default(), &["token", "rotate", "demo", "--grace", "1h"]);
    assert_eq!((run.exit, run.out.as_str()), (Exit::Ok, "amp_live_new\n"), "{}", run.err);
    assert!(run.err.contains("stops working in 60 minutes"), "{}", run.err);
    let request = daemon.request();
    assert!(
        request.contains("idempotency-key: key-1\r\n") && request.ends_with(r#"{"grace_seconds":3600}"#),
        "{request}"
    );
}

#[test]
fn text_of_the_daemon_cannot_drive_the_terminal() {
    let is_unsafe = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    let detail = r"\u001b[2J\u001b]0;title\u0007no\u202e\u009b31m";
    let problem = format!(
        r#"{{"type":"about:blank","title":"T","status":403,"detail":"{detail}","error":"forbidden","request_id":"{detail}",
        "fields":[{{"field":"{detail}","detail":"{detail}"}}]}}"#
    );
    for args in [&["info", TOKEN_ID][..], &["revoke", TOKEN_ID, "--yes"], &["whoami"], &["list"]] {
        let run = Daemon::start([Answer::problem(403, &problem)]).run(&Program::default(), args);
        assert!(run.exit == Exit::Refused && run.err.contains("no"), "{args:?}: {}", run.err);
        assert!(!run.err.contains(is_unsafe), "{args:?}: {:?}", run.err);
    }
    // A word of the command line may be pasted.
    let run = Program::default().run(&["a\u{1b}[2J\u{202e}"]);
    assert!(run.exit == Exit::Usage && !run.err.contains(is_unsafe), "{:?}", run.err);

    let token = token(detail, "");
    let list = format!(r#"{{"tokens":[{token}],"total":1}}"#);
    for args in [&["list"][..], &["list", "-o", "json"], &["list", "-o", "yaml"]] {
        let run = Daemon::start([Answer::json(200, &list)]).run(&Program::default(), args);
        assert!(run.exit == Exit::Ok && run.out.contains("no"), "{args:?}: {} {}", run.out, run.err);
        assert!(!run.out.contains(is_unsafe), "{args:?}: {:?}", run.out);
    }
}
