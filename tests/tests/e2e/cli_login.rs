//! The browser login as a protocol: roles, renewals, sessions, other providers, restarts.

use crate::attacks::{assert_credentials, assert_nothing, signed_in};
use serde_json::{Value, json};
use tests::browser::Visit;
use tests::http::Response;
use tests::login::{Mode, Service, Terminal};
use tests::{TIMEOUT, until};

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
    let id = list["sessions"][0]["id"].as_str().unwrap_or_else(|| panic!("no id: {list}")).to_owned();
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
fn redis_may_ask_for_tls_and_a_user_with_few_rights() {
    let redis = tests::redis::Redis::start_tls();
    let service = Service::with(|setup, _, _| {
        setup.env("REDIS_URL", &redis.url()).env("SSL_CERT_FILE", &redis.authority().display().to_string())
    });
    let (owner, release) = signed_in(&service, Mode::Loopback);
    assert_credentials(&owner.poll(Some(&owner.secret), Some(&release)));
    let health = service.authd.http().get("/health").expect("authd answers").expect(200);
    assert_eq!(health["status"], "healthy", "{health}");
    assert!(!redis.everything().is_empty(), "it was used");
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

/// It refuses a secret in a header, and does not list that way.
#[test]
fn a_provider_that_takes_the_secret_only_in_the_form_gets_it_there() {
    let service = Service::with(|setup, provider, _| {
        provider.steer("client", &json!({"auth": "client_secret_post"}));
        let toml = format!(
            "[[provider]]\nname = \"corp\"\nissuer = \"{}\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\n",
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
    until(TIMEOUT, "the end of the session", || {
        let answer = renew(&said["refresh_token"]);
        let body = answer.json();
        if body["status"] == "AUTHORIZED" {
            said = body;
            return None;
        }
        Some(())
    });
}
