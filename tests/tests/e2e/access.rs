//! Who may do what where, as an operator works with it: authctl against the real daemon, over the admin socket and over
//! HTTP, from the first administrator on.

use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Output;
use tests::authd::{Authd, Setup};
use tests::process::{Spec, both, stdout};
use tests::{TIMEOUT, binary};

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A terminal of somebody who reaches a daemon over HTTP; what is kept of them is in a home of their own.
pub(crate) struct Desk<'a> {
    authd: &'a Authd,
    home: PathBuf,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(authd: &'a Authd, name: &str) -> Self {
        Self { authd, home: authd.dir().join(name) }
    }

    fn spec(&self, args: &[&str]) -> Spec {
        Spec::new(binary("authctl")).env("HOME", &self.home).env("AUTHCTL_SERVER", self.authd.url()).args(args)
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.spec(args).run(TIMEOUT)
    }

    pub(crate) fn login(&self, user: &str, password: &str) -> Output {
        let args = ["login", "--user", user, "--password-stdin", "--token-store", "file"];
        self.spec(&args).stdin(format!("{password}\n")).run(TIMEOUT)
    }

    fn kept(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.home.join(".local/state/authctl")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }
}

#[track_caller]
pub(crate) fn exit(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", both(output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
pub(crate) fn ok(authd: &Authd, args: &[&str]) -> String {
    stdout(&authd.authctl(args))
}

/// Makes a user over the admin socket.
#[track_caller]
pub(crate) fn user(authd: &Authd, name: &str) {
    let socket = authd.socket_path();
    let spec = Spec::new(binary("authctl")).env("HOME", authd.dir()).env("AUTHD_ADMIN_SOCKET", socket);
    let output = spec.args(["user", "create", name, "--password-stdin"]).stdin(PASSWORD).run(TIMEOUT);
    assert!(stdout(&output).contains("Created the user"), "{}", both(&output));
}

#[test]
fn the_first_administrator_is_made_on_the_socket_and_works_from_anywhere() {
    let authd = Authd::start();
    let alice = Desk::new(&authd, "alice");
    user(&authd, "alice");
    ok(&authd, &["grant", "alice", "authd-admin", "--service", "authd"]);
    let told = exit(&alice.run(&["whoami"]), 3);
    assert!(told.contains(&format!("authctl login --server {}", authd.url())), "{told}");
    let told = exit(&alice.login("alice", "not her password"), 3);
    assert!(told.contains("user name, the password or the code is wrong") && !told.contains("whoami"), "{told}");
    assert_eq!(alice.kept().len(), 0);

    let output = alice.login("ALICE", PASSWORD);
    let told = exit(&output, 0);
    assert!(told.contains("in a file that only you can read"), "{told}");
    let [kept] = alice.kept().try_into().expect("one session");
    assert_eq!(std::fs::metadata(&kept).expect("it is there").mode() & 0o777, 0o600);
    let kept: Value = serde_json::from_slice(&std::fs::read(&kept).expect("it can be read")).expect("JSON");
    let token = kept["token"].as_str().expect("the session's token");
    assert!(!both(&output).contains(token) && !both(&output).contains(PASSWORD), "{}", both(&output));

    let me: Value = serde_json::from_str(&stdout(&alice.run(&["whoami", "-o", "json"]))).expect("JSON");
    assert_eq!((&me["user"]["username"], &me["permissions"]), (&"alice".into(), &serde_json::json!(["admin"])), "{me}");
    let sessions = stdout(&alice.run(&["session", "list", "--user", "alice", "--kind", "login"]));
    assert!(sessions.contains("login") && sessions.lines().count() == 2, "{sessions}");

    // A second sign-in takes the place of the first, here and at authd.
    exit(&alice.login("alice", PASSWORD), 0);
    assert_eq!(alice.kept().len(), 1);
    assert_eq!(authd.http().bearer(token).get("/auth/whoami").expect("it answers").status, 401);

    exit(&alice.run(&["logout"]), 0);
    assert_eq!(alice.kept().len(), 0);
    exit(&alice.run(&["whoami"]), 3);
    let told = exit(&alice.run(&["logout"]), 3);
    assert!(told.contains("not signed in"), "{told}");
    assert!(!authd.log().contains(PASSWORD));
}

#[test]
fn what_is_granted_can_be_done_and_why_is_told() {
    let authd = Authd::start();
    for name in ["alice", "bob"] {
        user(&authd, name);
    }
    ok(&authd, &["grant", "alice", "authd-admin", "--service", "authd"]);
    let (alice, bob) = (Desk::new(&authd, "alice"), Desk::new(&authd, "bob"));
    exit(&alice.login("alice", PASSWORD), 0);
    exit(&bob.login("bob", PASSWORD), 0);
    let done = |args: &[&str]| stdout(&alice.run(args));
    done(&["service", "create", "orders", "--description", "The order desk"]);
    done(&["permission", "create", "orders.read", "orders.write"]);
    done(&["role", "create", "editor", "--permissions", "orders.read", "orders.write"]);
    let output = alice.run(&["grant", "bob", "editor", "--service", "orders"]);
    assert!(exit(&output, 0).contains("service roles add orders editor"), "{}", both(&output));

    let can = |permission: &str| alice.run(&["can", "bob", permission, "--service", "orders"]);
    let output = can("orders.read");
    exit(&output, 1);
    assert!(both(&output).contains("no: bob") && both(&output).contains("is not in the service"), "{}", both(&output));
    done(&["service", "roles", "add", "orders", "editor"]);
    let told = stdout(&can("orders.read"));
    assert!(told.starts_with("yes: bob has orders.read in orders\n  by the role editor, granted"), "{told}");
    exit(&can("orders.delete"), 1);
    done(&["role", "disable", "editor"]);
    assert!(both(&can("orders.read")).contains("is not active"));
    done(&["role", "enable", "editor"]);
    done(&["service", "disable", "orders"]);
    exit(&can("orders.read"), 1);
    done(&["service", "enable", "orders"]);
    exit(&can("orders.read"), 0);

    // Somebody without leave to read access is told whether, about themselves, and not why.
    let output = bob.run(&["can", "bob", "orders.read", "--service", "orders"]);
    assert!(exit(&output, 0).contains("access.read") && stdout(&output).starts_with("yes: bob"), "{}", both(&output));
    for args in [
        &["user", "list"][..],
        &["grant", "bob", "authd-admin", "--service", "authd"],
        &["can", "alice", "admin", "-s", "authd"],
    ] {
        assert!(exit(&bob.run(args), 1).contains("whoami"), "{args:?}");
    }

    done(&["role", "deny", "editor", "orders.write"]);
    exit(&can("orders.write"), 1);
    done(&["grant", "bob", "-p", "orders.write", "-s", "orders"]);
    assert!(stdout(&can("orders.write")).contains("by itself, granted"));
    let grants = done(&["grants", "--user", "bob", "--service", "orders"]);
    assert!(grants.contains("editor") && grants.contains("orders.write") && grants.lines().count() == 3, "{grants}");
    done(&["ungrant", "bob", "editor", "--permission", "orders.write", "--service", "orders"]);
    exit(&can("orders.read"), 1);
    assert!(exit(&alice.run(&["grants", "--user", "bob"]), 0).contains("No grants"));

    // Renaming keeps what is related, deleting takes it.
    done(&["grant", "bob", "editor", "-s", "orders"]);
    done(&["permission", "rename", "orders.read", "orders.see"]);
    exit(&can("orders.see"), 0);
    done(&["role", "delete", "editor", "--yes"]);
    exit(&can("orders.see"), 1);
    exit(&alice.run(&["role", "show", "editor"]), 1);
}

#[test]
fn the_token_of_a_service_asks_about_its_users_and_nothing_else() {
    let authd = Authd::start();
    user(&authd, "bob");
    for args in [
        &["service", "create", "orders"][..],
        &["permission", "create", "see"],
        &["grant", "bob", "-p", "see", "-s", "orders"],
    ] {
        ok(&authd, args);
    }
    let token = ok(&authd, &["service", "token", "create", "orders", "--ttl", "1"]);
    let token = token.trim_end();
    assert!(!token.contains(char::is_whitespace), "the secret alone: {token}");
    let service = Desk::new(&authd, "service");
    let run = |args: &[&str]| service.spec(args).env("AUTHCTL_TOKEN", token).run(TIMEOUT);
    let me: Value = serde_json::from_str(&stdout(&run(&["whoami", "-o", "json"]))).expect("JSON");
    assert!(me["service_id"].is_string(), "{me}");
    assert!(stdout(&run(&["can", "bob", "see", "--service", "orders"])).starts_with("yes"));
    exit(&run(&["user", "list"]), 1);
    let list: Value =
        serde_json::from_str(&ok(&authd, &["service", "token", "list", "orders", "-o", "json"])).expect("JSON");
    let id = list["tokens"][0]["token_id"].as_str().expect("an id").to_owned();
    ok(&authd, &["service", "token", "revoke", "orders", &id, "--yes"]);
    assert!(exit(&run(&["whoami"]), 3).contains("AUTHCTL_TOKEN"));
}

#[test]
fn a_session_ends_when_its_user_may_not_go_on() {
    let authd = Authd::start();
    user(&authd, "bob");
    let bob = Desk::new(&authd, "bob");
    let passwd = |password: &str| {
        let socket = authd.socket_path();
        let spec = Spec::new(binary("authctl")).env("AUTHD_ADMIN_SOCKET", socket).stdin(password);
        spec.args(["user", "passwd", "bob", "--password-stdin"]).run(TIMEOUT)
    };
    let enders: [(&str, &dyn Fn()); 4] = [
        ("logout", &|| assert!(ok(&authd, &["user", "logout", "bob", "--yes"]).contains("Ended the session"))),
        ("session end", &|| drop(ok(&authd, &["session", "end", "--user", "bob", "--yes"]))),
        ("passwd", &|| exit_ok(&passwd(PASSWORD))),
        ("disable", &|| drop(ok(&authd, &["user", "disable", "bob"]))),
    ];
    for (name, end) in enders {
        exit(&bob.login("bob", PASSWORD), 0);
        exit(&bob.run(&["whoami"]), 0);
        end();
        let told = exit(&bob.run(&["whoami"]), 3);
        assert!(told.contains("session is over: run authctl login --server"), "{name}: {told}");
    }
    exit(&bob.login("bob", PASSWORD), 3);
    ok(&authd, &["user", "enable", "bob"]);
    exit(&bob.login("bob", PASSWORD), 0);
    // One's own password, by one's own session, which stays.
    let change = bob.spec(&["passwd", "--password-stdin"]).stdin(format!("{PASSWORD}\nanother good one\n"));
    exit(&change.run(TIMEOUT), 0);
    exit(&bob.run(&["whoami"]), 0);
    exit(&bob.login("bob", PASSWORD), 3);
    exit(&bob.login("bob", "another good one"), 0);
    ok(&authd, &["user", "delete", "bob", "--yes"]);
    exit(&bob.run(&["whoami"]), 3);
    user(&authd, "bob");
}

#[track_caller]
fn exit_ok(output: &Output) {
    exit(output, 0);
}

#[test]
fn a_lockout_is_listed_and_cleared() {
    let authd = Setup::new().toml("[login]\nmax_failures = 3\n").start();
    user(&authd, "alice");
    let alice = Desk::new(&authd, "alice");
    for _ in 0..3 {
        exit(&alice.login("Alice", "wrong"), 3);
    }
    exit(&alice.login("alice", PASSWORD), 3);
    let list = ok(&authd, &["lockout", "list"]);
    assert!(list.contains("name") && list.contains("alice") && list.contains("ends in"), "{list}");
    ok(&authd, &["lockout", "clear", "ALICE"]);
    exit(&authd.authctl(&["lockout", "clear", "nobody"]), 1);
    ok(&authd, &["lockout", "clear", "--address", "127.0.0.1"]);
    exit(&alice.login("alice", PASSWORD), 0);
    assert!(exit(&authd.authctl(&["lockout", "list"]), 0).contains("Nobody is locked out"));
}

#[test]
fn the_keyring_can_keep_the_session() {
    let authd = Authd::start();
    user(&authd, "alice");
    let home = authd.dir().join("keyring-home");
    std::fs::create_dir_all(&home).expect("the folder is ours");
    let script =
        "printf %s \"$PASSWORD\" | \"$0\" login --user alice --password-stdin && \"$0\" whoami && \"$0\" logout";
    let run = tests::rig::script("keyring.sh").args(["bash", "-c", script]).arg(binary("authctl"));
    let run = run.env("HOME", &home).env("AUTHCTL_SERVER", authd.url()).env("PASSWORD", PASSWORD);
    let output = run.run(TIMEOUT);
    let said = stdout(&output);
    assert!(both(&output).contains("stored in the keyring") && said.contains("user:alice"), "{}", both(&output));
    assert!(said.contains("Signed out"), "{}", both(&output));
}

/// Each judges by what somebody holds on authd, and each change of that makes the others judge again: nobody has to try
/// again by hand.
#[test]
fn managers_who_hand_out_authority_at_the_same_time_all_succeed() {
    const MANY: usize = 64;
    let authd = Authd::start();
    let admin = authd.admin();
    let must = |path: &str, body: Value| {
        let answer = admin.post(path, &body).expect("authd answers");
        assert!([200, 201].contains(&answer.status), "{path}: {}", answer.text());
        answer.json()
    };
    must("/users", json!({"username": "manager", "password": PASSWORD}));
    let grant = |person: &str, permission: &str| json!({"person_id": person, "service_id": "authd", "permission_id": permission});
    for permission in ["access.write", "users.read"] {
        must("/person-service-permissions", grant("manager", permission));
    }
    for number in 0..MANY {
        must("/users", json!({"username": format!("person-{number}")}));
    }
    let login = must("/auth/login", json!({"username": "manager", "password": PASSWORD}));
    let manager = authd.http().bearer(login["token"].as_str().expect("a session"));
    std::thread::scope(|scope| {
        for number in 0..MANY {
            let (manager, body) = (manager.clone(), grant(&format!("person-{number}"), "users.read"));
            scope.spawn(move || {
                let answer = manager.post("/person-service-permissions", &body).expect("authd answers");
                assert_eq!(answer.status, 200, "{number}: {}", answer.text());
            });
        }
    });
}
