//! Who gets the credentials of a browser login, and above all who does not: the eight attacks on a login whose URL, state
//! or poll secret has leaked, or whose link was sent to a victim, in both modes, each with a twin that succeeds and
//! differs only in the value that the attacker lacks.

use serde_json::{Value, json};
use tests::browser::{Elsewhere, Page, Visit};
use tests::http::Response;
use tests::login::{Mode, Service, Terminal, ask_status, shown_release};
use tests::{PATIENCE, until};

/// What somebody holds of a login that the owner has started, and in which the owner has signed in.
#[derive(Clone, Copy, Debug, Default)]
struct Holds<'a> {
    state: &'a str,
    secret: Option<&'a str>,
    release: Option<&'a str>,
}

fn collect(service: &Service, holds: Holds<'_>) -> Response {
    ask_status(&service.authd.http(), holds.state, holds.secret, holds.release)
}

#[track_caller]
fn assert_nothing(service: &Service, answer: &Response, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    for word in ["AUTHORIZED", "access_key", "session_token", "refresh_token"] {
        assert!(!answer.text().contains(word), "{}", answer.text());
    }
    assert!(service.sts.calls("AssumeRole").is_empty(), "credentials were asked for");
}

#[track_caller]
fn assert_credentials(answer: &Response) -> Value {
    let said = answer.expect(200);
    assert_eq!(said["status"], "AUTHORIZED", "{said}");
    for field in ["access_key_id", "secret_access_key", "session_token", "refresh_token"] {
        assert!(said[field].as_str().is_some_and(|v| !v.is_empty()), "{field} is missing");
    }
    said
}

/// The owner starts a login and signs in, on one machine; the answer is also the release that came to the owner.
fn signed_in(service: &Service, mode: Mode) -> (Terminal, String) {
    let owner = Terminal::start(&service.authd, mode);
    let page = Visit::new().go(&owner.auth_url);
    let release = owner.release(&page);
    (owner, release)
}

/// The state as someone reads it out of the login URL.
fn state_in(url: &str) -> String {
    url.split(['?', '&']).find_map(|p| p.strip_prefix("state=")).expect("the login URL has a state").to_owned()
}

fn only_the_login_url(mode: Mode) {
    let service = Service::start();
    let (owner, release) = signed_in(&service, mode);
    let state = state_in(&owner.auth_url);
    let attack = Holds { state: &state, ..Holds::default() };
    assert_nothing(&service, &collect(&service, attack), 401);
    // opening the URL again, after the owner, brings no second release: the state is used up
    let late = Visit::new().from(&Elsewhere::reaching(&service.ports())).go(&owner.auth_url);
    assert!(shown_release(&late).is_none() && !late.url.contains("release="), "{late:?}");
    assert_nothing(&service, &collect(&service, attack), 401);
    let twin = Holds { secret: Some(&owner.secret), release: Some(&release), ..attack };
    assert_credentials(&collect(&service, twin));
}

fn only_the_state(mode: Mode) {
    let service = Service::start();
    let (owner, release) = signed_in(&service, mode);
    // even with the release, which the browser's history has beside the state
    let attack = Holds { state: &owner.state, secret: None, release: Some(&release) };
    assert_nothing(&service, &collect(&service, attack), 401);
    let guessed = Holds { secret: Some("00000000000000000000000000000000000000000000"), ..attack };
    assert_nothing(&service, &collect(&service, guessed), 401);
    let callback = format!("/auth/cli/callback?code=invented&state={}", owner.state);
    let answer = service.authd.http().get(&callback).expect("authd answers");
    assert!(!answer.text().contains("release"), "{}", answer.text());
    let twin = Holds { secret: Some(&owner.secret), ..attack };
    assert_credentials(&collect(&service, twin));
}

fn only_the_poll_secret(mode: Mode) {
    let service = Service::start();
    let (owner, release) = signed_in(&service, mode);
    let attack = Holds { state: &owner.state, secret: Some(&owner.secret), release: None };
    for _ in 0..3 {
        let answer = collect(&service, attack);
        assert_nothing(&service, &answer, 200);
        assert_eq!(answer.json()["status"], "PENDING");
    }
    let guess = Holds { release: Some("guessed-release-0123456789"), ..attack };
    assert_nothing(&service, &collect(&service, guess), 200);
    let twin = Holds { release: Some(&release), ..attack };
    assert_credentials(&collect(&service, twin));
}

