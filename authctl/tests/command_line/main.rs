//! The whole program but its process, against a daemon that answers what a test tells it to. The real daemon is met in
//! the crate `tests`.

mod access;
mod apply;
mod daemon;
mod fixtures;
mod hints;
mod lists;
mod modules;
mod people;
mod places;
mod program;
mod signed_in;
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
        &["create", "demo", "--scopes", ","],
        &["create", "demo", "--scopes", "read", "--ttl", "soon"],
        &["create", "--scopes", "orders:read", "orders:write"],
        &["role", "create", "--permissions", "orders.read"],
        &["token", "rotate", "demo", "--grace", "31d"],
        &["list", "--limit", "5", "--all-pages"],
        &["list", "--timeout", "2h"],
        &["audit", "--since", "yesterday"],
        &["create", "demo", "--scopes", "read", "--ttl", "1", "--expires-at", "2027-01-31"],
        &["session", "end", "not-a-uuid"],
        &["session", "end"],
        &["session", "end", TOKEN_ID, "--user", "alice"],
        &["session", "list", "--kind", "browser"],
        &["user", "create"],
        &["user", "create", " alice"],
        &["user", "create", "0190a6f0-0000-7000-8000-000000000000", "--no-password"],
        &["user", "create", "alice", "--password", "x"],
        &["user", "create", "alice", "--password-stdin", "--no-password"],
        &["user", "create", "alice", "--no-password", "--document-type", "PASSPORT"],
        &["user", "create", "alice", "--no-password", "--field", "document_type=PASSPORT"],
        &["user", "create", "alice", "--no-password", "--field", "shoe_size=43"],
        &["user", "create", "alice", "--no-password", "--field", "person_type=N", "--person-type", "N"],
        &["user", "update", "alice"],
        &["user", "passwd"],
        &["user", "totp", "reset"],
        &["user", "passkey", "remove", "alice", "not-a-uuid"],
        &["totp"],
        &["totp", "confirm", "123456"],
        &["login", "--totp", "123456"],
        &["service", "update", "orders"],
        &["role", "allow", "editor"],
        &["grant", "alice", "--service", "orders"],
        &["grant", "alice", "editor"],
        &["can", "alice", "orders.read"],
        &["lockout", "clear"],
        &["lockout", "clear", "alice", "--address", "192.0.2.1"],
        &["lockout", "clear", "--address", "somewhere"],
        &["file", "remove", "report.pdf"],
        &["file", "list", "--user", "ann", "--all"],
        &["mail", "test"],
        &["mail", "retry"],
        &["mail", "drop", TOKEN_ID, "--all"],
        &["apply"],
        &["apply", "access.toml", "--exit-code"],
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

/// The help of the commands, kept as a file so that a change of it is seen in review. `UPDATE_HELP=1` writes it anew.
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
        "user",
        "user create",
        "user list",
        "user show",
        "user update",
        "user delete",
        "user passwd",
        "user enable",
        "user disable",
        "user logout",
        "user totp",
        "user totp reset",
        "user passkey",
        "user identities",
        "user link",
        "user unlink",
        "user passkey list",
        "user passkey remove",
        "service",
        "service create",
        "service update",
        "service delete",
        "service token",
        "service token create",
        "service token revoke",
        "service roles",
        "service roles add",
        "role",
        "role create",
        "role update",
        "role allow",
        "role deny",
        "role permissions",
        "permission",
        "permission create",
        "permission rename",
        "grant",
        "ungrant",
        "grants",
        "can",
        "apply",
        "session",
        "session list",
        "session end",
        "lockout",
        "lockout list",
        "lockout clear",
        "file",
        "file list",
        "file remove",
        "mail",
        "mail test",
        "mail list",
        "mail retry",
        "mail drop",
        "login",
        "logout",
        "passwd",
        "totp",
        "totp enable",
        "totp confirm",
        "totp disable",
        "totp recovery-codes",
        "whoami",
        "audit",
        "backup",
        "status",
        "completions",
    ];
    let help = commands.map(|command| {
        let args: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let run = Program::default().run(&args);
        assert_eq!((run.exit, run.err.as_str()), (Exit::Ok, ""));
        // They are the same everywhere; once is enough.
        let own = if command.is_empty() { run.out } else { without_global_options(&run.out) };
        format!("$ authctl {}\n{}\n", args.join(" "), own)
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

fn without_global_options(help: &str) -> String {
    let (own, global) = help.split_once("\nGlobal options:").unwrap_or((help, ""));
    let after = global.split_once("\n\n").map_or(String::new(), |(_, after)| format!("\n{after}"));
    format!("{own}{after}")
}
