//! Finding the daemon, what is sent where, and what is said when it refuses or is not there.

use shared::cli::Exit;

use crate::daemon::{Answer, Daemon, problem, token};
use crate::program::Program;

#[test]
fn refusals_have_their_exit_code_and_an_advice() {
    for (answer, exit, advice) in [
        (problem(404, "not_found", ""), Exit::Refused, "the detail"),
        (problem(401, "invalid_token", ""), Exit::NotAuthenticated, "authd.toml"),
        (problem(403, "forbidden", ""), Exit::Refused, "You are uid"),
        (
            problem(422, "validation_failed", r#","fields":[{"field":"name","detail":"too long"}]"#),
            Exit::Refused,
            "name: too long",
        ),
        (problem(429, "rate_limited", r#","retry_after":7"#), Exit::Refused, "Try again in 7 s"),
        (problem(500, "internal", r#","request_id":"r-1""#), Exit::Refused, "request id r-1"),
        (Answer::json(200, "<html>"), Exit::Refused, "Is this authd's address"),
        (Answer::Hangup, Exit::Unreachable, "did not answer"),
    ] {
        let daemon = Daemon::start([answer]);
        let run = daemon.run(&Program::default(), &["info", "x"]);
        assert_eq!((run.exit, run.out.as_str()), (exit, ""), "{}", run.err);
        assert!(run.err.contains(advice), "{advice}: {}", run.err);
    }
}

#[test]
fn a_server_gets_the_token_and_a_socket_does_not() {
    let env = &[("ADMIN_TOKEN", "admin-secret")];
    let program = Program { env, ..Program::default() };
    let daemon = Daemon::start([Answer::json(200, &token("a", ""))]);
    daemon.run(&program, &["info", "a"]);
    assert!(!daemon.request().contains("admin-secret"));

    let daemon = Daemon::start_tcp([Answer::json(200, &token("a", ""))]);
    let run = daemon.run(&program, &["info", "a"]);
    assert_eq!(run.exit, Exit::Ok, "{}", run.err);
    assert!(daemon.request().contains("authorization: Bearer admin-secret\r\n"));
}

#[test]
fn a_token_is_not_sent_in_clear_to_another_machine() {
    let program = Program { env: &[("AUTHCTL_TOKEN", "t")], ..Program::default() };
    let run = program.run(&["--server", "http://192.0.2.1:8080", "list"]);
    assert_eq!(run.exit, Exit::Usage);
    assert!(run.err.contains("--insecure") && run.err.contains("https"), "{}", run.err);
}

#[test]
fn without_credentials_a_server_says_which_to_set() {
    let daemon = Daemon::start_tcp([problem(401, "unauthenticated", "")]);
    let run = daemon.run(&Program::default(), &["list"]);
    assert_eq!(run.exit, Exit::NotAuthenticated);
    assert!(run.err.contains("AUTHCTL_TOKEN"), "{}", run.err);
}

#[test]
fn a_wrong_socket_says_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.sock");
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let dead = folder.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    for (path, told) in [(missing, "no such socket"), (file, "a file, not a socket"), (dead, "no process listens")] {
        let path = path.to_str().unwrap();
        for (env, args) in [(&[][..], &["--socket", path, "list"][..]), (&[("AUTHD_ADMIN_SOCKET", path)], &["list"])] {
            let run = Program { env, ..Program::default() }.run(args);
            assert_eq!(run.exit, Exit::Unreachable);
            assert!(
                run.err.contains(path) && run.err.contains(told) && run.err.contains("Start it with"),
                "{}",
                run.err
            );
        }
    }
}

#[test]
fn nobody_at_the_address_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let run = Program::default().run(&["--server", &url, "status"]);
    assert_eq!(run.exit, Exit::Unreachable);
    assert!(run.err.contains("Is authd running there?"), "{}", run.err);
}

#[test]
fn an_empty_flag_or_variable_is_not_set() {
    let names = ["AUTHCTL_SERVER", "AUTHCTL_TOKEN", "AUTHCTL_TOKEN_FILE", "ADMIN_TOKEN", "ADMIN_TOKEN_FILE"];
    let env = names.map(|name| (name, ""));
    let program = Program { env: &env, ..Program::default() };
    let daemon = Daemon::start([Answer::json(200, &token("a", ""))]);
    let run = daemon.run(&program, &["--server", "", "--timeout=", "info", "a", "-o", ""]);
    assert_eq!(run.exit, Exit::Ok, "{}", run.err);
    let daemon = Daemon::start_tcp([Answer::json(200, &token("a", ""))]);
    let run = daemon.run(&program, &["info", "a", "--socket", ""]);
    assert_eq!(run.exit, Exit::Ok, "{}", run.err);
    assert!(!daemon.request().contains("authorization"));
}

#[test]
fn a_token_is_read_by_the_same_rule_from_a_variable_and_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    for (text, sent) in
        [("secret\n", Some("Bearer secret\r\n")), (" secret\r\n", Some("Bearer secret\r\n")), ("\n", None)]
    {
        std::fs::write(&file, text).unwrap();
        for env in [&[("AUTHCTL_TOKEN", text)], &[("AUTHCTL_TOKEN_FILE", file.to_str().unwrap())]] {
            let daemon = Daemon::start_tcp([Answer::json(200, &token("a", ""))]);
            let run = daemon.run(&Program { env, ..Program::default() }, &["info", "a"]);
            assert_eq!(run.exit, Exit::Ok, "{}", run.err);
            let request = daemon.request();
            assert_eq!(request.contains("authorization"), sent.is_some(), "{env:?}");
            assert!(request.contains(sent.unwrap_or_default()), "{env:?}: {request}");
        }
    }
}
