//! Sessions, the audit log, the daemon itself.

use shared::cli::Exit;

use crate::TOKEN_ID;
use crate::daemon::{Answer, Daemon};
use crate::program::Program;

#[test]
fn session_end_says_until_when_credentials_still_work() {
    let ended = format!(
        r#"{{"id":"{TOKEN_ID}","ended_at":"2027-01-15T08:00:00Z","credentials_until":"2027-01-15T08:45:00Z"}}"#
    );
    let daemon = Daemon::start([Answer::json(200, &ended)]);
    let run = daemon.run(&Program::default(), &["session", "end", TOKEN_ID, "--yes"]);
    assert_eq!((run.exit, run.out), (Exit::Ok, format!("Ended {TOKEN_ID}, now (2027-01-15T08:00:00Z)\n")));
    assert!(run.err.contains("in 45 minutes"), "{}", run.err);
    assert!(daemon.request().starts_with(&format!("DELETE /sessions/{TOKEN_ID} HTTP/1.1\r\n")));
}

#[test]
fn session_list_shows_devices_and_cannot_be_driven_by_their_names() {
    let session = format!(
        r#"{{"id":"{TOKEN_ID}","kind":"device","user":"alice@example.test","device_name":"a\u001b]0;pwned\u0007","address":"192.0.2.1",
        "created_at":"2027-01-15T07:00:00Z","last_used_at":"2027-01-15T07:57:00Z","idle_expires_at":"2027-02-14T08:00:00Z",
        "expires_at":"2027-04-15T08:00:00Z"}}"#
    );
    let daemon = Daemon::start([Answer::json(200, &format!(r#"{{"sessions":[{session}]}}"#))]);
    let run = daemon.run(&Program::default(), &["session", "list"]);
    assert!(run.out.contains("3 minutes ago") && run.out.contains("in 30 days"), "{}", run.out);
    assert!(!run.out.contains('\u{1b}') && run.out.contains("\\u{1b}]0;pwned\\u{7}"), "{}", run.out);
}

#[test]
fn audit_asks_for_what_the_filters_say() {
    let entry = r#"{"id":"0199a0b0-0000-7000-8000-000000000002","at":"2027-01-15T07:58:00Z","actor":"socket:root(0)",
        "action":"tokens.revoke","subject":"x","outcome":"ok"}"#;
    let daemon = Daemon::start([Answer::json(200, &format!(r#"{{"entries":[{entry}]}}"#))]);
    let run = daemon.run(&Program::default(), &["audit", "--action", "tokens.revoke", "--subject", "x"]);
    assert_eq!(
        run.out,
        "WHEN           WHO             ACTION         SUBJECT  OUTCOME\n\
         2 minutes ago  socket:root(0)  tokens.revoke  x        ok\n"
    );
    let request = daemon.request();
    assert!(request.contains("action=tokens.revoke") && request.contains("subject=x"), "{request}");
}

#[test]
fn status_exits_by_the_health() {
    for (health, exit) in [("healthy", Exit::Ok), ("degraded", Exit::Ok), ("unhealthy", Exit::Refused)] {
        let status = format!(
            r#"{{"version":"0.1.0","started_at":"2027-01-15T06:00:00Z","public_url":"http://127.0.0.1:8080","listen":["127.0.0.1:8080"],
            "database":"sqlite","ephemeral":"db","health":{{"status":"{health}","version":"0.1.0","components":
            {{"database":"{health}","redis":"not_configured","command_processor":"healthy"}}}},"live_tokens":7,"providers":[],
            "roles":[],"caller":"socket:root(0)"}}"#
        );
        let daemon = Daemon::start([Answer::json(200, &status)]);
        let run = daemon.run(&Program::default(), &["status"]);
        assert_eq!(run.exit, exit, "{}", run.err);
        assert!(run.out.starts_with(&format!("Health        {health}\n")), "{}", run.out);
        assert!(run.out.contains("Started       2 hours ago (2027-01-15T06:00:00Z)\n"), "{}", run.out);
    }
}
