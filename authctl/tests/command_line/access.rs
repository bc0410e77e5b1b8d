//! Services, roles, permissions, grants: what is asked and what is told.

use shared::cli::Exit;

use crate::TOKEN_ID;
use crate::daemon::{Answer, Daemon, problem};
use crate::program::Program;

const DONE: &str = r#"{"status":"success"}"#;

fn named(kind: &str, name: &str) -> String {
    format!(
        r#"{{"id":"{TOKEN_ID}","{kind}":"{name}","status":"active","created_at":"2027-01-14T08:00:00Z","updated_at":"2027-01-14T08:00:00Z"}}"#
    )
}

#[test]
fn a_grant_is_one_call_for_each_thing_given() {
    let roles = format!(r#"{{"roles":[{}]}}"#, named("name", "Editor"));
    let answers = [DONE, DONE, DONE, &roles].map(|answer| Answer::json(200, answer));
    let daemon = Daemon::start(answers);
    let args = ["grant", "alice", "editor", "viewer", "--permission", "orders.refund", "--service", "orders"];
    let run = daemon.run(&Program::default(), &args);
    assert_eq!(
        run.out,
        "alice has the role editor in orders\nalice has the role viewer in orders\nalice has orders.refund in orders\n"
    );
    assert_eq!(
        run.err,
        "note: the role viewer does not count in orders until: authctl service roles add orders viewer\n"
    );
    for (path, given) in [
        ("/person-service-roles", r#"{"person_id":"alice","role_id":"editor","service_id":"orders"}"#),
        ("/person-service-roles", r#"{"person_id":"alice","role_id":"viewer","service_id":"orders"}"#),
        (
            "/person-service-permissions",
            r#"{"permission_id":"orders.refund","person_id":"alice","service_id":"orders"}"#,
        ),
    ] {
        let request = daemon.request();
        assert!(request.starts_with(&format!("POST {path} ")) && request.ends_with(given), "{request}");
    }
}

#[test]
fn several_things_that_stop_in_the_middle_say_what_was_done() {
    let daemon = Daemon::start([Answer::json(200, DONE), problem(404, "not_found", "")]);
    let run = daemon.run(&Program::default(), &["role", "allow", "editor", "a", "b"]);
    assert_eq!((run.exit, run.out.as_str()), (Exit::Refused, "The role editor has a\n"));
    assert!(run.err.contains("the detail"), "{}", run.err);
}

#[test]
fn objects_are_the_apis_own_in_json() {
    for (args, answer) in [
        (&["service", "create", "orders"][..], named("name", "orders")),
        (&["role", "create", "editor"], named("name", "editor")),
        (&["permission", "create", "a"], named("name", "a")),
        (&["role", "deny", "editor", "a"], DONE.to_owned()),
        (&["ungrant", "alice", "editor", "-s", "orders"], DONE.to_owned()),
        (&["grants"], r#"{"grants":[],"next_cursor":null}"#.to_owned()),
        (&["service", "roles", "list", "orders"], r#"{"roles":[],"next_cursor":null}"#.to_owned()),
    ] {
        let daemon = Daemon::start([Answer::json(200, &answer)]);
        let run = daemon.run(&Program::default(), &[args, &["-o", "json"]].concat());
        assert_eq!((run.exit, run.err.as_str()), (Exit::Ok, ""), "{args:?}");
        let object: serde_json::Value = serde_json::from_str(&run.out).unwrap();
        assert!(object.is_object(), "{args:?}: {}", run.out);
    }
}

#[test]
fn can_answers_by_its_exit_code_and_says_why() {
    let yes = r#"{"has_permission":true,"because":[{"role":"editor","granted_at":"2027-01-12T08:00:00Z"},
        {"granted_at":"2027-01-15T07:00:00Z"}],"obstacles":[]}"#;
    let daemon = Daemon::start([Answer::json(200, yes)]);
    let run = daemon.run(&Program::default(), &["can", "alice", "orders.read", "--service", "orders"]);
    assert_eq!(run.exit, Exit::Ok, "{}", run.err);
    assert_eq!(
        run.out,
        "yes: alice has orders.read in orders\n  by the role editor, granted 3 days ago (2027-01-12T08:00:00Z)\n  \
         by itself, granted 60 minutes ago (2027-01-15T07:00:00Z)\n"
    );
    let no = r#"{"has_permission":false,"because":[],"obstacles":["the role \"a\u001b\" is not active"]}"#;
    let daemon = Daemon::start([Answer::json(200, no)]);
    let run = daemon.run(&Program::default(), &["can", "alice", "orders.read", "--service", "orders"]);
    assert_eq!(run.exit, Exit::Refused);
    assert_eq!(run.out, "no: alice does not have orders.read in orders\n  the role \"a\\u{1b}\" is not active\n");
    for (has, exit) in [(true, Exit::Ok), (false, Exit::Refused)] {
        let checked = Answer::json(200, &format!(r#"{{"has_permission":{has}}}"#));
        let daemon = Daemon::start([problem(403, "forbidden", ""), checked]);
        let run = daemon.run(&Program::default(), &["can", "alice", "orders.read", "--service", "orders"]);
        assert_eq!(run.exit, exit, "{}", run.err);
        assert!(run.err.contains("access.read"), "{}", run.err);
    }
}

#[test]
fn the_token_of_a_service_is_alone_on_stdout_and_one_that_is_lost_can_be_revoked() {
    let minted = format!(
        r#"{{"token":"amp_live_secret","token_id":"{TOKEN_ID}","service_id":"{TOKEN_ID}","name":"orders-1","expires_at":null}}"#
    );
    let daemon = Daemon::start([Answer::json(201, &minted)]);
    let run = daemon.run(&Program::default(), &["service", "token", "create", "orders"]);
    assert_eq!((run.exit, run.out.as_str()), (Exit::Ok, "amp_live_secret\n"));
    assert!(run.err.contains("not shown again"), "{}", run.err);
    let daemon = Daemon::start([Answer::json(201, &minted)]);
    let program = Program { is_full: true, ..Program::default() };
    let run = daemon.run(&program, &["service", "token", "create", "orders"]);
    assert_eq!(run.exit, Exit::Refused);
    assert!(run.err.contains(&format!("authctl service token revoke orders {TOKEN_ID}")), "{}", run.err);
}

#[test]
fn show_tells_what_belongs_to_it() {
    let permissions = format!(r#"{{"permissions":[{},{}]}}"#, named("name", "a"), named("name", "b"));
    let daemon = Daemon::start([Answer::json(200, &named("name", "editor")), Answer::json(200, &permissions)]);
    let run = daemon.run(&Program::default(), &["role", "show", "editor"]);
    assert!(run.out.contains("Permissions   a, b\n"), "{}{}", run.out, run.err);
}
