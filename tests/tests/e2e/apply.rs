//! A file that says who may do what where, applied by authctl to the real daemon.

use crate::access::{Desk, exit, ok, user};
use serde_json::Value;
use tests::authd::{Authd, Setup};
use tests::mail::MailServer;
use tests::process::{Spec, both, stdout};
use tests::{TIMEOUT, binary};

const FILE: &str = r#"
permissions = ["orders.read", "orders.write", "orders.refund"]

[[role]]
name = "viewer"
permissions = ["orders.read"]

[[role]]
name = "editor"
permissions = ["orders.read", "orders.write"]

[[service]]
name = "orders"
description = "The order desk"
roles = ["viewer", "editor"]

[[grant]]
user = "alice"
service = "orders"
roles = ["editor"]

[[grant]]
user = "bob"
service = "orders"
roles = ["viewer"]
permissions = ["orders.refund"]
"#;

/// The same in YAML.
const YAML: &str = "
permissions: [orders.read, orders.write, orders.refund]
roles:
- name: Viewer
  permissions: [orders.read]
- {name: editor, permissions: [orders.write, ORDERS.READ]}
services:
- name: orders
  description: The order desk
  roles: [editor, viewer]
grants:
- {user: alice, service: orders, roles: [editor]}
- {user: Bob, service: orders, roles: [viewer], permissions: [orders.refund]}
";

fn write(authd: &Authd, name: &str, text: &str) -> String {
    let path = authd.dir().join(name);
    std::fs::write(&path, text).expect("the folder is ours");
    path.display().to_string()
}

