//! A developer signs in once, and every tool has working credentials from then on.

use rustix::process::Signal;
use serde_json::Value;
use std::time::Duration;
use tests::browser::{Elsewhere, Visit};
use tests::login::{Machine, Service, shown_release};
use tests::process::{both, stdout};
use tests::{TIMEOUT, until};

const ALICE: &str = "arn:aws:sts::123456789012:assumed-role/developer/cli-11111111-aaaa-4aaa-8aaa-000000000001";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn one_sign_in_serves_every_tool() {
    let service = Service::start();
    let machine = Machine::new(&service);
    let said = machine.sign_in();
    assert_eq!(machine.opened().len(), 1, "{}", both(&said));
    assert!(both(&said).contains("/oauth2/authorize?"), "the URL is always printed: {}", both(&said));
    // Every user of the machine can read the arguments of the launcher.
    let opened = &machine.opened()[0];
    assert!(opened.starts_with("http://127.0.0.1:") && !opened.contains("state"), "{opened}");

    // from the file
    let file = machine.credentials();
    assert!(file.starts_with("[default]") && file.ends_with('\n'), "{file}");
    assert_eq!(machine.identity("default"), ALICE);
    let script = json(&stdout(&machine.boto3(&[&service.sts.bucket]).run(TIMEOUT)));
    assert_eq!((&script["arn"], &script["method"]), (&ALICE.into(), &"shared-credentials-file".into()), "{script}");
    assert_eq!(script["object"], "written by boto3");

    // from credential-process, under a profile that the file does not have
    machine.use_credential_process("process");
    assert_eq!(machine.identity("process"), ALICE);
    let script = json(&stdout(&machine.boto3(&[]).env("AWS_PROFILE", "process").run(TIMEOUT)));
    assert_eq!((&script["arn"], &script["method"]), (&ALICE.into(), &"custom-process".into()), "{script}");

    // under exec, whatever the environment said before
    let exec = machine.auth_login(&["exec", "--", "aws", "sts", "get-caller-identity", "--output", "json"]);
    let path = tests::rig::path();
    let exec = exec.env("PATH", path).env("AWS_SESSION_TOKEN", "stale").env("AWS_ACCESS_KEY_ID", "AKIASTALE");
    assert_eq!(json(&stdout(&exec.run(TIMEOUT)))["Arn"], ALICE);
    assert_eq!(machine.opened().len(), 1, "nothing opened another tab");

    let status = machine.auth_login(&["status"]).run(TIMEOUT);
    assert!(stdout(&status).contains("alice"), "{}", both(&status));
}

#[test]
fn newly_started_commands_work_after_the_first_credentials_have_expired() {
    let service = Service::start();
    let machine = Machine::new(&service);
    service.sts.lifetime(20);
    machine.sign_in();
    let first = machine.credentials();
    let agent = machine.auth_login(&["agent"]).start(machine.home().join("agent.log"));
    service.sts.lifetime(25);
    // the file has other credentials once the agent has renewed ahead of the end of the first
    until(TIMEOUT, "credentials renewed by the agent", || (machine.credentials() != first).then_some(()));
    let first_key = first.lines().find_map(|l| l.strip_prefix("aws_access_key_id")).expect("a key").to_owned();
    until(TIMEOUT, "the first credentials' end", || {
        let secret = |name: &str| {
            first.lines().find_map(|l| l.strip_prefix(name)).expect("complete").trim_matches([' ', '=']).to_owned()
        };
        let stale = machine.aws(&["sts", "get-caller-identity"]);
        let stale = stale
            .env("AWS_ACCESS_KEY_ID", first_key.trim_matches([' ', '=']))
            .env("AWS_SECRET_ACCESS_KEY", secret("aws_secret_access_key"))
            .env("AWS_SESSION_TOKEN", secret("aws_session_token"));
        both(&stale.run(TIMEOUT)).contains("ExpiredToken").then_some(())
    });
    assert_eq!(machine.identity("default"), ALICE, "from the file");
    assert_eq!(json(&stdout(&machine.boto3(&[]).run(TIMEOUT)))["arn"], ALICE, "boto3 from the file");
    machine.use_credential_process("process");
    assert_eq!(machine.identity("process"), ALICE, "from credential-process");
    let exec = machine.auth_login(&["exec", "--", "aws", "sts", "get-caller-identity"]).env("PATH", tests::rig::path());
    assert!(stdout(&exec.run(TIMEOUT)).contains(ALICE), "under exec");
    assert_eq!(machine.opened().len(), 1, "nobody touched anything");
    drop(agent);
}

