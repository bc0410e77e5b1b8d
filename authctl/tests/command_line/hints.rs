//! Wrong words get the right hint.

use shared::cli::Exit;

use crate::TOKEN_ID;
use crate::daemon::{Answer, Daemon};
use crate::lists::NOT_FOUND;
use crate::program::Program;

#[test]
fn a_command_of_another_group_is_named() {
    for (args, hint) in [
        (&["rotate", "demo"][..], "Did you mean: authctl token rotate\n"),
        (&["token", "delete", "demo"], "authctl token revoke"),
        (&["session", "revoke", "x"], "authctl session end"),
        (&["users"], "authctl user\n"),
        (&["list", "users"], "authctl user list\n"),
        (&["create", "user", "bob"], "authctl user create\n"),
        (&["info", "role", "editor"], "authctl role show\n"),
        (&["revoke", "session", "x"], "authctl session end\n"),
        (&["-o", "json", "extend", "demo"], "authctl token extend"),
    ] {
        let run = Program::default().run(args);
        assert_eq!((run.exit, run.out.as_str()), (Exit::Usage, ""), "{args:?}");
        assert!(run.err.contains(hint), "{args:?}: {}", run.err);
    }
}

#[test]
fn a_name_where_an_id_is_meant_is_told_where_ids_are_or_what_takes_a_name() {
    for (args, hint) in [
        (&["session", "end", "alice"][..], "authctl session end --user alice"),
        (&["service", "token", "revoke", "orders", "ci"], "authctl service token list SERVICE"),
        (&["user", "unlink", "alice", "google"], "authctl user identities USER"),
        (&["user", "passkey", "remove", "alice", "laptop"], "authctl user passkey list USER"),
        (&["mail", "drop", "ada@example.org"], "authctl mail list"),
        (&["file", "remove", "report.pdf"], "authctl file list"),
    ] {
        let run = Program::default().run(args);
        assert_eq!(run.exit, Exit::Usage, "{args:?}");
        assert!(run.err.contains(hint), "{args:?}: {}", run.err);
    }
}

fn thing(name: &str) -> Answer {
    let times = r#""created_at":"2027-01-14T08:00:00Z","updated_at":"2027-01-14T08:00:00Z""#;
    Answer::json(200, &format!(r#"{{"id":"{TOKEN_ID}","name":"{name}","status":"active",{times}}}"#))
}

#[test]
fn a_permission_where_a_role_is_meant_and_a_role_where_a_permission_is_meant_are_told() {
    let gone = |kind: &str| Answer::problem(404, &NOT_FOUND.replace("KIND", kind));
    for (args, kind, path, hint) in [
        (
            &["grant", "alice", "orders.read", "-s", "orders"][..],
            "role",
            "/permissions/orders.read",
            "--permission orders.read",
        ),
        (
            &["ungrant", "alice", "orders.read", "-s", "orders"],
            "role",
            "/permissions/orders.read",
            "--permission orders.read",
        ),
        (&["grant", "alice", "-p", "editor", "-s", "orders"], "permission", "/roles/editor", "without --permission"),
        (&["role", "allow", "admin", "editor"], "permission", "/roles/editor", "authctl role show editor"),
        (
            &["service", "roles", "add", "orders", "orders.read"],
            "role",
            "/permissions/orders.read",
            "authctl role allow ROLE",
        ),
    ] {
        let daemon = Daemon::start([gone(kind), thing("x")]);
        let run = daemon.run(&Program::default(), args);
        assert_eq!(run.exit, Exit::Refused, "{args:?}");
        assert!(
            run.err.contains(&format!("there is no such {kind}\n")) && run.err.contains(hint),
            "{args:?}: {}",
            run.err
        );
        daemon.request();
        assert!(daemon.request().starts_with(&format!("GET {path} ")), "{args:?}");
        // It is neither, or what is unknown is something else.
        for answers in [vec![gone(kind), gone("x")], vec![gone("user")]] {
            let run = Daemon::start(answers).run(&Program::default(), args);
            assert!(run.exit == Exit::Refused && !run.err.contains(hint), "{args:?}: {}", run.err);
        }
    }
}

#[test]
fn an_empty_stdin_is_told_by_what_it_lacks() {
    for (args, told) in [
        (&["token", "validate"][..], "there is no token on stdin"),
        (&["user", "passwd", "alice", "--password-stdin"], "there is no password on stdin"),
    ] {
        for stdin in ["", "\n"] {
            let run = Daemon::start([]).run(&Program { stdin, ..Program::default() }, args);
            assert_eq!(run.exit, Exit::Usage, "{args:?}");
            assert!(run.err.contains(told), "{}", run.err);
        }
    }
    let env = &[("AUTHCTL_TOKEN", "t")];
    let run = Daemon::start_tcp([]).run(&Program { env, ..Program::default() }, &["totp", "confirm", "--code-stdin"]);
    assert!(run.exit == Exit::Usage && run.err.contains("there is no code on stdin"), "{}", run.err);
}

#[test]
fn an_address_without_a_scheme_is_told_with_one() {
    for (server, told) in [
        ("localhost:8080", "write http://localhost:8080"),
        ("127.0.0.1:8080", "write http://127.0.0.1:8080"),
        ("auth.example.test", "write https://auth.example.test"),
    ] {
        let run = Program::default().run(&["list", "--server", server]);
        assert!(run.exit == Exit::Usage && run.err.contains(told), "{}", run.err);
        let run = Program { env: &[("AUTHCTL_SERVER", server)], ..Program::default() }.run(&["list"]);
        assert!(run.exit == Exit::Usage && run.err.contains(told), "{}", run.err);
    }
    let run = Program::default().run(&["list", "--server", "ann:hunter2@auth.example.test"]);
    assert!(run.exit == Exit::Usage, "{}", run.err);
}
