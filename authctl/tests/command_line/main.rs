//! The whole program but its process, against a daemon that answers what a test tells it to. The real daemon is met in
//! the crate `tests`.

mod daemon;
mod places;
mod program;
mod rooms;
mod tokens;

use program::Program;
use shared::cli::Exit;

const TOKEN_ID: &str = "0199a0b0-0000-7000-8000-000000000001";

#[test]
fn a_wrong_command_line_is_exit_2() {
    for args in [
        &["nonsense"][..],
        &["create", "demo"],
        &["create", "--scopes", "read"],
        &["create", "demo", "--scopes", "read", "--ttl", "0"],
        &["create", "demo", "--scopes", "read", "--ttl", "1", "--expires-at", "2027-01-31"],
        &["session", "end", "not-a-uuid"],
        &["list", "--server", "http://127.0.0.1:1", "--socket", "/x"],
        &["list", "--server", "localhost:8080"],
        &["list", "-o", "xml"],
        &[],
    ] {
        let run = Program::default().run(args);
        assert_eq!((run.exit, run.out.as_str()), (Exit::Usage, ""), "{args:?}");
        assert!(!run.err.is_empty());
    }
}

/// The help of every command, kept as a file so that a change of it is seen in review. `UPDATE_HELP=1` writes it anew.
#[test]
fn the_help_is_as_reviewed() {
    let commands = [
        "",
        "create",
        "list",
        "info",
        "revoke",
        "token",
        "token extend",
        "token rotate",
        "token validate",
        "session",
        "session list",
        "session end",
        "audit",
        "status",
        "completions",
    ];
    let help = commands.map(|command| {
        let args: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let run = Program::default().run(&args);
        assert_eq!((run.exit, run.err.as_str()), (Exit::Ok, ""));
        format!("$ authctl {}\n{}\n", args.join(" "), run.out)
    });
    let text = help.concat();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/help.txt");
    if std::env::var_os("UPDATE_HELP").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(file).unwrap_or_default(), "UPDATE_HELP=1 writes it anew");
}

#[test]
fn completions_need_no_daemon() {
    let run = Program::default().run(&["completions", "bash"]);
    assert_eq!(run.exit, Exit::Ok);
    assert!(run.out.contains("revoke"));
}