/// The attacker starts a login and sends the link; the victim signs in where the attacker's loopback is not theirs.
fn started_by_the_attacker(mode: Mode) {
    let service = Service::start();
    let attacker = Terminal::start(&service.authd, mode);
    let elsewhere = Elsewhere::reaching(&service.ports());
    let page = Visit::new().from(&elsewhere).go(&attacker.auth_url);
    assert!(service.provider.hits("POST /oauth2/token") == 1, "the victim has signed in: {page:?}");
    match mode {
        // it went to the victim's own machine, where nobody listens
        Mode::Loopback => {
            assert!(
                page.visited.iter().any(|u| u.starts_with("http://127.0.0.1:") && u.contains("release=")),
                "{page:?}"
            );
            assert_eq!(attacker.release_on_loopback(), None);
        }
        Mode::Paste => assert!(shown_release(&page).is_some() && warns(&page), "{}", page.text),
    }
    for _ in 0..3 {
        let answer = attacker.poll(Some(&attacker.secret), None);
        assert_nothing(&service, &answer, 200);
        assert_eq!(answer.json()["status"], "PENDING");
    }

    // the twin: the same person, link and provider; only the browser runs where the login was started
    let owner = Terminal::start(&service.authd, mode);
    let page = Visit::new().go(&owner.auth_url);
    let release = owner.release(&page);
    let said = assert_credentials(&owner.poll(Some(&owner.secret), Some(&release)));
    assert_eq!(service.sts.calls("AssumeRole").len(), 1, "{said}");
}

/// The page of the paste mode says who is asking and what not to do.
fn warns(page: &Page) -> bool {
    let text = page.text.to_lowercase();
    text.contains("rig") && text.contains("deny") && text.contains("127.0.0.1")
}

#[test]
fn attack_only_the_login_url_loopback() {
    only_the_login_url(Mode::Loopback);
}

#[test]
fn attack_only_the_login_url_paste() {
    only_the_login_url(Mode::Paste);
}

#[test]
fn attack_only_the_state_loopback() {
    only_the_state(Mode::Loopback);
}

#[test]
fn attack_only_the_state_paste() {
    only_the_state(Mode::Paste);
}

#[test]
fn attack_only_the_poll_secret_loopback() {
    only_the_poll_secret(Mode::Loopback);
}

#[test]
fn attack_only_the_poll_secret_paste() {
    only_the_poll_secret(Mode::Paste);
}

#[test]
fn attack_link_sent_to_a_victim_loopback() {
    started_by_the_attacker(Mode::Loopback);
}

#[test]
fn attack_link_sent_to_a_victim_paste() {
    started_by_the_attacker(Mode::Paste);
}

#[test]
fn five_wrong_releases_end_the_login() {
    let service = Service::start();
    let (owner, release) = signed_in(&service, Mode::Paste);
    for n in 0..5 {
        let answer = owner.poll(Some(&owner.secret), Some(&format!("wrong-release-000000000{n}")));
        assert_nothing(&service, &answer, 200);
    }
    assert_nothing(&service, &owner.poll(Some(&owner.secret), Some(&release)), 200);
}

#[test]
fn a_login_without_a_challenge_is_refused() {
    let service = Service::start();
    let answer = service.authd.http().post("/auth/cli/start", &json!({"device_name": "old"})).expect("authd answers");
    assert_eq!(answer.status, 422, "{}", answer.text());
}

#[test]
fn declining_at_the_provider_is_denied_at_once() {
    let service = Service::start();
    let owner = Terminal::start(&service.authd, Mode::Loopback);
    Visit::new().cancels().go(&owner.auth_url);
    let answer = owner.poll(Some(&owner.secret), None);
    assert_eq!(answer.expect(200)["status"], "DENIED");
}

#[test]
fn pressing_deny_on_the_page_is_denied() {
    let service = Service::start();
    let owner = Terminal::start(&service.authd, Mode::Paste);
    let page = Visit::new().denies().go(&owner.auth_url);
    let answer = owner.poll(Some(&owner.secret), None);
    assert_eq!(answer.expect(200)["status"], "DENIED", "{}", page.text);
}

#[test]
fn a_lost_answer_can_be_asked_for_again_until_the_new_token_is_used() {
    let service = Service::start();
    let (owner, release) = signed_in(&service, Mode::Loopback);
    let first = assert_credentials(&owner.poll(Some(&owner.secret), Some(&release)));
    let again = assert_credentials(&owner.poll(Some(&owner.secret), Some(&release)));
    assert_eq!(first["refresh_token"], again["refresh_token"]);
    let renew = |token: &Value| {
        service.authd.http().post("/auth/cli/renew", &json!({"refresh_token": token})).expect("authd answers")
    };
    let second = assert_credentials(&renew(&first["refresh_token"]));
    assert_nothing_more(&owner.poll(Some(&owner.secret), Some(&release)));
    // the predecessor works until the new one was used, then its reuse ends the session
    let second_again = assert_credentials(&renew(&first["refresh_token"]));
    let third = assert_credentials(&renew(&second_again["refresh_token"]));
    let reused = renew(&first["refresh_token"]);
    assert_ne!(reused.json()["status"], "AUTHORIZED", "{second}");
    assert_ne!(renew(&third["refresh_token"]).json()["status"], "AUTHORIZED", "reuse ends the session");
}