#[test]
fn a_browser_on_another_device_is_pasted_from() {
    let service = Service::start();
    let machine = Machine::headless(&service);
    let log = machine.home().join("login.log");
    let mut login = machine.auth_login(&["login", "--no-browser"]).start(&log);
    let url = login.wait(TIMEOUT, "the URL", || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.split_whitespace().find(|w| w.starts_with("http") && w.contains("state=")).map(str::to_owned)
    });
    let phone = Elsewhere::reaching(&service.ports());
    let page = Visit::new().from(&phone).go(&url);
    login.say("not-the-code");
    login.say(&shown_release(&page).expect("the page shows the release"));
    let status = until(TIMEOUT, "the end of the login", || login.exited());
    assert!(status.success(), "{}", login.log());
    assert_eq!(machine.identity("default"), ALICE);
    assert!(!machine.credentials().is_empty() && !login.log().contains("aws_secret"), "{}", login.log());
}

#[test]
fn one_long_script_outlives_its_credentials() {
    let service = Service::start();
    let machine = Machine::new(&service);
    service.sts.lifetime(20); // enough for a slow machine to use them
    machine.sign_in();
    machine.use_credential_process("process");
    let script = machine.boto3(&["", "22"]).env("AWS_PROFILE", "process");
    let said = json(&stdout(&script.run(TIMEOUT)));
    assert_eq!((&said["arn"], &said["arn_later"]), (&ALICE.into(), &ALICE.into()), "{said}");
    assert_ne!(said["access_key_id"], said["access_key_id_later"], "{said}");
}

#[test]
fn parallel_logins_open_one_tab() {
    let service = Service::start();
    let machine = Machine::new(&service);
    let running: Vec<_> = (0..6).map(|_| machine.auth_login(&["login"]).start_piped()).collect();
    for login in running {
        let output = login.finish(TIMEOUT);
        assert!(output.status.success(), "{}", both(&output));
    }
    assert_eq!(machine.opened().len(), 1);
    assert_eq!(service.provider.hits("POST /oauth2/token"), 1);
    assert_eq!(machine.identity("default"), ALICE);
}

#[test]
fn parallel_credential_processes_make_one_renewal() {
    let service = Service::start();
    let machine = Machine::new(&service);
    service.sts.lifetime(2);
    let begun = std::time::Instant::now();
    machine.sign_in();
    let signed_in = begun.elapsed();
    service.sts.steer("lifetime", &serde_json::json!({}));
    let expired = signed_in + Duration::from_secs(3);
    until(TIMEOUT, "the first keys' end", || (begun.elapsed() > expired).then_some(()));
    let before = service.sts.calls("AssumeRole").len();
    let audit = || {
        let said = stdout(&service.authd.authctl(&["audit", "-o", "json"]));
        said.matches("cli_login.renew").count()
    };
    let renewals = audit();
    let running: Vec<_> = (0..8).map(|_| machine.auth_login(&["credential-process"]).start_piped()).collect();
    let mut keys = std::collections::BTreeSet::new();
    for process in running {
        let answer = json(&stdout(&process.finish(TIMEOUT)));
        assert_eq!(answer["Version"], 1, "{answer}");
        assert!(answer["Expiration"].is_string() && answer["SessionToken"].is_string());
        keys.insert(answer["AccessKeyId"].as_str().expect("a key").to_owned());
    }
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert_eq!(service.sts.calls("AssumeRole").len() - before, 1);
    assert!(audit() - renewals <= 1, "one renewal at authd");
}

