//! Sessions, the audit log, the daemon itself.

use shared::cli::Exit;

use crate::TOKEN_ID;
use crate::daemon::{Answer, Daemon, problem};
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

fn mail(state: &str, rest: &str) -> String {
    format!(
        r#"{{"id":"{TOKEN_ID}","template":"test","to":"ada@example.com","created_at":"2027-01-15T07:58:00Z","state":"{state}",
        "attempts":1{rest}}}"#
    )
}

#[test]
fn mail_test_waits_until_the_mail_is_sent_or_says_why_not() {
    let gone = || problem(404, "not_found", "");
    let daemon =
        Daemon::start([Answer::json(201, &mail("queued", "")), Answer::json(200, &mail("queued", "")), gone()]);
    let run = daemon.run(&Program::default(), &["mail", "test", "ada@example.com", "--wait"]);
    assert_eq!((run.exit, run.out), (Exit::Ok, format!("Sent {TOKEN_ID}, a test mail to ada@example.com\n")));
    assert!(daemon.request().ends_with(r#"{"to":"ada@example.com"}"#));
    assert!(daemon.request().starts_with(&format!("GET /mails/{TOKEN_ID} HTTP/1.1\r\n")));

    let later = r#","next_attempt_at":"2027-01-15T08:05:00Z","error":"RCPT TO: 451 \u001b[2J""#;
    let daemon = Daemon::start([Answer::json(201, &mail("queued", "")), Answer::json(200, &mail("queued", later))]);
    let run = daemon.run(&Program::default(), &["mail", "test", "ada@example.com", "--wait"]);
    assert_eq!((run.exit, run.out.as_str()), (Exit::Refused, ""));
    assert_eq!(run.err, "Not sent: RCPT TO: 451 \\u{1b}[2J; authd tries again in 5 minutes\n");
}

#[test]
fn mails_are_listed_retried_and_dropped() {
    let list = |mails: &str| Answer::json(200, &format!(r#"{{"mails":[{mails}]}}"#));
    let failed = mail("failed", r#","error":"RCPT TO: 550 no such user""#);
    let daemon = Daemon::start([list(&failed)]);
    let run = daemon.run(&Program::default(), &["mail", "list"]);
    assert!(run.out.contains("failed") && run.out.contains("550 no such user"), "{}", run.out);

    let daemon = Daemon::start([list(&failed), Answer::json(200, &mail("queued", ""))]);
    let run = daemon.run(&Program::default(), &["mail", "retry", "--all"]);
    assert_eq!((run.exit, run.out), (Exit::Ok, format!("Queued {TOKEN_ID} again\n")));
    daemon.request();
    assert!(daemon.request().starts_with(&format!("POST /mails/{TOKEN_ID}/retry HTTP/1.1\r\n")));

    // What was sent meanwhile is no error.
    let daemon = Daemon::start([list(&failed), problem(404, "not_found", "")]);
    let run = daemon.run(&Program::default(), &["mail", "drop", "--all", "--yes"]);
    assert_eq!((run.exit, run.out.as_str()), (Exit::Ok, ""));

    let run = Daemon::start([]).run(&Program::default(), &["mail", "drop", TOKEN_ID]);
    assert_eq!(run.exit, Exit::Usage, "nobody can be asked");
    let daemon = Daemon::start([Answer::json(200, r#"{"status":"success"}"#)]);
    let run = daemon.run(&Program::default(), &["mail", "drop", TOKEN_ID, "-y"]);
    assert_eq!((run.exit, run.out), (Exit::Ok, format!("Dropped {TOKEN_ID}\n")));
}
