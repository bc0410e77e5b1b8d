//! The AWS login through authd's own accounts, without any identity provider: auth-login, a real browser and STS.

use serde_json::json;
use tests::TIMEOUT;
use tests::browser::Visit;
use tests::local::{Local, PASSWORD};
use tests::login::{Machine, Mode, Terminal};
use tests::process::both;

fn visit(user: &str) -> Visit {
    Visit::new().user(user).password(PASSWORD)
}

#[test]
fn a_person_of_authds_own_signs_in_to_aws_and_out() {
    let local = Local::start();
    let machine = Machine::at(&local.authd, &local.sts).browsing(&visit("alice"));
    let said = machine.sign_in();
    assert_eq!(machine.opened().len(), 1);
    assert!(both(&said).contains(&format!("{}/auth/cli/local?state=", local.authd.url())), "{}", both(&said));
    let user = local.authd.admin().get("/users/alice").expect("it answers").expect(200);
    let arn = machine.identity("default");
    assert!(arn.ends_with(&format!("assumed-role/developer/cli-{}", user["id"].as_str().expect("an id"))), "{arn}");
    let call = &local.sts.calls("AssumeRole")[0].to_string();
    assert!(call.contains("provider") && call.contains("local"), "{call}");
    let status = machine.auth_login(&["status"]).run(TIMEOUT);
    assert!(both(&status).contains("alice"), "{}", both(&status));

    // The device is one of her sessions: an administrator ends them all at once.
    let list = local.authd.admin().get("/sessions?user=alice").expect("it answers").expect(200);
    let kinds: Vec<&str> =
        list["sessions"].as_array().into_iter().flatten().filter_map(|s| s["kind"].as_str()).collect();
    assert!(kinds.contains(&"device") && kinds.contains(&"web"), "{list}");
    local.authd.admin().send("DELETE", "/users/alice/sessions", None).expect("it answers").expect(200);
    let renewed = machine.auth_login(&["renew"]).run(TIMEOUT);
    assert!(!renewed.status.success() && both(&renewed).contains("auth-login login"), "{}", both(&renewed));
}

#[test]
fn who_holds_no_role_or_says_no_gets_nothing() {
    let local = Local::start();
    let bob = Machine::at(&local.authd, &local.sts).browsing(&visit("bob"));
    let refused = bob.auth_login(&["login"]).run(TIMEOUT);
    assert!(!refused.status.success() && both(&refused).contains("may not use any AWS role"), "{}", both(&refused));
    assert!(!bob.credentials_path().exists());

    // On another device: the page shows what the terminal wants.
    let owner = Terminal::start(&local.authd, Mode::Paste);
    let page = visit("alice").go(&owner.auth_url);
    let release = owner.release(&page);
    assert_eq!(owner.poll(Some(&owner.secret), None).expect(200)["status"], "PENDING");
    assert_eq!(owner.poll(Some(&owner.secret), Some(&release)).expect(200)["status"], "AUTHORIZED");
    let owner = Terminal::start(&local.authd, Mode::Loopback);
    let page = visit("alice").denies().go(&owner.auth_url);
    assert_eq!(owner.poll(Some(&owner.secret), None).expect(200)["status"], "DENIED", "{}", page.text);
    assert_eq!(owner.release_on_loopback(), None);
    assert_eq!(local.sts.calls("AssumeRole").len(), 1);
    let named = local.authd.http().post("/auth/cli/start", &json!({"provider": "cognito"})).expect("it answers");
    assert_eq!(named.status, 422, "{}", named.text());
}
