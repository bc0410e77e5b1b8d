//! Commands as a tool or a script meets them, without any network: port 9 of this machine answers nobody.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use clap::Parser;
use serde_json::Value;
use shared::cli::Exit;
use shared::secret::Secret;
use tempfile::TempDir;

use crate::args::Args;
use crate::aws_files::ProfileName;
use crate::cache::{Cache, Credentials, Session, TokenStore};
use crate::io::Io;

const SERVER: &str = "http://127.0.0.1:9";

#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Said {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

struct Machine {
    home: TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    /// Signed in, with keys that came `age` seconds ago and live for `life` seconds.
    fn signed_in(age: i64, life: i64) -> Self {
        let machine = Self::new();
        let cache = machine.cache();
        let obtained_at = machine.io(&Said::default(), &Said::default()).now() - age;
        let session = Session {
            server: SERVER.into(),
            profile: "default".into(),
            user: "alice".into(),
            role: None,
            provider: None,
            roles: Vec::new(),
            signed_in_at: obtained_at,
            session_expires_at: 0,
            store: TokenStore::File,
            token: Some(Secret::new("device-token")),
        };
        let credentials = Credentials {
            access_key_id: "ASIA1".into(),
            secret_access_key: Secret::new("secret"),
            session_token: Secret::new("token"),
            expires_at: obtained_at + life,
            obtained_at,
            role: "dev".into(),
            role_arn: "arn:aws:iam::1:role/dev".into(),
        };
        cache.save_session(&session).unwrap();
        cache.save_credentials(None, &credentials).unwrap();
        machine
    }

    fn cache(&self) -> Cache {
        let profile = ProfileName::parse("default").unwrap();
        Cache::open(&self.path(".local/state/auth-login"), SERVER, &profile).unwrap()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join(Path::new(name))
    }

    fn io(&self, out: &Said, err: &Said) -> Io {
        Io::fake(Box::new(out.clone()), Box::new(err.clone()), &[("HOME", self.home.path().to_str().unwrap())])
    }

    /// Exit code, standard output, standard error.
    fn run(&self, args: &[&str]) -> (ExitCode, String, String) {
        let (out, err) = (Said::default(), Said::default());
        let args = Args::try_parse_from(["auth-login", "--server", SERVER].iter().chain(args)).unwrap();
        let code = crate::run(args, &mut self.io(&out, &err));
        (code, out.text(), err.text())
    }
}

#[test]
fn text_of_the_server_cannot_drive_the_terminal() {
    let user = "al\u{1b}[2Jice\u{202e}\u{9b}31m";
    let machine = Machine::signed_in(60, 3600);
    let cache = machine.cache();
    let session = cache.find_session().unwrap().unwrap();
    cache.save_session(&Session { user: user.into(), roles: vec!["dev\u{7}".into()], ..session }).unwrap();
    for command in [&["status"][..], &["roles"], &["profiles"], &["logout"]] {
        let json = command[0] != "logout";
        for args in [command, &[command, &["-o", "json"]].concat()].into_iter().take(1 + usize::from(json)) {
            let (_, out, err) = machine.run(args);
            let is_unsafe = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!out.contains(is_unsafe) && !err.contains(is_unsafe), "{args:?}: {out:?} {err:?}");
        }
    }
    let machine = Machine::signed_in(60, 3600);
    let session = machine.cache().find_session().unwrap().unwrap();
    machine.cache().save_session(&Session { user: user.into(), ..session }).unwrap();
    let status: Value = serde_json::from_str(&machine.run(&["status", "-o", "json"]).1).unwrap();
    assert_eq!(status["user"], user, "a program gets the value as it is");
}

#[test]
fn without_a_session_tools_are_told_at_once_what_to_run() {
    for command in
        [&["credential-process"][..], &["exec", "--", "true"], &["renew"], &["agent"], &["status"], &["logout"]]
    {
        let (code, out, err) = Machine::new().run(command);
        assert_eq!((code, out.as_str()), (ExitCode::from(Exit::NotAuthenticated), ""), "{command:?}");
        assert!(err.contains("run: auth-login login --server http://127.0.0.1:9"), "{err}");
    }
}

#[test]
fn fresh_keys_come_from_the_cache() {
    let (code, out, err) = Machine::signed_in(60, 3600).run(&["credential-process"]);
    assert_eq!((code, err.as_str()), (ExitCode::from(Exit::Ok), ""));
    let keys: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(keys["Version"], 1);
    assert_eq!((&keys["AccessKeyId"], &keys["SecretAccessKey"]), (&"ASIA1".into(), &"secret".into()));
    assert_eq!(keys["SessionToken"], "token");
    let expiration: jiff::Timestamp = keys["Expiration"].as_str().unwrap().parse().unwrap();
    assert!(expiration.to_string().ends_with('Z'));
    assert_eq!(keys.as_object().unwrap().len(), 5);
}

