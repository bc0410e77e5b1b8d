//! Who signs in, and as what: other people, other profiles, and the ends of a session.

use serde_json::{Value, json};
use tests::browser::{Elsewhere, Visit};
use tests::login::{Machine, Service, shown_release};
use tests::process::{both, stdout};
use tests::{TIMEOUT, until};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn user(machine: &Machine) -> String {
    let status = json(&stdout(&machine.auth_login(&["status", "-o", "json"]).run(TIMEOUT)));
    status["user"].as_str().expect("a name").to_owned()
}

#[test]
fn switching_the_user_passes_the_cookie_of_the_provider() {
    let service = Service::start();
    let cookies = tests::folder("cookies");
    let kept = cookies.path().join("state.json");
    let machine = Machine::visiting(&service, &Visit::new().keeps_cookies(&kept));
    machine.sign_in();
    // The provider's cookie signs the same person in, whoever sits there.
    let machine = machine.browsing(&Visit::new().user("bob").keeps_cookies(&kept));
    stdout(&machine.auth_login(&["logout"]).run(TIMEOUT));
    machine.sign_in();
    assert!(user(&machine).contains("alice"));

    let output = machine.auth_login(&["switch-user"]).run(TIMEOUT);
    assert!(output.status.success(), "{}\n{:#}", both(&output), machine.seen());
    assert!(user(&machine).contains("bob"), "{:#}", machine.seen());
    assert_eq!(service.provider.hits("GET /logout"), 1);
    // And with the same person, who is asked anew all the same.
    let asked = service.provider.hits("POST /login/");
    stdout(&machine.auth_login(&["login", "--again"]).run(TIMEOUT));
    assert!(user(&machine).contains("bob") && service.provider.hits("POST /login/") == asked + 1);
}

#[test]
fn the_profile_comes_from_the_environment_and_every_hint_names_it() {
    let service = Service::start();
    let machine = Machine::new(&service);
    stdout(&machine.auth_login(&["login"]).env("AWS_PROFILE", "work").run(TIMEOUT));
    assert!(machine.credentials().starts_with("[work]"), "{}", machine.credentials());
    for command in [&["status"][..], &["renew"], &["roles"], &["credential-process"], &["exec", "--", "true"]] {
        let spec = machine.auth_login(command);
        stdout(&spec.clone().env("AWS_PROFILE", "work").run(TIMEOUT));
        // auth-login's own variable comes first.
        let output = spec.clone().env("AWS_PROFILE", "work").env("AUTH_LOGIN_PROFILE", "other").run(TIMEOUT);
        assert_eq!(output.status.code(), Some(3), "{}", both(&output));
        assert!(both(&output).contains("auth-login login --profile other"), "{}", both(&output));
        let output = spec.env("AWS_PROFILE", "unknown").run(TIMEOUT);
        assert!(both(&output).contains("auth-login login --profile unknown"), "{}", both(&output));
    }
}

#[test]
fn profiles_and_roles_are_listed_and_a_wrong_role_names_the_right_ones() {
    let service = Service::start();
    let machine = Machine::new(&service);
    machine.sign_in();
    stdout(&machine.auth_login(&["login", "--profile", "work"]).run(TIMEOUT));
    let listed = json(&stdout(&machine.auth_login(&["profiles", "-o", "json"]).run(TIMEOUT)));
    let names: Vec<_> = listed["profiles"].as_array().expect("a list").iter().map(|p| p["profile"].clone()).collect();
    assert_eq!(names, [json!("default"), json!("work")]);
    let first = &listed["profiles"][0];
    assert_eq!((&first["server"], &first["role"]), (&service.authd.url().into(), &"default".into()), "{listed}");
    assert!(
        first["keys_seconds_left"].as_i64() > Some(0) && first["session_seconds_left"].as_i64() > Some(0),
        "{listed}"
    );
    let text = stdout(&machine.auth_login(&["profiles"]).run(TIMEOUT));
    assert!(text.contains("work") && text.contains("alice") && text.contains("minutes"), "{text}");

    let roles = json(&stdout(&machine.auth_login(&["roles", "-o", "json"]).run(TIMEOUT)));
    assert_eq!(roles["roles"], json!([{"name": "default", "in_use": true}]));
    for command in ["login --again --role nope", "renew --role nope", "exec --role nope -- true"] {
        let output = machine.auth_login(&command.split(' ').collect::<Vec<_>>()).run(TIMEOUT);
        assert!(!output.status.success(), "{}", both(&output));
        let names = ["there are: default", "permitted: default"];
        assert!(names.iter().any(|names| both(&output).contains(names)), "{}", both(&output));
    }
}

