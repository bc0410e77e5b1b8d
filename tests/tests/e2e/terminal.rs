//! The programs at a terminal (tests/rig/terminal.py) and at a pipe.

use serde_json::{Value, json};
use tests::authd::Authd;
use tests::browser::Visit;
use tests::login::{Machine, Service};
use tests::process::{Spec, both, stdout};
use tests::{TIMEOUT, binary, rig};

const SIGNALS: [i64; 4] = [1, 2, 3, 15];

/// What a program does on a terminal of its own while these steps are taken.
fn on_terminal(program: &str, args: &[&str], env: Vec<(String, String)>, steps: &Value) -> Value {
    let spec = rig::script("terminal.py").arg(binary(program)).args(args).env("TERM", "xterm").envs(env);
    // Otherwise Python makes a locale with UTF-8 of one without.
    let spec = spec.env("PYTHONCOERCECLOCALE", "0");
    let output = spec.stdin(steps.to_string()).run(TIMEOUT);
    serde_json::from_str(&stdout(&output)).unwrap_or_else(|e| panic!("{e}: {}", both(&output)))
}

fn env_of(authd: &Authd) -> Vec<(String, String)> {
    let home = authd.dir().display().to_string();
    vec![("AUTHD_ADMIN_SOCKET".into(), authd.socket_path().display().to_string()), ("HOME".into(), home)]
}

#[test]
fn a_prompt_that_a_signal_ends_leaves_the_terminal_as_it_was() {
    let authd = Authd::start();
    stdout(&authd.authctl(&["user", "create", "ada", "--no-password"]));
    for signal in SIGNALS {
        let steps = json!([{"wait": "assword"}, {"modes": "asked", "echo": false}, {"signal": signal}]);
        let end = on_terminal("authctl", &["user", "passwd", "ada"], env_of(&authd), &steps);
        assert_eq!(end["modes"]["asked"]["echo"], false, "the password is not shown: {end}");
        assert_eq!((&end["modes"]["end"]["echo"], &end["exit"]), (&true.into(), &(128 + signal).into()), "{end}");

        let steps = json!([{"wait": "[y/N]"}, {"modes": "asked", "echo": false}, {"signal": signal}]);
        let end = on_terminal("authctl", &["user", "delete", "ada"], env_of(&authd), &steps);
        let modes = &end["modes"]["end"];
        assert_eq!((&modes["echo"], &modes["canonical"], &end["cursor"]), (&true.into(), &true.into(), &true.into()));
        assert_eq!(end["exit"], 128 + signal, "{end}");
    }
    // The person's own Ctrl-C, which a prompt for a single key reads as that.
    let steps = json!([{"wait": "[y/N]"}, {"modes": "asked", "echo": false}, {"send": "\u{3}"}]);
    let end = on_terminal("authctl", &["user", "delete", "ada"], env_of(&authd), &steps);
    let modes = &end["modes"]["end"];
    assert_eq!((&modes["echo"], &end["cursor"], &end["exit"]), (&true.into(), &true.into(), &130.into()), "{end}");
    stdout(&authd.authctl(&["user", "show", "ada"]));
}

#[test]
fn a_closed_pipe_is_silent() {
    let service = Service::start();
    let machine = Machine::new(&service);
    machine.sign_in();
    let scopes: Vec<String> = (0..60).map(|n| format!("service-with-a-long-name-{n}:read")).collect();
    for number in 0..40 {
        let name = format!("token-{number}");
        let args = ["create", &name, "--scopes"].into_iter().chain(scopes.iter().map(String::as_str));
        stdout(&service.authd.authctl(&args.collect::<Vec<_>>()));
    }
    // A reader that ends at once, and one that reads a line of more than a pipe holds.
    let script = "set -o pipefail; \"$0\" \"$@\" | head -n 1 >/dev/null; echo \"${PIPESTATUS[0]}\"; \
                  \"$0\" \"$@\" | true; echo \"${PIPESTATUS[0]}\"; \"$0\" --help | true; echo \"${PIPESTATUS[0]}\"";
    let run = |program: &str, args: &[&str], env: Vec<(String, String)>| {
        let spec = Spec::new("bash").args(["-c", script]).arg(binary(program)).args(args).envs(env);
        let output = spec.run(TIMEOUT);
        let codes: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        assert!(codes.len() == 3 && codes.iter().all(|code| code == "0" || code == "141"), "{}", both(&output));
        assert!(output.stderr.is_empty(), "{program} {args:?}: {}", both(&output));
    };
    for args in [&["token", "list"][..], &["token", "list", "-o", "json"], &["audit"], &["completions", "bash"]] {
        run("authctl", args, env_of(&service.authd));
    }
    for args in [&["status"][..], &["status", "-o", "json"], &["profiles"], &["credential-process"], &["renew"]] {
        run("auth-login", args, machine.env());
    }
}

#[test]
fn the_spinner_shows_what_the_terminal_can() {
    let service = Service::start();
    for (locale, is_ascii) in [("C", true), ("C.UTF-8", false)] {
        let machine = Machine::headless(&service);
        let mut env = machine.env();
        env.extend([("LANG".into(), locale.into()), ("BROWSER".into(), "true".into())]);
        let steps = json!([{"wait": "waiting for the sign-in"}, {"wait": "waiting for the sign-in"}, {"signal": 2}]);
        let end = on_terminal("auth-login", &["login"], env, &steps);
        let output = end["output"].as_str().expect("a text");
        assert_eq!(output.is_ascii(), is_ascii, "{end}");
        assert_eq!((&end["exit"], &end["cursor"]), (&130.into(), &true.into()), "{end}");
    }
}

#[test]
fn another_person_than_before_is_asked_about() {
    let service = Service::start();
    let machine = Machine::new(&service);
    machine.sign_in();
    let before = machine.credentials();
    let machine = machine.browsing(&Visit::new().user("bob"));

    // Without a terminal: an error that names the flag, and nothing changes.
    let output = machine.auth_login(&["login", "--again"]).run(TIMEOUT);
    assert!(!output.status.success() && both(&output).contains("--another-user"), "{}", both(&output));
    assert_eq!(machine.credentials(), before);
    assert!(stdout(&machine.auth_login(&["status"]).run(TIMEOUT)).contains("alice"));
    stdout(&machine.auth_login(&["renew"]).run(TIMEOUT));

    // At a terminal: a question, whose answer counts.
    let no = json!([{"wait": "[y/N]"}, {"send": "n\n"}]);
    let end = on_terminal("auth-login", &["login", "--again"], machine.env(), &no);
    assert_eq!(end["exit"], 1, "{end}");
    assert!(stdout(&machine.auth_login(&["status"]).run(TIMEOUT)).contains("alice"));
    let yes = json!([{"wait": "[y/N]"}, {"send": "y\n"}]);
    let end = on_terminal("auth-login", &["login", "--again"], machine.env(), &yes);
    assert_eq!(end["exit"], 0, "{end}");
    assert!(stdout(&machine.auth_login(&["status"]).run(TIMEOUT)).contains("bob"));

    // Who says so beforehand is not asked, nor after the end of the session.
    stdout(&machine.auth_login(&["logout"]).run(TIMEOUT));
    let machine = machine.browsing(&Visit::new());
    let output = machine.auth_login(&["login"]).run(TIMEOUT);
    assert!(!output.status.success() && both(&output).contains("--another-user"), "{}", both(&output));
    stdout(&machine.auth_login(&["switch-user"]).run(TIMEOUT));
    assert!(stdout(&machine.auth_login(&["status"]).run(TIMEOUT)).contains("alice"));
}