/// Every engine that keeps the truth, with two users and an administrator.
fn staffed() -> [(&'static str, Authd); 2] {
    let postgres = Setup::new().database(&tests::postgres::database());
    let engines = [("SQLite", Authd::start()), ("PostgreSQL", postgres.start())];
    for (_, authd) in &engines {
        user(authd, "alice");
        user(authd, "bob");
        ok(authd, &["grant", "alice", "authd-admin", "--service", "authd"]);
    }
    engines
}

#[test]
fn access_is_as_the_file_says_and_applying_twice_changes_nothing() {
    for (engine, authd) in staffed() {
        let file = write(&authd, "access.toml", FILE);
        let before = audited(&authd);
        let plan = ok(&authd, &["apply", &file, "--dry-run"]);
        assert!(plan.contains("+ service orders") && plan.contains("8 to create, 0 to change, 0 to remove"), "{plan}");
        exit(&authd.authctl(&["apply", &file, "--dry-run", "--exit-code"]), 5);
        assert!(exit(&authd.authctl(&["apply", &file]), 2).contains("--yes"), "{engine}");
        assert_eq!(audited(&authd), before, "{engine}: nothing was done");

        let done = ok(&authd, &["apply", &file, "--yes"]);
        assert!(done.ends_with("Done: 8 created, 0 changed, 0 removed\n"), "{engine}: {done}");
        let after = audited(&authd);
        // 3 permissions, 2 roles, 1 service, 3 + 2 relations, 3 grants
        assert_eq!(after, before + 14, "{engine}");
        ok(&authd, &["can", "alice", "orders.write", "-s", "orders"]);
        ok(&authd, &["can", "bob", "orders.refund", "-s", "orders"]);
        exit(&authd.authctl(&["can", "bob", "orders.write", "-s", "orders"]), 1);

        let yaml = write(&authd, "access.yaml", YAML);
        for args in [&["apply", &file, "--yes"][..], &["apply", &file, "--dry-run", "--exit-code"], &["apply", &yaml]] {
            assert!(ok(&authd, args).starts_with("Nothing to do"), "{engine}: {args:?}");
        }
        assert_eq!(audited(&authd), after, "{engine}: nothing was done the second time");

        // What the file names is made exactly so: bob loses what somebody gave him by hand.
        ok(&authd, &["grant", "bob", "editor", "-s", "orders"]);
        ok(&authd, &["role", "disable", "viewer"]);
        ok(&authd, &["service", "update", "orders", "--description", "Another"]);
        let changed =
            FILE.replace("\"orders.read\", \"orders.write\"]\n\n[[service]]", "\"orders.write\"]\n\n[[service]]");
        let file = write(&authd, "access.toml", &changed);
        let plan = ok(&authd, &["apply", &file, "--yes"]);
        for line in [
            "~ role viewer\n    ~ status inactive -> active\n",
            "~ role editor\n    - permission orders.read\n",
            "~ service orders\n    ~ description Another -> \"The order desk\"\n",
            "~ grant bob in orders\n    - role editor\n",
        ] {
            assert!(plan.contains(line), "{engine}: {line}: {plan}");
        }
        exit(&authd.authctl(&["can", "alice", "orders.read", "-s", "orders"]), 1);
        ok(&authd, &["can", "bob", "orders.read", "-s", "orders"]);
    }
}

#[test]
fn who_is_to_be_invited_is_mailed_once_and_has_what_the_file_grants() {
    let server = MailServer::start();
    let mail = Setup::new().env("SMTP_URL", &server.plain_url()).env("SMTP_FROM", "auth@example.com");
    let authd = mail.start();
    let alice = "[[user]]\nname = \"alice\"\nemail = \"alice@example.com\"\ninvite = true\n";
    let (without_bob, _) = FILE.split_once("[[grant]]\nuser = \"bob\"").expect("the last grant");
    let text = format!("{without_bob}{alice}");
    let file = write(&authd, "invite.toml", &text);
    let plan = ok(&authd, &["apply", &file, "--dry-run"]);
    assert!(plan.contains("+ user alice\n    + invitation to alice@example.com\n"), "{plan}");
    exit(&authd.authctl(&["user", "show", "alice"]), 1);
    ok(&authd, &["apply", &file, "--yes"]);
    server.wait_for("alice@example.com", 1);
    assert!(ok(&authd, &["user", "show", "alice"]).contains("alice@example.com (not verified)"));
    let told = ok(&authd, &["can", "alice", "orders.write", "-s", "orders"]);
    assert!(told.contains("has set no password yet to sign in by: authctl user invite alice@example.com"), "{told}");
    for args in [&["apply", &file, "--yes"][..], &["apply", &file, "--dry-run", "--exit-code"]] {
        assert!(ok(&authd, args).starts_with("Nothing to do"), "{args:?}");
    }
    // What is sent before these is sent when they are.
    stdout(&authd.authctl(&["mail", "test", "last@example.com", "--wait"]));
    assert_eq!(server.wait_for("alice@example.com", 1).len(), 1);

    let other = write(&authd, "other.toml", &text.replace("alice@example.com", "alice@example.org"));
    let told = exit(&authd.authctl(&["apply", &other, "--yes"]), 1);
    assert!(told.contains("the address of the user \"alice\" is alice@example.com"), "{told}");
    let taken = write(&authd, "taken.toml", &text.replace("\"alice\"", "\"zoe\""));
    let told = exit(&authd.authctl(&["apply", &taken, "--yes"]), 1);
    assert!(told.contains("alice@example.com is the address of the user \"alice\""), "{told}");
    let unmarked = write(&authd, "unmarked.toml", &text.replace("\"alice", "\"zoe").replace("invite = true\n", ""));
    let told = exit(&authd.authctl(&["apply", &unmarked, "--yes"]), 1);
    assert!(told.contains("there is no user \"zoe\"") && told.contains("invite = true"), "{told}");
}

#[test]
fn only_pruning_removes_what_the_file_does_not_name_and_never_what_authd_brings() {
    for (engine, authd) in staffed() {
        let file = write(&authd, "access.toml", FILE);
        ok(&authd, &["apply", &file, "--yes"]);
        for args in [
            &["service", "create", "legacy"][..],
            &["permission", "create", "legacy.use"],
            &["role", "create", "old", "--permissions", "legacy.use"],
            &["service", "roles", "add", "legacy", "old"],
            &["grant", "bob", "old", "-s", "legacy"],
            &["user", "create", "carol", "--no-password"],
            &["grant", "carol", "viewer", "-s", "orders"],
        ] {
            ok(&authd, args);
        }
        assert!(ok(&authd, &["apply", &file]).starts_with("Nothing to do"), "{engine}");
        ok(&authd, &["can", "bob", "legacy.use", "-s", "legacy"]);
        let plan = ok(&authd, &["apply", &file, "--prune", "--yes"]);
        for line in
            ["- service legacy", "- role old", "- permission legacy.use", "- grant carol in orders\n    - role viewer"]
        {
            assert!(plan.contains(line), "{engine}: {line}: {plan}");
        }
        assert!(plan.ends_with("Done: 0 created, 0 changed, 4 removed\n"), "{engine}: {plan}");
        assert!(ok(&authd, &["apply", &file, "--prune"]).starts_with("Nothing to do"), "{engine}");
        ok(&authd, &["can", "alice", "admin", "--service", "authd"]);
        ok(&authd, &["user", "show", "carol"]);
        ok(&authd, &["role", "show", "authd-admin"]);
    }
}

#[test]
fn a_file_with_a_fault_asks_for_nothing_and_one_that_is_refused_says_how_far_it_came() {
    let authd = Authd::start();
    user(&authd, "alice");
    user(&authd, "bob");
    let before = audited(&authd);
    let unknown = write(&authd, "a.toml", &FILE.replace("\"bob\"", "\"mallory\""));
    let told = exit(&authd.authctl(&["apply", &unknown, "--yes"]), 1);
    assert!(told.contains("a.toml:23: there is no user \"mallory\""), "{told}");
    let typo = write(&authd, "b.toml", &FILE.replace("\"orders.write\"]", "\"orders.wriet\"]"));
    let told = exit(&authd.authctl(&["apply", &typo, "--yes"]), 1);
    assert!(told.contains("b.toml:10: there is no permission \"orders.wriet\""), "{told}");
    // Nobody has to answer for this one.
    let fault = write(&authd, "c.toml", "permissions = [\"a\", \"A\"]\n");
    let output = Spec::new(binary("authctl")).args(["--server", "http://127.0.0.1:1", "apply", &fault]).run(TIMEOUT);
    assert!(exit(&output, 2).contains("c.toml:1: the permission \"A\""), "{}", both(&output));
    assert_eq!(audited(&authd), before);

    // Who holds less than the administrator cannot give it, and is told what was done before.
    user(&authd, "helper");
    ok(&authd, &["grant", "helper", "-p", "access.read", "-p", "access.write", "-s", "authd"]);
    let helper = Desk::new(&authd, "helper");
    exit(&helper.login("helper", crate::access::PASSWORD), 0);
    let file = "permissions = [\"x\"]\n[[grant]]\nuser = \"helper\"\nservice = \"authd\"\nroles = [\"authd-admin\"]\n\
                permissions = [\"access.read\", \"access.write\"]\n";
    let file = write(&authd, "d.toml", file);
    let told = exit(&helper.run(&["apply", &file, "--yes"]), 1);
    assert!(
        told.contains("1 of 2 changes were made") && told.contains("grant helper in authd: + role authd-admin"),
        "{told}"
    );
    ok(&authd, &["apply", &file, "--yes"]);
    assert!(stdout(&helper.run(&["apply", &file])).starts_with("Nothing to do"));
}

/// How much the audit log has.
fn audited(authd: &Authd) -> usize {
    let list: Value = serde_json::from_str(&ok(authd, &["audit", "--limit", "10000", "-o", "json"])).expect("JSON");
    list["entries"].as_array().expect("entries").len()
}
