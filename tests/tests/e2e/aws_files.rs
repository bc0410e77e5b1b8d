//! The AWS files, with the AWS tools themselves as the judges: botocore, and the loader of the SDK for JavaScript.

use serde_json::{Map, Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tests::login::{Machine, Service};
use tests::process::{Spec, both, stdout};
use tests::{TIMEOUT, binary, folder, rig};

/// What auth-login writes into a profile of the credentials file.
const OURS: [&str; 5] =
    ["aws_access_key_id", "aws_secret_access_key", "aws_session_token", "auth_login_key", "auth_login_expires"];

/// Both files, as texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Texts {
    config: String,
    credentials: String,
}

impl Texts {
    fn write(&self, aws: &Path) {
        let _ = fs::remove_dir_all(aws);
        fs::create_dir_all(aws).expect("it is ours");
        fs::write(aws.join("config"), &self.config).expect("it is ours");
        fs::write(aws.join("credentials"), &self.credentials).expect("it is ours");
    }

    fn read(aws: &Path) -> Self {
        let text = |name| fs::read_to_string(aws.join(name)).unwrap_or_default();
        Self { config: text("config"), credentials: text("credentials") }
    }
}

/// What a judge reads in each pair of files: `{config, credentials}`, sections by name.
fn judged(judge: &str, texts: &[Texts]) -> Vec<Value> {
    let input: Vec<Value> =
        texts.iter().map(|text| json!({"config": text.config, "credentials": text.credentials})).collect();
    let answers = stdout(&rig::script(judge).stdin(Value::from(input).to_string()).run(TIMEOUT));
    let answers: Vec<Value> = serde_json::from_str(&answers).expect("the judge answers JSON");
    assert_eq!(answers.len(), texts.len());
    answers
}

