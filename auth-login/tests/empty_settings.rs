//! A setting that is empty is not set: flags and variables of the real program.

use std::process::Command;

#[test]
fn an_empty_flag_or_variable_is_not_set() {
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_auth-login"));
        command.env_clear().env("HOME", home.path());
        for name in
            ["AUTH_LOGIN_SERVER", "AUTH_LOGIN_PROFILE", "AUTH_LOGIN_TOKEN_STORE", "XDG_STATE_HOME", "AWS_CONFIG_FILE"]
        {
            command.env(name, "");
        }
        let output = command.args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let unset = run(&["status"]);
    assert!(unset.1.contains("auth-login") && unset.0 != Some(2), "{unset:?}");
    for args in
        [&["status", "--server", "", "--profile=", "--role", ""][..], &["--token-store", "", "--provider=", "status"]]
    {
        assert_eq!(run(args), unset, "{args:?}");
    }
}