#[test]
fn without_a_session_credential_process_fails_at_once_and_names_the_command() {
    let service = Service::start();
    let machine = Machine::new(&service);
    let output = machine.auth_login(&["credential-process"]).run(Duration::from_secs(15));
    assert!(!output.status.success() && output.stdout.is_empty(), "{}", both(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("auth-login login"), "{}", both(&output));
    assert!(machine.opened().is_empty(), "an SDK's call opens no browser");
}

#[test]
fn somebody_elses_lines_in_the_file_stay() {
    let service = Service::start();
    let machine = Machine::new(&service);
    let before = "# mine\n[other]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = secret # not a comment\n\n";
    std::fs::create_dir_all(machine.home().join(".aws")).expect("it is ours");
    std::fs::write(machine.credentials_path(), before).expect("it is ours");
    machine.sign_in();
    let after = machine.credentials();
    assert!(after.starts_with(before), "{after}");
    assert_eq!(machine.identity("default"), ALICE);
}

#[test]
fn a_file_that_does_not_parse_is_refused_untouched() {
    let service = Service::start();
    let machine = Machine::new(&service);
    let broken = "[default]\naws_access_key_id = A\n[default\n";
    std::fs::create_dir_all(machine.home().join(".aws")).expect("it is ours");
    std::fs::write(machine.credentials_path(), broken).expect("it is ours");
    let output = machine.auth_login(&["login"]).run(TIMEOUT);
    assert!(!output.status.success(), "{}", both(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("line 3") || said.contains(":3"), "{said}");
    assert_eq!(machine.credentials(), broken);
}

#[test]
fn a_profile_that_somebody_else_wrote_needs_force() {
    let service = Service::start();
    let machine = Machine::new(&service);
    let theirs = "[default]\naws_access_key_id = AKIATHEIRS\naws_secret_access_key = theirs\n";
    std::fs::create_dir_all(machine.home().join(".aws")).expect("it is ours");
    std::fs::write(machine.credentials_path(), theirs).expect("it is ours");
    let output = machine.auth_login(&["login"]).run(TIMEOUT);
    assert!(!output.status.success(), "{}", both(&output));
    assert!(both(&output).contains("--force"), "{}", both(&output));
    assert_eq!(machine.credentials(), theirs);
    let output = machine.auth_login(&["login", "--force"]).run(TIMEOUT);
    assert!(output.status.success(), "{}", both(&output));
    assert_eq!(machine.identity("default"), ALICE);
}

#[test]
fn signing_out_ends_the_session() {
    let service = Service::start();
    let machine = Machine::new(&service);
    machine.sign_in();
    let output = machine.auth_login(&["logout"]).run(TIMEOUT);
    assert!(output.status.success(), "{}", both(&output));
    let output = machine.auth_login(&["credential-process"]).run(TIMEOUT);
    assert!(!output.status.success(), "{}", both(&output));
    assert!(!machine.credentials().contains("aws_session_token"), "{}", machine.credentials());
}

#[test]
fn declining_is_told_at_once() {
    let service = Service::start();
    let machine = Machine::visiting(&service, &Visit::new().cancels());
    let output = machine.auth_login(&["login"]).run(TIMEOUT);
    assert!(!output.status.success(), "{}", both(&output));
    assert!(!machine.credentials_path().exists());
    assert!(both(&output).to_lowercase().contains("denied") || both(&output).contains("declined"), "{}", both(&output));
    assert!(both(&output).contains("User cancelled"), "in the provider's words: {}", both(&output));
}

#[test]
fn plain_http_to_another_machine_is_refused() {
    let service = Service::start();
    let machine = Machine::new(&service);
    let output = machine.auth_login(&["login"]).env("AUTH_LOGIN_SERVER", "http://192.0.2.1:8080").run(TIMEOUT);
    assert!(!output.status.success(), "{}", both(&output));
    assert!(both(&output).contains("--insecure"), "{}", both(&output));
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let service = Service::start();
    let machine = Machine::headless(&service);
    let log = machine.home().join("login.log");
    for signal in [Signal::INT, Signal::TERM, Signal::INT] {
        let _ = std::fs::remove_file(&log);
        let mut login = machine.auth_login(&["login", "--no-browser"]).start(&log);
        // begins each time: no lock and no half-done login is left by the one before
        login.wait(TIMEOUT, "the URL", || std::fs::read_to_string(&log).ok().filter(|t| t.contains("state=")));
        login.signal(signal);
        let status = until(TIMEOUT, "its end", || login.exited());
        assert!(!status.success(), "{}", login.log());
    }
    assert!(!machine.credentials_path().exists());
}

#[test]
fn the_keyring_can_keep_the_device_token() {
    let service = Service::start();
    let machine = Machine::new(&service);
    let login = tests::rig::script("keyring.sh").arg("bash").arg("-c").arg("\"$0\" login && \"$0\" credential-process");
    let login = login.arg(tests::binary("auth-login")).envs(machine.env());
    let output = login.run(TIMEOUT);
    let said = stdout(&output);
    assert!(said.contains("AccessKeyId"), "{}", both(&output));
    assert!(both(&output).to_lowercase().contains("keyring"), "it says where: {}", both(&output));
}