/// The cases that the AWS SDKs share, from the sources of the SDK for Rust, and further ones of our own.
fn cases() -> Vec<Texts> {
    let metadata =
        Command::new(env!("CARGO")).args(["metadata", "--format-version=1", "--locked", "--offline"]).output();
    let metadata: Value = serde_json::from_slice(&metadata.expect("cargo runs").stdout).expect("cargo answers JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let runtime = packages.iter().find(|package| package["name"] == "aws-runtime").expect("authd uses it");
    let manifest = PathBuf::from(runtime["manifest_path"].as_str().expect("a path"));
    let text =
        fs::read_to_string(manifest.with_file_name("test-data/profile-parser-tests.json")).expect("it has tests");
    let shared: Value = serde_json::from_str(&text).expect("they are JSON");
    let shared = shared["tests"].as_array().expect("a list").iter().map(|case| {
        let text = |name: &str| case["input"][name].as_str().unwrap_or_default().to_owned();
        Texts { config: text("configFile"), credentials: text("credentialsFile") }
    });
    let further = [
        "[profile \"foo\"]\nregion = eu\n",
        "[profile  foo]\nregion = eu\n",
        "[profile foo]\nregion = eu\n[profile \"foo\"]\nregion = us\n",
        "[profile foo]\nk = v\n  [profile bar]\n  k = v\n# end\n",
        "[profile bar]\nk = v\n  # note\n[profile foo]\nk = v\n  # note\n",
        "[profile bar]\nk = v\n[profile foo]# c\nk = v\n",
        "[profile foo]\ns3 =\n  # note\n  a = b\n",
        "[profile foo]\n  k = v\n",
        "[profile foo]\naws_access_key_id =\naws_secret_access_key =\n",
        "[profile foo]\ncredential_process = # none\n",
        "[profile foo]\nk = v\rl = w\n",
    ];
    let further = further.map(|text| Texts { config: text.to_owned(), credentials: text.replace("profile ", "") });
    shared.chain(further).collect()
}

/// The sections of a reading without the keys that a command may have changed in the profile; empty ones are left out,
/// since the SDK for JavaScript knows none.
fn rest(reading: &Value, profile: &str, ours: &[&str]) -> Map<String, Value> {
    let mut sections = reading.as_object().expect("it was read").clone();
    if let Some(section) = sections.get_mut(profile).and_then(Value::as_object_mut) {
        section.retain(|key, value| !ours.contains(&key.as_str()) && *value != json!(""));
    }
    sections.retain(|_, section| section.as_object().is_some_and(|section| !section.is_empty()));
    sections
}

#[test]
fn every_file_is_changed_as_its_readers_agree_or_refused_untouched() {
    let service = Service::start();
    let machine = Machine::new(&service);
    for profile in ["default", "foo"] {
        stdout(&machine.auth_login(&["login", "--profile", profile]).run(TIMEOUT));
    }
    let aws = machine.home().join(".aws");
    let cases = cases();
    // The files before and after each command that succeeded.
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut refused = Vec::new();
    for texts in &cases {
        let both_texts = format!("{}{}", texts.config, texts.credentials);
        let profile = if both_texts.contains("default") { "default" } else { "foo" };
        texts.write(&aws);
        let mut run = |verb: &str, state: Option<&Path>| {
            let mut command = machine.auth_login(&[verb, "--profile", profile]);
            command = command.envs(state.map(|state| ("XDG_STATE_HOME", state)));
            let found = Texts::read(&aws);
            let output = command.run(TIMEOUT);
            let left = Texts::read(&aws);
            if output.status.success() {
                before.push((profile, verb.to_owned(), found));
                after.push(left);
            } else {
                assert_eq!(found, left, "{verb}: {}", both(&output));
                refused.push((texts.clone(), verb.to_owned(), both(&output)));
            }
        };
        run("renew", None);
        // Without a session it removes the keys, and the machine stays signed in for the next case.
        let elsewhere = machine.home().join("elsewhere");
        run("logout", Some(&elsewhere));
        texts.write(&aws);
        run("configure", None);
    }
    let counted = |verb: &str| before.iter().filter(|(_, done, _)| done == verb).count();
    assert!(counted("renew") >= 40 && counted("logout") >= 40 && counted("configure") >= 40, "{refused:#?}");
    for (texts, verb, said) in &refused {
        // There were no keys to remove, or those of others stand there; else the line at fault is named.
        let is_about_keys = said.contains("not signed in") || said.contains("--force");
        assert!(is_about_keys || said.contains("line "), "{verb} {texts:?}: {said}");
    }
    let files: Vec<Texts> = before.iter().map(|(.., texts)| texts.clone()).collect();
    for judge in ["aws-files.py", "aws-files.mjs"] {
        let (found, left) = (judged(judge, &files), judged(judge, &after));
        for (((profile, verb, texts), found), (written, left)) in before.iter().zip(&found).zip(after.iter().zip(&left))
        {
            let why = format!("{judge}: {verb} of {profile} made {written:#?} of {texts:#?}, which reads {left:#}");
            let config_keys = ["credential_process", "aws_access_key_id", "aws_secret_access_key"];
            assert_eq!(
                rest(&found["config"], profile, &config_keys),
                rest(&left["config"], profile, &config_keys),
                "{why}"
            );
            let keys = &left["credentials"][profile];
            assert_eq!(
                rest(&found["credentials"], profile, &OURS),
                rest(&left["credentials"], profile, &OURS),
                "{why}"
            );
            let process = left["config"][profile]["credential_process"].as_str().unwrap_or_default();
            // The SDK for JavaScript does not take every header of the AWS CLI for a profile.
            let is_known = judge == "aws-files.py" || found["config"][profile].is_object() || texts.config.is_empty();
            match verb.as_str() {
                "renew" => {
                    assert!(keys["aws_access_key_id"].as_str().is_some_and(|id| id == keys["auth_login_key"]), "{why}");
                }
                "logout" => assert!(OURS.iter().all(|key| keys[key].is_null()), "{why}"),
                _ => assert!(!is_known || process.ends_with(&format!(" --profile {profile}")), "{why}"),
            }
        }
    }
}

#[test]
fn a_profile_in_quotes_keeps_its_region_for_the_aws_cli() {
    let service = Service::start();
    let machine = Machine::new(&service);
    stdout(&machine.auth_login(&["login", "--profile", "dev"]).run(TIMEOUT));
    let config = machine.home().join(".aws/config");
    for header in ["[profile \"dev\"]", "[profile\tdev]", "[profile  dev]"] {
        fs::write(&config, format!("{header}\nregion = eu-north-1\n")).expect("it is ours");
        stdout(&machine.auth_login(&["configure", "--profile", "dev"]).run(TIMEOUT));
        let region = machine.aws(&["configure", "get", "region", "--profile", "dev"]).run(TIMEOUT);
        assert_eq!(stdout(&region).trim(), "eu-north-1", "{header}");
        assert!(machine.identity("dev").contains("assumed-role"), "{header}");
    }
}

#[test]
fn dev_null_means_no_file() {
    let service = Service::start();
    let machine = Machine::new(&service);
    let run = |args: &[&str], variable: &str| machine.auth_login(args).env(variable, "/dev/null").run(TIMEOUT);
    let login = run(&["login"], "AWS_CONFIG_FILE");
    assert!(login.status.success(), "{}", both(&login));
    assert!(machine.identity("default").contains("assumed-role"));
    let opened = machine.opened().len();
    for (args, variable) in [
        (&["configure"][..], "AWS_CONFIG_FILE"),
        (&["renew"], "AWS_SHARED_CREDENTIALS_FILE"),
        (&["login", "--again"], "AWS_SHARED_CREDENTIALS_FILE"),
    ] {
        let output = run(args, variable);
        assert!(!output.status.success() && both(&output).contains(variable), "{args:?}: {}", both(&output));
    }
    assert_eq!(machine.opened().len(), opened, "no browser is opened for nothing");
    let beside: Vec<_> = fs::read_dir("/dev").expect("it is there").flatten().map(|entry| entry.file_name()).collect();
    assert!(!beside.iter().any(|name| name.to_string_lossy().contains("auth-login")), "{beside:?}");
}

/// Puts the program there, under its own path.
fn link(program: &Path) {
    if fs::hard_link(binary("auth-login"), program).is_err() {
        fs::copy(binary("auth-login"), program).expect("there is space");
    }
}

/// The command that the SDKs other than Python give to a shell.
fn by_a_shell(machine: &Machine, profile: &str) -> Output {
    let texts = Texts::read(&machine.home().join(".aws"));
    let read = judged("aws-files.mjs", &[texts]);
    let command = read[0]["config"][profile]["credential_process"].as_str().expect("a command").to_owned();
    Spec::new("sh").envs(machine.env()).args(["-c", &command]).run(TIMEOUT)
}

#[test]
fn the_program_is_found_whatever_its_path_is() {
    let service = Service::start();
    let machine = Machine::new(&service);
    stdout(&machine.auth_login(&["login", "--profile", "p"]).run(TIMEOUT));
    let elsewhere = folder("programs");
    for name in [
        "a b",
        "it's",
        "x\"y",
        "$HOME `id`",
        "100% (of) &c|<>*?",
        "\u{fc}n\u{ef}/\u{65e5}\u{672c}",
        "a'b\"c$d",
        "#1",
        "a\\nb",
    ] {
        let program = elsewhere.path().join(name).join("auth-login");
        fs::create_dir_all(program.parent().expect("a folder")).expect("it is ours");
        link(&program);
        let configure = Spec::new(&program).envs(machine.env()).args(["configure", "--profile", "p"]);
        let output = configure.run(TIMEOUT);
        if name.contains(['#', '\\']) {
            assert!(!output.status.success() && both(&output).contains("link"), "{name}: {}", both(&output));
            continue;
        }
        assert!(output.status.success(), "{name}: {}", both(&output));
        assert!(machine.identity("p").contains("assumed-role"), "{name}");
        let keys = by_a_shell(&machine, "p");
        assert!(stdout(&keys).contains("AccessKeyId"), "{name}: {}", both(&keys));
    }
}

#[test]
fn a_link_on_path_outlives_an_upgrade() {
    let service = Service::start();
    let machine = Machine::new(&service);
    stdout(&machine.auth_login(&["login", "--profile", "p"]).run(TIMEOUT));
    let (bin, versions) = (machine.home().join("bin"), folder("versions"));
    fs::create_dir(&bin).expect("it is ours");
    let install = |version: &str| {
        let program = versions.path().join(version).join("auth-login");
        fs::create_dir(program.parent().expect("a folder")).expect("it is ours");
        link(&program);
        let _ = fs::remove_file(bin.join("auth-login"));
        symlink(&program, bin.join("auth-login")).expect("it is ours");
        program
    };
    let first = install("1.0");
    let path = std::env::join_paths([bin.as_path(), Path::new("/usr/bin")]).expect("no colon");
    for program in ["auth-login", first.to_str().expect("it is UTF-8")] {
        // By its name, through env, which looks on PATH.
        let configure = Spec::new("/usr/bin/env").arg(program).envs(machine.env()).env("PATH", &path);
        stdout(&configure.args(["configure", "--profile", "p"]).run(TIMEOUT));
        let config = fs::read_to_string(machine.home().join(".aws/config")).expect("it was written");
        assert!(config.contains(&format!("= {} ", bin.join("auth-login").display())), "{program}: {config}");
    }
    install("2.0");
    fs::remove_dir_all(first.parent().expect("a folder")).expect("it is ours");
    assert!(machine.identity("p").contains("assumed-role"));
}

#[test]
fn exec_passes_the_region_of_the_profile_on() {
    let service = Service::start();
    let machine = Machine::new(&service);
    machine.sign_in();
    fs::write(machine.home().join(".aws/config"), "[default]\nregion = eu-north-1\n").expect("it is ours");
    let exec = || machine.auth_login(&["exec", "--", "sh", "-c", "echo ${AWS_REGION-none} ${AWS_DEFAULT_REGION-none}"]);
    let without = |name: &str| exec().env(name, "us-west-2").run(TIMEOUT);
    // What the harness sets for the AWS CLI is a choice of the caller's.
    let unset = exec().env("AWS_REGION", "").env("AWS_DEFAULT_REGION", "").run(TIMEOUT);
    assert_eq!(stdout(&unset).trim(), "eu-north-1 eu-north-1");
    let chosen = without("AWS_REGION");
    assert!(stdout(&chosen).starts_with("us-west-2 ") && !stdout(&chosen).contains("eu-north-1"), "{}", both(&chosen));
    let chosen = without("AWS_DEFAULT_REGION");
    assert!(stdout(&chosen).contains(" us-west-2") && !stdout(&chosen).contains("eu-north-1"), "{}", both(&chosen));
}

#[test]
fn what_this_machine_cannot_do_is_found_before_the_browser_opens() {
    let service = Service::start();
    let refuse = |what: &str, prepare: &dyn Fn(&Machine), said: &str| {
        let machine = Machine::new(&service);
        prepare(&machine);
        // As another user than root, whom permissions do not stop.
        let mut login = Spec::new("setpriv").args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
        let program = machine.home().join("auth-login");
        link(&program);
        login = login.arg(program).arg("login").envs(machine.env());
        let output = login.run(TIMEOUT);
        assert!(!output.status.success() && both(&output).contains(said), "{what}: {}", both(&output));
        assert!(machine.opened().is_empty(), "{what}: {}", both(&output));
    };
    let own = |path: &Path| std::os::unix::fs::chown(path, Some(65534), Some(65534)).expect("tests run as root");
    let home = |machine: &Machine| own(machine.home());
    let aws = |machine: &Machine, name: &str, text: &str| {
        let path = machine.home().join(".aws").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("it is ours");
        fs::write(&path, text).expect("it is ours");
        [machine.home(), path.parent().expect("a folder"), &path].into_iter().for_each(own);
    };
    refuse("malformed config", &|machine| aws(machine, "config", "[default]\ns3 =\n  half\n"), "line 3");
    refuse("malformed credentials", &|machine| aws(machine, "credentials", "[a]\n k = v\n"), "line 2");
    refuse("keys of others", &|machine| aws(machine, "credentials", "[default]\naws_access_key_id = A\n"), "--force");
    let read_only = fs::Permissions::from_mode(0o555);
    refuse(
        "a folder that cannot be written",
        &|machine| {
            aws(machine, "credentials", "");
            fs::set_permissions(machine.home().join(".aws"), read_only.clone()).expect("it is ours");
        },
        ".aws",
    );
    refuse(
        "a file of another user",
        &|machine| {
            aws(machine, "credentials", "[other]\nk = v\n");
            let path = machine.home().join(".aws/credentials");
            std::os::unix::fs::chown(&path, Some(0), Some(0)).expect("tests run as root");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("tests run as root");
        },
        "credentials",
    );
    refuse(
        "a cache that cannot be written",
        &|machine| {
            home(machine);
            let state = machine.home().join(".local/state/auth-login");
            for name in ["sessions", "credentials", "locks", "logins"] {
                fs::create_dir_all(state.join(name)).expect("it is ours");
                own(&state.join(name));
            }
            for name in [".local", ".local/state", ".local/state/auth-login"] {
                own(&machine.home().join(name));
            }
            fs::set_permissions(state.join("sessions"), read_only.clone()).expect("it is ours");
        },
        "sessions",
    );

    // Under sudo, with the home of the user.
    let machine = Machine::new(&service);
    own(machine.home());
    let output = machine.auth_login(&["login"]).env("SUDO_UID", "65534").run(TIMEOUT);
    assert!(!output.status.success() && both(&output).contains("without sudo"), "{}", both(&output));
    assert!(machine.opened().is_empty() && !machine.home().join(".local").exists());
}