#[track_caller]
fn assert_nothing_more(answer: &Response) {
    assert_ne!(answer.json()["status"], "AUTHORIZED", "{}", answer.text());
}

#[test]
fn aws_hears_who_it_is() {
    let service = Service::with(|setup, _, sts| {
        let toml = format!(
            "[[role]]\nname = \"tagged\"\narn = \"{}\"\nsession_tags = true\nduration_seconds = 1800\nexternal_id = \"{}\"\n",
            sts.role("developer"),
            sts.external_id
        );
        setup.without("STS_ROLE_ARN").without("STS_EXTERNAL_ID").toml(&toml)
    });
    let (owner, release) = signed_in(&service, Mode::Loopback);
    let said = assert_credentials(&owner.poll(Some(&owner.secret), Some(&release)));
    assert_eq!(said["role"], "tagged");
    let calls = service.sts.calls("AssumeRole");
    assert_eq!(calls.len(), 1, "{calls:?}");
    let call = &calls[0];
    assert_eq!(call["session_name"], "cli-11111111-aaaa-4aaa-8aaa-000000000001", "{call}");
    assert_eq!(call["duration"], 1800);
    assert_eq!(call["external_id"], service.sts.external_id.as_str());
    assert!(call["tags"].as_object().is_some_and(|t| t.values().any(|v| v == "alice@example.test")), "{call}");
}

#[test]
fn a_missing_tag_session_is_explained_by_name() {
    let service = Service::with(|setup, _, sts| {
        let toml = format!("[[role]]\nname = \"untagged\"\narn = \"{}\"\nsession_tags = true\n", sts.role("untagged"));
        setup.without("STS_ROLE_ARN").without("STS_EXTERNAL_ID").toml(&toml)
    });
    let (owner, release) = signed_in(&service, Mode::Loopback);
    let answer = owner.poll(Some(&owner.secret), Some(&release));
    assert!(answer.status >= 400, "{}", answer.text());
    assert!(answer.text().contains("sts:TagSession"), "{}", answer.text());
}

#[test]
fn an_id_token_alone_gets_credentials() {
    let service = Service::with(|setup, _, sts| {
        let toml = format!("[[role]]\nname = \"web\"\narn = \"{}\"\nmethod = \"web_identity\"\n", sts.role("web"));
        setup.without("STS_ROLE_ARN").without("STS_EXTERNAL_ID").toml(&toml)
    });
    let (owner, release) = signed_in(&service, Mode::Paste);
    assert_credentials(&owner.poll(Some(&owner.secret), Some(&release)));
    let calls = service.sts.calls("AssumeRoleWithWebIdentity");
    assert_eq!(calls[0]["web_identity"]["sub"], "11111111-aaaa-4aaa-8aaa-000000000001", "{calls:?}");
}

#[test]
fn roles_follow_groups() {
    let service = Service::with(|setup, _, sts| {
        let role = |name: &str, groups: &str| {
            format!(
                "[[role]]\nname = \"{name}\"\narn = \"{}\"\ngroups = {groups}\nexternal_id = \"{}\"\n",
                sts.role(name),
                sts.external_id
            )
        };
        let toml = role("admin", "[\"admins\"]") + &role("developer", "[]");
        setup.without("STS_ROLE_ARN").without("STS_EXTERNAL_ID").toml(&toml)
    });
    for (user, role, all) in
        [("alice", "admin", json!(["admin", "developer"])), ("bob", "developer", json!(["developer"]))]
    {
        let owner = Terminal::start(&service.authd, Mode::Loopback);
        let page = Visit::new().user(user).go(&owner.auth_url);
        let release = owner.release(&page);
        let said = assert_credentials(&owner.poll(Some(&owner.secret), Some(&release)));
        assert_eq!((&said["role"], &said["roles"]), (&json!(role), &all), "{user}");
        if user == "bob" {
            let body = json!({"refresh_token": said["refresh_token"], "role": "admin"});
            let answer = service.authd.http().post("/auth/cli/renew", &body).expect("authd answers");
            assert_eq!(answer.status, 403, "{}", answer.text());
        }
    }
}

