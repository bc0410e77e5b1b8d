//! Users, signing in, lock-outs: what is asked, what is sent, what is told.

use shared::cli::Exit;

use crate::TOKEN_ID;
use crate::daemon::{Answer, Daemon, problem};
use crate::program::Program;

fn user(name: &str, rest: &str) -> String {
    format!(
        r#"{{"id":"{TOKEN_ID}","username":"{name}","name":"Alice","status":"active","has_password":true,
        "created_at":"2027-01-14T08:00:00Z","updated_at":"2027-01-14T08:00:00Z"{rest}}}"#
    )
}

#[test]
fn a_password_is_typed_twice_and_sent_as_it_was_typed() {
    let daemon = Daemon::start([Answer::json(201, &user("alice", ""))]);
    let typed = &["pass phrase ", "pass phrase", "pass phrase ", "pass phrase "];
    let run = daemon.run(&Program { typed: Some(typed), ..Program::default() }, &["user", "create", "alice"]);
    assert_eq!((run.exit, run.err.as_str()), (Exit::Ok, "They are not the same\n"));
    assert_eq!(run.out, format!("Created the user alice, id {TOKEN_ID}\n"));
    assert!(daemon.request().ends_with(r#"{"password":"pass phrase ","username":"alice"}"#));
}

#[test]
fn a_password_from_stdin_is_one_line_without_its_end() {
    for (stdin, sent) in [("pass phrase\n", "pass phrase"), ("x\r\n", "x"), (" y", " y")] {
        let daemon = Daemon::start([Answer::json(200, &user("alice", ""))]);
        let program = Program { stdin, ..Program::default() };
        let run = daemon.run(&program, &["user", "passwd", "alice", "--password-stdin"]);
        assert_eq!(run.exit, Exit::Ok, "{}", run.err);
        assert!(daemon.request().ends_with(&format!(r#"{{"password":"{sent}"}}"#)));
    }
    for (stdin, told) in [("", "no password"), ("\n", "no password"), ("one\ntwo\n", "more than one line")] {
        let program = Program { stdin, ..Program::default() };
        let run = Daemon::start([]).run(&program, &["user", "passwd", "alice", "--password-stdin"]);
        assert_eq!(run.exit, Exit::Usage);
        assert!(run.err.contains(told) && !run.err.contains("one\ntwo"), "{}", run.err);
    }
}

#[test]
fn without_a_terminal_a_password_comes_from_stdin_or_not_at_all() {
    let run = Daemon::start([]).run(&Program { stdin: "ignored", ..Program::default() }, &["user", "create", "alice"]);
    assert_eq!(run.exit, Exit::Usage);
    assert!(run.err.contains("--password-stdin or --no-password"), "{}", run.err);
    let daemon = Daemon::start([Answer::json(201, &user("alice", ""))]);
    let run = daemon.run(&Program::default(), &["user", "create", "alice", "--no-password", "--inactive"]);
    assert_eq!(run.exit, Exit::Ok, "{}", run.err);
    assert!(daemon.request().ends_with(r#"{"status":"inactive","username":"alice"}"#));
}

#[test]
fn fields_of_some_countries_are_named_by_field_and_by_their_options_of_before() {
    for args in [
        &["--field", "person_type=J", "--field", "document_type=RUC", "--field", "document_number=1=2"][..],
        &["--person-type", "J", "--document-type", "RUC", "--document-number", "1=2"],
    ] {
        let daemon = Daemon::start([Answer::json(200, &user("alice", "")), Answer::json(200, &user("alice", ""))]);
        for command in [&["user", "create", "alice", "--no-password"][..], &["user", "update", "alice"]] {
            let run = daemon.run(&Program::default(), &[command, args].concat());
            assert_eq!(run.exit, Exit::Ok, "{}", run.err);
            let sent = r#"{"document_number":"1=2","document_type":"RUC","person_type":"J""#;
            let request = daemon.request();
            assert!(request.contains(sent), "{request}");
        }
    }
}

#[test]
fn a_password_that_breaks_the_rules_is_told_before_it_is_typed_again() {
    for (typed, told) in [
        (&["short", "a longer phrase", "a longer phrase"][..], "8 to 1024 characters"),
        (&["password", "a longer phrase", "a longer phrase"], "easy to guess"),
        (&["ALICE@example.test", "a longer phrase", "a longer phrase"], "easy to guess"),
    ] {
        let daemon = Daemon::start([Answer::json(201, &user("alice", ""))]);
        let program = Program { typed: Some(typed), ..Program::default() };
        let run = daemon.run(&program, &["user", "create", "alice", "--email", "alice@example.test"]);
        assert_eq!(run.exit, Exit::Ok, "{}", run.err);
        assert!(run.err.starts_with("Choose another one: ") && run.err.contains(told), "{}", run.err);
        assert!(daemon.request().contains(r#""password":"a longer phrase""#));
    }
    let env = &[("AUTHCTL_TOKEN", "5e55")];
    let typed = &["the old phrase", "the old phrase", "a longer phrase", "a longer phrase"];
    let daemon = Daemon::start_tcp([Answer::json(200, r#"{"status":"success"}"#)]);
    let run = daemon.run(&Program { env, typed: Some(typed), ..Program::default() }, &["passwd"]);
    assert_eq!((run.exit, run.err.as_str()), (Exit::Ok, "Choose another one: this is your current password\n"));
}

#[test]
fn an_address_that_is_set_is_told_to_get_no_reset_yet() {
    for (verified, has_password, told) in [
        (false, true, "or: authctl user verify alice\n"),
        (false, false, "or: authctl user invite a@example.org\n"),
        (true, true, ""),
    ] {
        let rest = format!(r#","email":"a@example.org","email_verified":{verified}"#);
        let answer = user("alice", &rest).replace("\"has_password\":true", &format!("\"has_password\":{has_password}"));
        let daemon = Daemon::start([Answer::json(200, &answer)]);
        let run = daemon.run(&Program::default(), &["user", "update", "alice", "--email", "a@example.org"]);
        assert_eq!(run.exit, Exit::Ok, "{}", run.err);
        assert!(run.out.contains("a@example.org"), "{}", run.out);
        assert!(run.err.ends_with(told) && run.err.is_empty() == verified, "{}", run.err);
    }
}

#[test]
fn user_list_is_a_table_that_fits_and_says_when_there_is_nobody() {
    let list = format!(r#"{{"users":[{},{}]}}"#, user("alice", ""), user("b\\u001b[2J", r#","document_number":"1""#));
    let daemon = Daemon::start([Answer::json(200, &list)]);
    let run = daemon.run(&Program { width: Some(40), ..Program::default() }, &["user", "list"]);
    assert!(run.out.lines().all(|line| line.chars().count() <= 40), "{}", run.out);
    assert!(run.out.starts_with("USER ") && !run.out.contains('\u{1b}'), "{}", run.out);
    let daemon = Daemon::start([Answer::json(200, r#"{"users":[]}"#)]);
    let run = daemon.run(&Program::default(), &["user", "list"]);
    assert_eq!((run.exit, run.out.as_str()), (Exit::Ok, ""));
    assert!(run.err.starts_with("No users."), "{}", run.err);
}

#[test]
fn what_destroys_asks_by_name_and_goes_by_id() {
    let answers = [Answer::json(200, &user("alice", "")), Answer::json(200, r#"{"status":"success"}"#)];
    let daemon = Daemon::start(answers);
    let run = daemon.run(&Program { confirm: Some(true), ..Program::default() }, &["user", "delete", "ALICE"]);
    assert_eq!((run.exit, run.out.as_str()), (Exit::Ok, "Deleted the user alice\n"));
    assert!(daemon.request().starts_with("GET /users/ALICE "));
    assert!(daemon.request().starts_with(&format!("DELETE /users/{TOKEN_ID} ")));
    for args in [
        &["user", "delete", "x"][..],
        &["user", "logout", "x"],
        &["user", "totp", "reset", "x"],
        &["user", "passkey", "remove", "x", TOKEN_ID],
        &["session", "end", "--user", "x"],
        &["service", "delete", "x"],
        &["service", "token", "revoke", "x", TOKEN_ID],
        &["role", "delete", "x"],
        &["permission", "delete", "x"],
    ] {
        let run = Daemon::start([]).run(&Program::default(), args);
        assert_eq!(run.exit, Exit::Usage, "{args:?}");
        assert!(run.err.contains("--yes"), "{}", run.err);
    }
}

#[test]
fn passkeys_of_a_user_are_listed_and_removed_by_id() {
    let passkey = format!(
        r#"{{"passkeys":[{{"id":"{TOKEN_ID}","name":"laptop","backed_up":true,"created_at":"2027-01-14T08:00:00Z"}}]}}"#
    );
    let daemon = Daemon::start([
        Answer::json(200, &passkey),
        Answer::json(200, r#"{"passkeys":[]}"#),
        Answer::json(200, r#"{"status":"success"}"#),
    ]);
    let run = daemon.run(&Program::default(), &["user", "passkey", "list", "alice"]);
    assert!(run.out.contains("laptop") && run.out.contains("yes") && run.out.contains("never"), "{}", run.out);
    assert!(run.out.contains(TOKEN_ID), "{}", run.out);
    let run = daemon.run(&Program::default(), &["user", "passkey", "list", "alice"]);
    assert_eq!((run.exit, run.out.as_str(), run.err.as_str()), (Exit::Ok, "", "No passkeys\n"));
    let run = daemon.run(&Program::default(), &["user", "passkey", "remove", "alice", TOKEN_ID, "--yes"]);
    assert_eq!(run.exit, Exit::Ok, "{}", run.err);
    for _ in 0..2 {
        assert!(daemon.request().starts_with("GET /users/alice/passkeys "));
    }
    assert!(daemon.request().starts_with(&format!("DELETE /users/alice/passkeys/{TOKEN_ID} ")));
}

const LOGGED_IN: &str = r#"{"token":"5e55","expires_at":1800000300,"payload":
    {"user_id":"0199a0b0-0000-7000-8000-000000000001","username":"alice","name":"Alice"}}"#;
const IDENTITY: &str = r#"{"caller":"user:alice(1)","permissions":["users.read","audit.read"]}"#;

#[test]
fn login_keeps_the_session_for_this_server_and_logout_forgets_it() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path().to_str().unwrap();
    let answers = [
        Answer::json(200, LOGGED_IN),
        Answer::json(200, IDENTITY),
        problem(401, "invalid_token", ""),
        Answer::json(200, r#"{"status":"logged_out"}"#),
    ];
    let daemon = Daemon::start_tcp(answers);
    let program = Program { env: &[("HOME", home)], typed: Some(&["alice", "secret"]), ..Program::default() };
    let run = daemon.run(&program, &["login", "--token-store", "file"]);
    assert_eq!(run.exit, Exit::Ok, "{}", run.err);
    assert!(run.out.contains("as alice") && run.out.contains("in 5 minutes"), "{}", run.out);
    assert!(run.err.contains("in a file that only you can read") && !run.err.contains("5e55"), "{}", run.err);
    let request = daemon.request();
    assert!(request.ends_with(r#"{"password":"secret","username":"alice"}"#) && !request.contains("authorization"));

    let run = daemon.run(&program, &["whoami"]);
    assert!(run.out.contains("On authd      users.read, audit.read\n"), "{}{}", run.out, run.err);
    assert!(daemon.request().contains("authorization: Bearer 5e55\r\n"));
    let run = daemon.run(&program, &["user", "list"]);
    assert_eq!(run.exit, Exit::NotAuthenticated);
    assert!(run.err.contains("run authctl login --server http://127.0.0.1:"), "{}", run.err);
    daemon.request();

    let run = daemon.run(&program, &["logout"]);
    assert_eq!(run.exit, Exit::Ok, "{}", run.err);
    let request = daemon.request();
    assert!(request.starts_with("POST /auth/logout ") && request.contains("Bearer 5e55"), "{request}");
    assert_eq!(daemon.run(&program, &["logout"]).exit, Exit::NotAuthenticated);
}

#[test]
fn the_session_is_for_one_server_and_a_token_goes_before_it() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path().to_str().unwrap();
    let env = &[("HOME", home), ("ADMIN_TOKEN", "adm1n")];
    let here = Daemon::start_tcp([Answer::json(200, LOGGED_IN), Answer::json(200, IDENTITY)]);
    let program = Program { env, stdin: "secret\n", ..Program::default() };
    let run = here.run(&program, &["login", "--user", "alice", "--password-stdin", "--token-store", "file"]);
    assert!(run.err.contains("note: ADMIN_TOKEN is set"), "{}", run.err);
    here.run(&program, &["whoami"]);
    assert!(!here.request().contains("adm1n"), "a login shows nothing but the password");
    assert!(here.request().contains("Bearer adm1n\r\n"));

    let elsewhere = Daemon::start_tcp([problem(401, "unauthenticated", "")]);
    let run = elsewhere.run(&Program { env: &env[..1], ..Program::default() }, &["whoami"]);
    assert!(run.err.contains("Sign in with `authctl login --server"), "{}", run.err);
    assert!(!elsewhere.request().contains("5e55"));
}

#[test]
fn a_login_wants_a_server_and_a_way_to_keep_the_password_private() {
    let program = Program { env: &[("HOME", "/nonexistent")], stdin: "x", ..Program::default() };
    for (args, told) in [
        (&["login"][..], "--server URL"),
        (&["logout"], "--server URL"),
        (&["--socket", "/x", "login"], "--server URL"),
        (&["--server", "http://192.0.2.1", "login", "--user", "a", "--password-stdin"], "--insecure"),
        (&["--server", "http://127.0.0.1:1", "login", "--password-stdin"], "--user NAME"),
        (&["--server", "http://127.0.0.1:1", "login", "--user", "a"], "--password-stdin"),
    ] {
        let run = program.run(args);
        assert_eq!(run.exit, Exit::Usage, "{args:?}: {}", run.err);
        assert!(run.err.contains(told), "{args:?}: {}", run.err);
    }
}

#[test]
fn lockouts_are_told_and_cleared_by_name_or_address() {
    let list = r#"{"lockouts":[{"id":"name:alice","failures":12,"last_at":"2027-01-15T07:59:00Z","locked_until":"2027-01-15T08:15:00Z"},
        {"id":"address:2001:db8::","failures":3,"last_at":"2027-01-15T07:00:00Z"}]}"#;
    let daemon = Daemon::start([Answer::json(200, list)]);
    let run = daemon.run(&Program::default(), &["lockout", "list", "--all"]);
    assert_eq!(
        run.out,
        "KIND     WHO          FAILURES  LAST            LOCKED\n\
         name     alice        12        60 seconds ago  ends in 15 minutes\n\
         address  2001:db8::   3         60 minutes ago  no\n"
            .replace("2001:db8:: ", "2001:db8::")
            .replace("alice     ", "alice    ")
            .replace("WHO       ", "WHO      ")
    );
    for (args, path) in
        [(&["alice smith"][..], "name%3Aalice%20smith"), (&["--address", "2001:db8::1"], "address%3A2001%3Adb8%3A%3A1")]
    {
        let daemon = Daemon::start([Answer::json(200, r#"{"status":"success"}"#)]);
        let run = daemon.run(&Program::default(), &[&["lockout", "clear"], args].concat());
        assert_eq!(run.exit, Exit::Ok, "{}", run.err);
        let request = daemon.request();
        assert!(request.starts_with("DELETE /lockouts/") && request.contains(path), "{request}");
    }
}

const FACTORS: &str = r#"{"factors":[{"kind":"totp","name":"authenticator app","created_at":"2027-01-14T08:00:00Z",
    "last_used_at":"2027-01-15T07:59:00Z"}],"recovery_codes":7}"#;
const GRANTS: &str = r#"{"grants":[
    {"person_id":"0199a0b0-0000-7000-8000-000000000001","username":"alice","service_id":"0199a0b0-0000-7000-8000-000000000002",
        "service":"orders","role":"editor","created_at":"2027-01-14T08:00:00Z"},
    {"person_id":"0199a0b0-0000-7000-8000-000000000001","username":"alice","service_id":"0199a0b0-0000-7000-8000-000000000002",
        "service":"orders","permission":"orders.refund","created_at":"2027-01-14T08:00:00Z"},
    {"person_id":"0199a0b0-0000-7000-8000-000000000001","username":"alice","service_id":"0199a0b0-0000-7000-8000-000000000003",
        "service":"authd","role":"admin","created_at":"2027-01-14T08:00:00Z"}]}"#;
const CODES: &str = r#"{"recovery_codes":["AAAA-1","BBBB-2"]}"#;

#[test]
fn a_user_is_shown_with_factors_and_sign_ins() {
    let sessions = format!(
        r#"{{"sessions":[{{"id":"{TOKEN_ID}","kind":"login","user":"alice","address":"192.0.2.7","created_at":"2027-01-15T07:59:00Z",
        "last_used_at":"2027-01-15T07:59:00Z","idle_expires_at":"2027-01-15T08:00:00Z","expires_at":"2027-01-15T08:00:00Z",
        "end_reason":"logged_out"}}]}}"#
    );
    let shown = "Factor        authenticator app, since 24 hours ago (2027-01-14T08:00:00Z), last used 60 seconds ago";
    for (answer, told) in [
        (Answer::json(200, &sessions), "from 192.0.2.7, logged_out\n"),
        (problem(403, "forbidden", ""), "Sign-ins      shown with the permission sessions.read\n"),
    ] {
        let grants = Answer::json(200, GRANTS);
        let daemon = Daemon::start([Answer::json(200, &user("alice", "")), Answer::json(200, FACTORS), grants, answer]);
        let run = daemon.run(&Program::default(), &["user", "show", "alice"]);
        assert_eq!(run.exit, Exit::Ok, "{}", run.err);
        assert!(run.out.contains(shown) && run.out.contains("7 unused codes") && run.out.contains(told), "{}", run.out);
        let granted = "Grants        admin in authd\nGrants        editor, orders.refund in orders\n";
        assert!(run.out.contains(granted), "{}", run.out);
        daemon.request();
        assert!(daemon.request().starts_with(&format!("GET /users/{TOKEN_ID}/factors ")));
        assert!(daemon.request().contains(&format!("person_id={TOKEN_ID}")));
        assert!(daemon.request().contains("include_ended=true"));
    }
    // The API's own object needs one call.
    let daemon = Daemon::start([Answer::json(200, &user("alice", ""))]);
    assert_eq!(daemon.run(&Program::default(), &["user", "show", "alice", "-o", "json"]).exit, Exit::Ok);
}

#[test]
fn a_code_is_prompted_for_when_authd_asks_for_it() {
    let home = tempfile::tempdir().unwrap();
    let env = &[("HOME", home.path().to_str().unwrap())];
    let answers = [problem(401, "totp_required", ""), Answer::json(200, LOGGED_IN)];
    let daemon = Daemon::start_tcp(answers);
    let program = Program { env, typed: Some(&["alice", "secret", "123456"]), ..Program::default() };
    let run = daemon.run(&program, &["login", "--token-store", "file"]);
    assert_eq!(run.exit, Exit::Ok, "{}", run.err);
    assert!(daemon.request().ends_with(r#"{"password":"secret","username":"alice"}"#));
    assert!(daemon.request().ends_with(r#"{"password":"secret","totp":"123456","username":"alice"}"#));

    // Without a terminal it is on stdin, or the refusal says where it belongs.
    let login = ["login", "--user", "alice", "--password-stdin", "--token-store", "file"];
    let daemon = Daemon::start_tcp([Answer::json(200, LOGGED_IN), problem(401, "totp_required", "")]);
    let run = daemon.run(&Program { env, stdin: "secret\n123456\n", ..Program::default() }, &login);
    assert_eq!(run.exit, Exit::Ok, "{}", run.err);
    assert!(daemon.request().ends_with(r#"{"password":"secret","totp":"123456","username":"alice"}"#));
    let run = daemon.run(&Program { env, stdin: "secret\n", ..Program::default() }, &login);
    assert_eq!(run.exit, Exit::NotAuthenticated);
    assert!(run.err.contains("the line after the password on stdin"), "{}", run.err);
}

#[test]
fn totp_is_turned_on_in_one_go_at_a_terminal() {
    let pending = r#"{"secret":"GEZDGNBV","uri":"otpauth://totp/a:alice?secret=GEZDGNBV","qr_svg":"","qr_png":"",
        "expires_at":"2027-01-15T08:10:00Z"}"#;
    let daemon = Daemon::start_tcp([Answer::json(200, pending), Answer::json(200, CODES)]);
    let env = &[("AUTHCTL_TOKEN", "5e55")];
    let program = Program { env, typed: Some(&["secret", "123456"]), ..Program::default() };
    let run = daemon.run(&program, &["totp", "enable"]);
    assert_eq!(run.exit, Exit::Ok, "{}", run.err);
    assert!(run.out.contains("type the secret: GEZDGNBV\n") && run.out.ends_with("AAAA-1\nBBBB-2\n"), "{}", run.out);
    assert!(run.out.starts_with('█') && run.err.contains("not shown again"), "{}{}", run.out, run.err);
    assert!(daemon.request().ends_with(r#"{"password":"secret"}"#));
    assert!(daemon.request().ends_with(r#"{"code":"123456"}"#));
}

#[test]
fn turning_totp_off_takes_password_and_code() {
    let env = &[("AUTHCTL_TOKEN", "5e55")];
    for program in [
        Program { env, typed: Some(&["secret", "123456"]), ..Program::default() },
        Program { env, stdin: "secret\r\n123456\n", ..Program::default() },
    ] {
        let daemon = Daemon::start_tcp([Answer::json(200, r#"{"status":"success"}"#), Answer::json(200, CODES)]);
        let run = daemon.run(&program, &["totp", "disable", "--password-stdin"]);
        assert_eq!(run.exit, Exit::Ok, "{}", run.err);
        let run = daemon.run(&program, &["totp", "recovery-codes", "--password-stdin"]);
        assert_eq!((run.exit, run.out.as_str()), (Exit::Ok, "AAAA-1\nBBBB-2\n"), "{}", run.err);
        for path in ["/auth/totp/disable", "/auth/recovery-codes"] {
            let request = daemon.request();
            assert!(request.starts_with(&format!("POST {path} ")), "{request}");
            assert!(request.ends_with(r#"{"code":"123456","password":"secret"}"#), "{request}");
        }
    }
    let run = Daemon::start_tcp([])
        .run(&Program { env, stdin: "secret", ..Program::default() }, &["totp", "disable", "--password-stdin"]);
    assert_eq!(run.exit, Exit::Usage);
    let run = Daemon::start([]).run(&Program::default(), &["totp", "status"]);
    assert!(run.exit == Exit::Usage && run.err.contains("authctl user totp reset USER"), "{}", run.err);
}
