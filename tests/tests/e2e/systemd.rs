//! The unit on a real systemd.

use serde_json::json;
use std::path::PathBuf;
use tests::machine::Booted;
use tests::process::{both, stdout};
use tests::{TIMEOUT, binary, rig, until};

fn packaging() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd")
}

/// Everything that the package would put on a machine: where, and from where.
fn files() -> Vec<(&'static str, PathBuf)> {
    vec![
        ("/usr/bin/authd", binary("authd")),
        ("/usr/bin/authctl", binary("authctl")),
        ("/usr/lib/systemd/system/authd.service", packaging().join("authd.service")),
        ("/usr/lib/sysusers.d/authd.conf", packaging().join("authd.sysusers")),
        ("/usr/lib/tmpfiles.d/authd.conf", packaging().join("authd.tmpfiles")),
    ]
}

#[test]
fn the_unit_has_no_mistakes() {
    // it looks for the program that the unit starts
    let dir = tests::folder("unit");
    let text = std::fs::read_to_string(packaging().join("authd.service")).expect("the unit is there");
    let program = binary("authd").display().to_string();
    let unit = dir.path().join("authd.service");
    std::fs::write(&unit, text.replace("/usr/bin/authd", &program)).expect("the folder is ours");
    let output = rig::program("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).run(TIMEOUT);
    // it succeeds on mistakes, too, but not in silence
    let said = String::from_utf8_lossy(&output.stderr);
    let about_ours: Vec<_> = said.lines().filter(|l| l.contains("authd")).collect();
    assert!(output.status.success() && about_ours.is_empty(), "{}", both(&output));
}

#[test]
fn the_unit_starts_serves_and_restarts_under_load() {
    let machine = Booted::start(&files());
    stdout(&machine.run(&["systemd-sysusers"]));
    stdout(&machine.run(&["systemd-tmpfiles", "--create"]));
    stdout(&machine.run(&["systemctl", "daemon-reload"]));
    let started = machine.run(&["systemctl", "start", "authd"]);
    assert!(started.status.success(), "{}\n{}", both(&started), machine.journal("authd"));
    stdout(&machine.run(&["authctl", "status"]));
    let user = stdout(&machine.run(&["bash", "-c", "ps -o user= -p $(systemctl show -P MainPID authd)"]));
    assert_ne!(user.trim(), "root", "it runs as a user of its own");

    // tokens minted while it restarts: what was acknowledged stays
    // (while it is down authctl fails at once, so a number of attempts says nothing about the tokens)
    let enough = "/run/enough";
    let script = format!(
        "for ((i = 0; ; i++)); do [ ! -e {enough} ] || exit 0; authctl create load-$i --scopes read -o json 2>/dev/null; done"
    );
    let load = machine.spec(&["bash", "-c", &script]).start_piped();
    let count = || {
        let list = machine.run(&["authctl", "list", "-o", "json"]);
        serde_json::from_slice::<serde_json::Value>(&list.stdout).ok().and_then(|l| l["total"].as_u64()).unwrap_or(0)
    };
    for wanted in [5, 15, 25] {
        until(TIMEOUT, "tokens under load", || (count() > wanted).then_some(()));
        let restarted = machine.run(&["systemctl", "restart", "authd"]);
        assert!(restarted.status.success(), "{}\n{}", both(&restarted), machine.journal("authd"));
    }
    stdout(&machine.run(&["touch", enough]));
    let acknowledged = load.finish(TIMEOUT);
    let tokens = serde_json::Deserializer::from_slice(&acknowledged.stdout).into_iter::<serde_json::Value>();
    let mut checked = 0;
    for made in tokens.flatten() {
        let body = json!({"token": made["token"]}).to_string();
        let url = "http://127.0.0.1:8080/auth/validate";
        let curl = ["curl", "-sS", "-H", "content-type: application/json", "-d", &body, url];
        assert!(stdout(&machine.run(&curl)).contains("\"valid\":true"), "{made}");
        checked += 1;
    }
    assert!(checked > 15, "{checked}");
    stdout(&machine.run(&["systemctl", "stop", "authd"]));
    let result = stdout(&machine.run(&["systemctl", "show", "-P", "Result", "authd"]));
    assert_eq!(result.trim(), "success", "{}", machine.journal("authd"));
}