#[test]
fn an_ended_session_renews_no_more() {
    let service = Service::start();
    let (owner, release) = signed_in(&service, Mode::Loopback);
    let said = assert_credentials(&owner.poll(Some(&owner.secret), Some(&release)));
    let list: Value =
        serde_json::from_str(&tests::process::stdout(&service.authd.authctl(&["session", "list", "-o", "json"])))
            .expect("JSON");
    let id = list["sessions"][0]["session_id"].as_str().unwrap_or_else(|| panic!("no id: {list}")).to_owned();
    assert!(list.to_string().contains("rig"), "the device is named: {list}");
    tests::process::stdout(&service.authd.authctl(&["session", "end", &id, "--yes"]));
    let body = json!({"refresh_token": said["refresh_token"]});
    let answer = service.authd.http().post("/auth/cli/renew", &body).expect("authd answers");
    assert_ne!(answer.json()["status"], "AUTHORIZED", "{}", answer.text());
}

#[test]
fn logins_survive_a_restart_of_the_daemon() {
    let mut service = Service::start();
    let owner = Terminal::start(&service.authd, Mode::Loopback);
    service.authd.kill();
    service.authd.start_again();
    let page = Visit::new().go(&owner.auth_url);
    let release = owner.release(&page);
    service.authd.kill();
    service.authd.start_again();
    let said = assert_credentials(&owner.poll(Some(&owner.secret), Some(&release)));
    service.authd.kill();
    service.authd.start_again();
    let body = json!({"refresh_token": said["refresh_token"]});
    let answer = service.authd.http().post("/auth/cli/renew", &body).expect("authd answers");
    assert_credentials(&answer);
}

#[test]
fn the_whole_login_works_on_postgres_with_redis() {
    let redis = tests::redis::Redis::start();
    let service =
        Service::with(|setup, _, _| setup.database(&tests::postgres::database()).env("REDIS_URL", &redis.url()));
    let (owner, release) = signed_in(&service, Mode::Loopback);
    let said = assert_credentials(&owner.poll(Some(&owner.secret), Some(&release)));
    let body = json!({"refresh_token": said["refresh_token"]});
    let renewed = service.authd.http().post("/auth/cli/renew", &body).expect("authd answers");
    assert_credentials(&renewed);
}

#[test]
fn rotated_keys_are_fetched_again() {
    let service = Service::start();
    let _ = signed_in(&service, Mode::Loopback);
    service.provider.steer("rotate", &json!({"drop": true}));
    let (owner, release) = signed_in(&service, Mode::Loopback);
    assert_credentials(&owner.poll(Some(&owner.secret), Some(&release)));
}

#[test]
fn a_provider_that_is_not_cognito_works_by_discovery() {
    let service = Service::with(|setup, provider, _| {
        let toml = format!(
            "[[provider]]\nname = \"corp\"\nissuer = \"{}\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\n\
             groups_claim = \"cognito:groups\"\n",
            provider.issuer, provider.secret_client, provider.client_secret
        );
        let names = ["DOMAIN", "CLIENT_ID", "REDIRECT_URI", "USER_POOL_ID", "ISSUER", "REGION"];
        let setup = names.iter().fold(setup, |setup, name| setup.without(&format!("COGNITO_{name}")));
        setup.toml(&toml)
    });
    let (owner, release) = signed_in(&service, Mode::Loopback);
    assert_credentials(&owner.poll(Some(&owner.secret), Some(&release)));
}

#[test]
fn only_invalid_grant_ends_a_session() {
    let service = Service::with(|setup, _, sts| {
        let toml = format!("[[role]]\nname = \"web\"\narn = \"{}\"\nmethod = \"web_identity\"\n", sts.role("web"));
        setup.without("STS_ROLE_ARN").without("STS_EXTERNAL_ID").toml(&toml)
    });
    let (owner, release) = signed_in(&service, Mode::Loopback);
    let mut said = assert_credentials(&owner.poll(Some(&owner.secret), Some(&release)));
    let renew = |token: &Value| {
        let body = json!({"refresh_token": token, "duration_seconds": 900});
        service.authd.http().post("/auth/cli/renew", &body).expect("authd answers")
    };
    service.sts.lifetime(5);
    // a different duration and a short life: what authd has cached does not do
    for status in [500, 503, 400] {
        let fault =
            json!({"path": "/oauth2/token", "status": status, "times": 20, "body": "{\"error\":\"invalid_client\"}"});
        service.provider.steer("fault", &fault);
        let answer = renew(&said["refresh_token"]);
        if answer.status == 200 {
            // served without asking the provider: as good, and the token has turned
            said = assert_credentials(&answer);
        } else {
            assert!(answer.status == 502 || answer.status == 503, "{}: {}", answer.status, answer.text());
        }
    }
    service.provider.steer("fault", &json!([]));
    said = assert_credentials(&renew(&said["refresh_token"]));
    service.provider.steer("revoke", &json!({"name": "alice"}));
    until(PATIENCE, "the end of the session", || {
        let answer = renew(&said["refresh_token"]);
        let body = answer.json();
        if body["status"] == "AUTHORIZED" {
            said = body;
            return None;
        }
        Some(())
    });
}
