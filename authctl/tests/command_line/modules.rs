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

fn entry(actor: &str, rest: &str) -> String {
    format!(
        r#"{{"id":"0199a0b0-0000-7000-8000-000000000002","at":"2027-01-15T07:58:00Z","actor":"{actor}","subject":"{TOKEN_ID}",{rest}}}"#
    )
}

#[test]
fn audit_tells_people_who_did_what_to_what_and_shows_ids_only_when_they_are_wanted() {
    let user = format!("user:ada({TOKEN_ID})");
    let token = format!("token:{TOKEN_ID}");
    let entries = [
        entry(
            "socket:root(0)",
            r#""actor_name":"root","action":"tokens.revoke","subject_name":"ci","outcome":"ok","detail":{"name":"ci","reason":"lost"}"#,
        ),
        entry(
            &user,
            r#""actor_name":"ada","action":"grants.add_role","subject_name":"bob","outcome":"ok","address":"192.0.2.7",
            "detail":{"person":"bob","service":"orders","role":"editor"}"#,
        ),
        entry(&token, r#""actor_name":"deploy","action":"users.create","subject_name":"eve","outcome":"ok""#),
        entry(
            "anonymous",
            r#""action":"sessions.login","subject_name":"ada","outcome":"refused","address":"192.0.2.7",
            "detail":{"username":"ada","code":"wrong"}"#,
        ),
        entry("admin-token", r#""action":"sessions.end","outcome":"ok","detail":{"reason":"ended_by_administrator"}"#),
    ];
    let answer = format!(r#"{{"entries":[{}]}}"#, entries.join(","));
    let daemon = Daemon::start([(); 4].map(|()| Answer::json(200, &answer)));
    let run = daemon.run(&Program::default(), &["audit"]);
    assert_eq!(
        run.out,
        "WHEN    WHO           ACTION           ON                           FROM       OUTCOME\n\
         2m ago  root (socket  tokens.revoke    ci                                      ok: lost\n"
            .replace("root (socket  ", "root (socket)  ")
            .replace("WHO           ", "WHO            ")
            + "2m ago  ada            grants.add_role  bob, role editor, in orders  192.0.2.7  ok\n\
               2m ago  token deploy   users.create     eve                                     ok\n\
               2m ago  anonymous      sessions.login   ada                          192.0.2.7  refused: wrong code\n\
               2m ago  ADMIN_TOKEN    sessions.end                                             ok: ended by administrator\n"
    );
    let run = daemon.run(&Program { width: Some(80), ..Program::default() }, &["audit"]);
    assert!(run.out.lines().next().is_some_and(|titles| titles.contains("OUTCOME")), "a table: {}", run.out);
    assert!(run.out.lines().all(|line| line.chars().count() <= 80), "{}", run.out);
    let run = daemon.run(&Program::default(), &["audit", "--wide"]);
    for shown in [TOKEN_ID, &user, &token, "2027-01-15T07:58:00Z"] {
        assert!(run.out.contains(shown), "{shown}: {}", run.out);
    }
    let run = daemon.run(&Program::default(), &["audit", "-o", "json"]);
    assert!(run.out.contains(&user), "{}", run.out);
}

#[test]
fn audit_fits_eighty_columns_whatever_is_in_it() {
    let long = r#""actor_name":"a-very-long-user-name@a-very-long-domain.example","action":"passkeys.remove_of_user",
        "subject_name":"another-very-long-user-name@example.org","outcome":"validation_failed",
        "address":"2001:db8:1111:2222:3333:4444:5555:6666","detail":{"reason":"because of a long reason"}"#;
    let daemon = Daemon::start([Answer::json(200, &format!(r#"{{"entries":[{}]}}"#, entry("user:x(1)", long)))]);
    let run = daemon.run(&Program { width: Some(80), ..Program::default() }, &["audit"]);
    assert!(run.out.lines().next().is_some_and(|titles| titles.contains("OUTCOME")), "a table: {}", run.out);
    assert!(run.out.lines().all(|line| line.chars().count() <= 80), "{}", run.out);
}

#[test]
fn audit_asks_for_what_the_filters_say() {
    let daemon = Daemon::start([(); 3].map(|()| Answer::json(200, r#"{"entries":[]}"#)));
    let filters =
        ["--action", "tokens.", "--actor", "ada", "--subject", "ci", "--since", "2d", "--until", "2027-01-15"];
    let run = daemon.run(&Program::default(), &[&["audit"][..], &filters].concat());
    assert_eq!((run.exit, run.err.as_str()), (Exit::Ok, "No entries\n"));
    let request = daemon.request();
    for sent in [
        "action_prefix=tokens.",
        "actor=ada",
        "subject_name=ci",
        "since=2027-01-13T08%3A00%3A00Z",
        "until=2027-01-15T00%3A00%3A00Z",
    ] {
        assert!(request.contains(sent), "{sent}: {request}");
    }
    assert!(daemon.request().starts_with("GET /audit?limit="), "how many there are at all");
    daemon.run(&Program::default(), &["audit", "--subject", TOKEN_ID]);
    assert!(daemon.request().contains(&format!("subject={TOKEN_ID}")));
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