#[test]
fn keys_that_still_work_are_handed_out_while_authd_is_away() {
    let (code, out, err) = Machine::signed_in(3000, 3600).run(&["credential-process"]);
    assert_eq!(code, ExitCode::from(Exit::Ok));
    assert!(out.contains("ASIA1") && err.contains("still work for"), "{err}");
    let (code, out, err) = Machine::signed_in(3700, 3600).run(&["credential-process"]);
    assert_eq!((code, out.as_str()), (ExitCode::from(Exit::Unreachable), ""));
    assert!(err.contains("--server"), "{err}");
}

#[test]
fn a_running_agent_is_left_to_renew() {
    let machine = Machine::signed_in(1000, 1800);
    assert!(machine.run(&["credential-process"]).2.contains("still work for"), "they are renewed, and authd is away");
    let agent = machine.cache().agent_lock().unwrap();
    agent.lock().unwrap();
    let (code, out, err) = machine.run(&["credential-process"]);
    assert_eq!((code, err.as_str()), (ExitCode::from(Exit::Ok), ""));
    assert!(out.contains("ASIA1"), "{out}");
    // Not for longer than it may take.
    let machine = Machine::signed_in(1400, 1800);
    let agent = machine.cache().agent_lock().unwrap();
    agent.lock().unwrap();
    assert!(machine.run(&["credential-process"]).2.contains("still work for"));
}

#[test]
fn a_session_that_ended_is_told_from_one_that_never_was() {
    let machine = Machine::new();
    let end = crate::api::End { reason: Some("refused_by_provider".into()), detail: "the provider refused".into() };
    machine.cache().save_end(&end).unwrap();
    for command in [&["status"][..], &["roles"], &["exec", "--", "true"], &["agent"], &["agent", "install"]] {
        let (code, _, err) = machine.run(command);
        assert_eq!(code, ExitCode::from(Exit::NotAuthenticated), "{command:?}");
        assert!(err.contains("the provider refused (profile default); run: auth-login login"), "{err}");
    }
    let ended: Value = serde_json::from_str(&machine.run(&["status", "-o", "json"]).1).unwrap();
    assert_eq!(ended["ended"]["reason"], "refused_by_provider");
}

#[test]
fn a_failed_renewal_keeps_the_session_for_another_try() {
    let machine = Machine::signed_in(3700, 3600);
    assert_eq!(machine.run(&["renew"]).0, ExitCode::from(Exit::Unreachable));
    let (code, out, _) = machine.run(&["status"]);
    assert_eq!(code, ExitCode::from(Exit::Ok));
    assert!(out.contains("alice") && out.contains("have expired"), "{out}");
}

#[test]
fn a_profile_of_somebody_else_is_refused_before_anything_is_asked() {
    let machine = Machine::new();
    std::fs::create_dir(machine.path(".aws")).unwrap();
    std::fs::write(machine.path(".aws/credentials"), "[default]\naws_access_key_id = AKIA\n").unwrap();
    let (code, _, err) = machine.run(&["login"]);
    assert_eq!(code, ExitCode::from(Exit::Refused));
    assert!(err.contains("--force"), "{err}");
}

#[test]
fn logging_out_forgets_everything_here_even_if_authd_is_away() {
    let machine = Machine::signed_in(60, 3600);
    let (code, out, err) = machine.run(&["logout"]);
    assert_eq!(code, ExitCode::from(Exit::Unreachable));
    assert!(out.contains("work until") && err.contains("authd was not told"), "{out} {err}");
    assert_eq!(machine.run(&["credential-process"]).0, ExitCode::from(Exit::NotAuthenticated));
}

#[test]
fn configure_writes_a_command_that_tools_can_run() {
    let machine = Machine::new();
    let (code, ..) = machine.run(&["configure", "--profile", "team"]);
    assert_eq!(code, ExitCode::from(Exit::Ok));
    let config = std::fs::read_to_string(machine.path(".aws/config")).unwrap();
    assert!(config.starts_with("[profile team]\ncredential_process = /"), "{config}");
    assert!(config.ends_with("credential-process --server http://127.0.0.1:9 --profile team\n"), "{config}");
}

#[test]
fn no_secret_is_in_what_debug_shows() {
    let machine = Machine::signed_in(60, 3600);
    let cache = machine.cache();
    let shown = format!("{:?} {:?}", cache.find_session().unwrap(), cache.find_credentials(None));
    assert!(
        !shown.contains("device-token") && !shown.contains("\"secret\"") && !shown.contains("\"token\""),
        "{shown}"
    );
}

#[test]
fn durations_are_said_as_people_count() {
    for (seconds, words) in [
        (-5, "no time"),
        (1, "1 second"),
        (90, "90 seconds"),
        (3599, "59 minutes"),
        (7200, "2 hours"),
        (2_592_000, "30 days"),
    ] {
        assert_eq!(super::duration(seconds), words);
    }
}
