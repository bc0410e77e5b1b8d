//! The agent under a booted user manager (tests/rig/systemd-boot.sh).

use std::process::Output;

use serde_json::Value;
use tests::browser::Elsewhere;
use tests::login::{Machine, Service};
use tests::machine::Booted;
use tests::process::{Spec, both, stdout};
use tests::{TIMEOUT, binary, rig, until};

const ALICE: &str = "assumed-role/developer/cli-11111111-aaaa-4aaa-8aaa-000000000001";

/// A person with a home and a user manager on a booted machine, which reaches the servers of this one.
struct Developer {
    booted: Booted,
    uid: String,
    env: Vec<(String, String)>,
}

impl Developer {
    /// Takes over what the machine has stored.
    fn with(machine: &Machine) -> Self {
        let booted = Booted::start(&[("/usr/bin/auth-login", binary("auth-login"))]);
        stdout(&booted.run(&["useradd", "--create-home", "dev"]));
        let uid = stdout(&booted.run(&["id", "-u", "dev"])).trim().to_owned();
        let home = booted.path("/home/dev");
        stdout(&Spec::new("cp").args(["-a", "--"]).arg(machine.home().join(".")).arg(&home).run(TIMEOUT));
        stdout(&booted.run(&["chown", "-R", "dev:dev", "/home/dev"]));
        stdout(&booted.run(&["loginctl", "enable-linger", "dev"]));
        let env = machine.env().into_iter().filter(|(name, _)| !["HOME", "BROWSER"].contains(&name.as_str())).collect();
        let developer = Self { booted, uid, env };
        until(TIMEOUT, "a user manager", || {
            let output = developer.run(&["systemctl", "--user", "is-system-running"]);
            String::from_utf8_lossy(&output.stdout).contains("running").then_some(())
        });
        developer
    }

    /// Runs a command as the person.
    fn run(&self, args: &[&str]) -> Output {
        let runtime = format!("XDG_RUNTIME_DIR=/run/user/{}", self.uid);
        let mut words =
            vec!["setpriv", "--reuid=dev", "--regid=dev", "--init-groups", "env", "HOME=/home/dev", &runtime];
        let env: Vec<String> = self.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        words.extend(env.iter().map(String::as_str));
        words.extend(args);
        self.booted.run(&words)
    }

    fn credentials(&self) -> String {
        std::fs::read_to_string(self.booted.path("/home/dev/.aws/credentials")).unwrap_or_default()
    }

    /// Who a newly started AWS CLI is, with the credentials file of the person.
    fn identity(&self) -> Output {
        let aws = rig::program("aws").args(["sts", "get-caller-identity"]).envs(self.env.clone());
        let aws = aws.env("HOME", self.booted.path("/home/dev"));
        self.booted.in_network(&aws).run(TIMEOUT)
    }

    fn unit(&self, property: &str) -> String {
        let shown = self.run(&["systemctl", "--user", "show", "-P", property, "auth-login-default.service"]);
        stdout(&shown).trim().to_owned()
    }
}

#[test]
fn an_installed_agent_keeps_the_file_fresh_and_ends_with_the_session() {
    let service = Service::start();
    let machine = Machine::new(&service);
    service.sts.lifetime(20);
    machine.sign_in();
    let developer = Developer::with(&machine);
    let elsewhere = Elsewhere::reaching(&service.ports_of_tools());
    let mut forward = developer.booted.in_network(&elsewhere.inside()).start(machine.home().join("forward.log"));
    forward.ready_line(TIMEOUT);

    let output = developer.run(&["auth-login", "agent", "install"]);
    assert!(output.status.success(), "{}", both(&output));
    assert_eq!(developer.unit("UnitFileState"), "enabled");
    // Through two expiries, with nobody touching anything.
    let mut keys = developer.credentials();
    for _ in 0..3 {
        keys = until(TIMEOUT, "renewed keys", || {
            Some(developer.credentials()).filter(|now| !now.is_empty() && *now != keys)
        });
        let identity = developer.identity();
        assert!(both(&identity).contains(ALICE), "{}", both(&identity));
    }
    let status: Value =
        serde_json::from_str(&stdout(&developer.run(&["auth-login", "agent", "status", "-o", "json"]))).unwrap();
    assert_eq!((&status["installed"], &status["running"]), (&true.into(), &true.into()), "{status}");
    let second = developer.run(&["auth-login", "agent"]);
    assert!(both(&second).contains("already"), "{}", both(&second));

    // The session ends: so does the agent, and it is not started again.
    let list: Value =
        serde_json::from_str(&stdout(&service.authd.authctl(&["session", "list", "-o", "json"]))).unwrap();
    let id = list["sessions"][0]["id"].as_str().expect("an id");
    stdout(&service.authd.authctl(&["session", "end", id, "--yes"]));
    until(TIMEOUT, "the end of the agent", || (developer.unit("ActiveState") == "inactive").then_some(()));
    assert_eq!((developer.unit("NRestarts").as_str(), developer.unit("Result").as_str()), ("0", "success"));
    let next = developer.run(&["auth-login", "exec", "--", "true"]);
    assert_eq!(next.status.code(), Some(3), "{}", both(&next));
    assert!(both(&next).contains("an administrator has ended the session"), "{}", both(&next));

    stdout(&developer.run(&["auth-login", "agent", "uninstall"]));
    let status: Value =
        serde_json::from_str(&stdout(&developer.run(&["auth-login", "agent", "status", "-o", "json"]))).unwrap();
    assert_eq!((&status["installed"], &status["running"]), (&false.into(), &false.into()), "{status}");
    assert_eq!(developer.unit("UnitFileState"), "");
}
