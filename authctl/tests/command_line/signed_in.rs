//! Sessions of `authctl login`: of several people, at the server that is remembered.

use shared::cli::Exit;

use crate::daemon::{Answer, Daemon, problem};
use crate::program::Program;

fn logged_in(user: &str) -> Answer {
    Answer::json(
        200,
        &format!(
            r#"{{"token":"{user}-t0ken","expires_at":1800003600,"max_expires_at":1800043200,"payload":
            {{"user_id":"0199a0b0-0000-7000-8000-000000000001","username":"{user}","name":"N"}}}}"#
        ),
    )
}

fn identity() -> Answer {
    Answer::json(200, r#"{"caller":"x","permissions":["admin"]}"#)
}

fn login(user: &str) -> [&str; 6] {
    ["login", "--user", user, "--password-stdin", "--token-store", "file"]
}

#[test]
fn login_remembers_the_server_and_says_for_how_long() {
    let home = tempfile::tempdir().unwrap();
    let env = &[("HOME", home.path().to_str().unwrap())];
    let daemon = Daemon::start_tcp([logged_in("ada"), identity(), logged_in("ada"), logged_out(), logged_out()]);
    let program = Program { env, stdin: "secret", ..Program::default() };
    let run = daemon.run(&program, &login("ada"));
    assert_eq!(run.exit, Exit::Ok, "{}", run.err);
    assert!(run.out.contains("If unused, the session ends in 60 minutes ("), "{}", run.out);
    assert!(run.out.contains("at the latest in 12 hours ("), "{}", run.out);
    daemon.request();
    // Without --server from here on.
    let run = program.run(&["whoami"]);
    assert!(run.exit == Exit::Ok && run.out.contains(daemon.url()), "{}{}", run.out, run.err);
    assert!(daemon.request().contains("authorization: Bearer ada-t0ken\r\n"));
    let run = program.run(&login("ada"));
    assert_eq!(run.exit, Exit::Ok, "{}", run.err);
    assert!(daemon.request().starts_with("POST /auth/login "));
    assert!(daemon.request().starts_with("POST /auth/logout "), "the session that it replaces");
    let run = program.run(&["logout"]);
    assert!(run.exit == Exit::Ok && run.out.ends_with("as ada\n"), "{}{}", run.out, run.err);
    let run = program.run(&["logout"]);
    assert!(run.exit == Exit::Usage && run.err.contains("--server URL"), "{}", run.err);
}

fn logged_out() -> Answer {
    Answer::json(200, r#"{"status":"logged_out"}"#)
}

#[test]
fn a_token_of_the_environment_is_not_sent_to_a_server_that_is_only_remembered() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path().to_str().unwrap();
    let daemon = Daemon::start_tcp([logged_in("ada"), identity(), identity()]);
    daemon.run(&Program { env: &[("HOME", home)], stdin: "secret", ..Program::default() }, &login("ada"));
    daemon.request();
    let program = Program { env: &[("HOME", home), ("ADMIN_TOKEN", "adm1n")], ..Program::default() };
    assert_eq!(program.run(&["whoami"]).exit, Exit::Ok);
    assert!(daemon.request().contains("Bearer ada-t0ken\r\n"));
    daemon.run(&program, &["whoami"]);
    assert!(daemon.request().contains("Bearer adm1n\r\n"), "it is sent to a server that is named");
}

#[test]
fn several_people_stay_signed_in_and_are_chosen_by_name() {
    let home = tempfile::tempdir().unwrap();
    let env = &[("HOME", home.path().to_str().unwrap())];
    let answers = [logged_in("ada"), logged_in("bob"), identity(), identity(), logged_out(), identity()];
    let daemon = Daemon::start_tcp(answers);
    let program = Program { env, stdin: "secret", ..Program::default() };
    daemon.run(&program, &login("ada"));
    let run = daemon.run(&program, &login("bob"));
    assert!(run.err.contains("ada stays signed in there: --as ada uses that session"), "{}", run.err);
    for _ in 0..2 {
        assert!(daemon.request().starts_with("POST /auth/login "), "nobody's session ends");
    }
    for (args, token) in [(&["whoami", "--as", "ADA"][..], "ada-t0ken"), (&["--as", "bob", "whoami"], "bob-t0ken")] {
        let run = program.run(args);
        assert_eq!(run.exit, Exit::Ok, "{}", run.err);
        assert!(daemon.request().contains(&format!("Bearer {token}\r\n")));
    }
    let run = program.run(&["whoami", "--as", "carol"]);
    assert_eq!(run.exit, Exit::NotAuthenticated);
    assert!(run.err.contains("carol is not signed in") && run.err.contains("--user carol"), "{}", run.err);
    let run = program.run(&["logout", "--as", "bob"]);
    assert!(run.exit == Exit::Ok && run.err.contains(" now, as ada\n"), "{}{}", run.out, run.err);
    assert!(daemon.request().contains("Bearer bob-t0ken\r\n"));
    assert_eq!(program.run(&["whoami"]).exit, Exit::Ok);
    assert!(daemon.request().contains("Bearer ada-t0ken\r\n"), "the one who is left");
}

#[test]
fn a_user_is_not_chosen_where_the_kernel_identifies_the_caller() {
    let home = tempfile::tempdir().unwrap();
    let env = &[("HOME", home.path().to_str().unwrap())];
    let run = Program { env, ..Program::default() }.run(&["--as", "ada", "--socket", "/x", "list"]);
    assert_eq!(run.exit, Exit::Usage, "{}", run.err);
    let daemon = Daemon::start_tcp([problem(401, "unauthenticated", "")]);
    let run = daemon.run(&Program { env, ..Program::default() }, &["--as", "ada", "list"]);
    assert!(run.exit == Exit::NotAuthenticated && run.err.contains("ada is not signed in"), "{}", run.err);
}