#[test]
fn the_ends_of_a_session_are_told_apart() {
    let service = Service::start();
    let machine = Machine::new(&service);
    service.sts.lifetime(2);
    let ends = |end: &dyn Fn(), reason: &str, told: &str| {
        stdout(&machine.auth_login(&["login"]).run(TIMEOUT));
        end();
        let output = machine.auth_login(&["renew"]).run(TIMEOUT);
        assert_eq!(output.status.code(), Some(3), "{}", both(&output));
        assert!(both(&output).contains(told), "{}", both(&output));
        // The commands after it say so too.
        for command in [&["status"][..], &["credential-process"], &["agent"]] {
            let output = machine.auth_login(command).run(TIMEOUT);
            assert_eq!(output.status.code(), Some(3), "{}", both(&output));
            assert!(both(&output).contains(told), "{}", both(&output));
        }
        let status = machine.auth_login(&["status", "-o", "json"]).run(TIMEOUT);
        let status: Value = serde_json::from_slice(&status.stdout).expect("an object");
        assert_eq!(status["ended"]["reason"], reason, "{status}");
        let audit = stdout(&service.authd.authctl(&["audit", "-o", "json"]));
        assert!(audit.contains(&format!("\"reason\": \"{reason}\"")), "{audit}");
    };
    let by_administrator = || {
        let list = json(&stdout(&service.authd.authctl(&["session", "list", "-o", "json"])));
        let id = list["sessions"][0]["id"].as_str().expect("an id").to_owned();
        stdout(&service.authd.authctl(&["session", "end", &id, "--yes"]));
    };
    ends(&by_administrator, "ended_by_administrator", "an administrator has ended the session");
    let by_provider = || {
        service.provider.steer("revoke", &json!({"name": "alice"}));
        // Until what authd still has of AWS is too short.
        std::thread::sleep(std::time::Duration::from_secs(3));
    };
    ends(&by_provider, "refused_by_provider", "the identity provider has refused");
}

#[test]
fn another_device_opens_a_short_address_and_carries_a_short_code() {
    let service = Service::start();
    let machine = Machine::headless(&service);
    let log = machine.home().join("login.log");
    let mut login = machine.auth_login(&["login", "--no-browser"]).start(&log);
    let short = login.wait(TIMEOUT, "the short address", || {
        let text = std::fs::read_to_string(&log).ok()?.split_once("Code: ")?.0.to_owned();
        text.split_whitespace().find(|word| word.contains("/d/")).map(str::to_owned)
    });
    assert!(login.log().contains('█') || login.log().contains('▀'), "a QR code: {}", login.log());
    let phone = Elsewhere::reaching(&service.ports());
    // The page tells of the device before the provider is asked; the visit presses its button.
    let page = Visit::new().from(&phone).go(&short.to_lowercase());
    assert!(page.visited[0].contains("/d/") && page.visited.len() > 2, "{:?}", page.visited);
    let release = shown_release(&page).expect("the page shows the release");
    assert_eq!(release.len(), 20, "{release}");
    // A mistyped code stops in the terminal.
    let last = if release.ends_with('0') { "1" } else { "0" };
    login.say(&format!("{}{last}", &release[..19]));
    login.wait(TIMEOUT, "the refusal", || {
        std::fs::read_to_string(&log).ok()?.contains("missing or mistyped").then_some(())
    });
    login.say(&release.to_lowercase().replace('-', " "));
    let status = until(TIMEOUT, "the end of the login", || login.exited());
    assert!(status.success(), "{}", login.log());
    assert!(!machine.credentials().is_empty());
}
