//! Devices and logins that earlier releases have left on the disk, with a provider and an STS in this process.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Service, Started, shown, status};
use crate::aws::Aws;
use crate::env::{DAY, MINUTE, Millis, SECOND};
use crate::fixtures::{self, Fixture};
use crate::testing::peer::Peer;

/// So late that what AWS gave before is too short.
const LATER: Millis = 50 * MINUTE;

impl Service {
    /// On a copy of a fixture, so long after it was made. The provider speaks for the person of the fixture.
    async fn over(fixture: &Fixture, after: Millis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let toml = format!(
            "[aws]\nrole_arn = {}\nexternal_id = {}\n[[provider]]\nname = {}\nissuer = \"{url}\"\nclient_id = \"client\"\n\
             authorization_endpoint = \"{url}/authorize\"\ntoken_endpoint = \"{url}/token\"\njwks_uri = \"{url}/keys\"\n",
            fixture.value("/role/arn"),
            fixture.value("/role/external_id"),
            fixture.value("/provider/name"),
        );
        let app = fixture.open_with(&toml, after).await.with_aws(Aws::at(&url));
        let peer = Peer::start(app.clock.clone(), listener);
        let subject = fixture.value("/provider/subject").clone();
        peer.set(|script| drop(script.claims.insert("sub".to_owned(), subject)));
        Self { app, peer }
    }

    /// How far a login of the manifest is, for its own terminal.
    async fn poll_login(&self, login: &Value) -> Value {
        let text = |name: &str| login[name].as_str();
        self.poll(text("state").unwrap(), text("poll_secret"), text("release")).await.unwrap()
    }

    /// The bodies with which the provider was asked for fresh tokens.
    fn refreshes(&self) -> Vec<String> {
        self.peer.bodies("/token").into_iter().filter(|body| body.contains("grant_type=refresh_token")).collect()
    }
}

/// What has been answered for a device before.
const ANSWERED: [&str; 5] = ["access_key_id", "secret_access_key", "session_token", "refresh_token", "user"];

#[track_caller]
fn assert_same(answer: &Value, before: &Value, fields: &[&str]) {
    assert_eq!(status(answer), "AUTHORIZED", "{answer}");
    for field in fields {
        assert_eq!(answer[field], before[field], "{field}");
    }
}

#[tokio::test]
async fn an_answer_that_was_lost_can_still_be_asked_for() {
    for fixture in fixtures::all() {
        let service = Service::over(&fixture, 5 * SECOND).await;
        let device = fixture.value("/devices/unused");
        let again = service.poll_login(&device["login"]).await;
        assert_same(&again, &device["answers"][0], &ANSWERED);
        assert_eq!((service.peer.count("/"), service.peer.count("/token")), (0, 0), "{}", fixture.name());
    }
}

#[tokio::test]
async fn a_refresh_token_that_was_never_used_renews() {
    for fixture in fixtures::all() {
        let service = Service::over(&fixture, 5 * SECOND).await;
        let before = fixture.value("/devices/unused/answers/0");
        let renewed = service.renew(&before["refresh_token"]).await.unwrap();
        assert_same(&renewed, before, &ANSWERED[..3]);
        assert_ne!(renewed["refresh_token"], before["refresh_token"]);
        service.renew(&renewed["refresh_token"]).await.unwrap();
        let code = service.renew(&before["refresh_token"]).await.unwrap_err().code;
        assert_eq!(code.as_str(), "session_ended", "{}: its first token is retired", fixture.name());
    }
}

#[tokio::test]
async fn a_refresh_token_that_was_used_gets_the_same_answer_until_the_next_one_is() {
    for fixture in fixtures::all() {
        let service = Service::over(&fixture, 5 * SECOND).await;
        let [first, second] = [0, 1].map(|n| fixture.value(&format!("/devices/renewed/answers/{n}")));
        let again = service.renew(&first["refresh_token"]).await.unwrap();
        assert_same(&again, second, &ANSWERED);
        let over = service.poll_login(fixture.value("/devices/renewed/login")).await;
        assert_eq!(status(&over), "EXPIRED", "its login is over since the token was used");
        let third = service.renew(&second["refresh_token"]).await.unwrap();
        assert_same(&third, second, &ANSWERED[..3]);
        assert_eq!(service.renew(&first["refresh_token"]).await.unwrap_err().code.as_str(), "session_ended");
        assert_eq!(status(&service.renew(&third["refresh_token"]).await.unwrap()), "EXPIRED");
    }
}

/// With the provider's refresh token, which the earlier release has sealed.
#[tokio::test]
async fn a_device_renews_when_its_keys_are_spent() {
    for fixture in fixtures::all() {
        for (later, token) in [(LATER, "/devices/unused/answers/0"), (29 * DAY, "/devices/renewed/answers/1")] {
            let service = Service::over(&fixture, later).await;
            let before = fixture.value(token);
            let renewed = service.renew(&before["refresh_token"]).await.unwrap();
            assert_eq!(status(&renewed), "AUTHORIZED", "{}: {renewed}", fixture.name());
            assert_ne!(renewed["access_key_id"], before["access_key_id"]);
            let refreshes = service.refreshes();
            let sealed = refreshes[0].split('&').find_map(|pair| pair.strip_prefix("refresh_token=")).unwrap();
            assert!(
                refreshes.len() == 1 && sealed.len() >= 16 && !sealed.contains("provider-refresh"),
                "{refreshes:?}"
            );
            assert_eq!(service.peer.count("/"), 1);
        }
        let service = Service::over(&fixture, 31 * DAY).await;
        let token = fixture.value("/devices/renewed/answers/1/refresh_token");
        assert_eq!(status(&service.renew(token).await.unwrap()), "EXPIRED", "idle for too long");
    }
}

#[tokio::test]
async fn a_device_that_signed_out_stays_signed_out_and_others_can() {
    for fixture in fixtures::all() {
        let service = Service::over(&fixture, 5 * SECOND).await;
        let token = |device: &str| fixture.value(&format!("/devices/{device}/answers/0/refresh_token"));
        assert_eq!(status(&service.renew(token("ended")).await.unwrap()), "EXPIRED", "{}", fixture.name());
        let unused = token("unused");
        let ended = service.app.call("cli_login.logout", json!({ "refresh_token": unused })).await.unwrap();
        assert_eq!(ended["credentials_until"], *fixture.value("/devices/unused/answers/0/expires_at"));
        assert_eq!(status(&service.renew(unused).await.unwrap()), "EXPIRED");
        assert_eq!(service.peer.count("/token"), 0);
    }
}

#[tokio::test]
async fn every_device_token_that_auth_login_keeps_renews() {
    for fixture in fixtures::all() {
        let Some(home) = fixture.home() else { continue };
        let service = Service::over(&fixture, 5 * SECOND).await;
        let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
        let sessions = fs::read_dir(home.join(".local/state/auth-login/sessions")).unwrap();
        let mut tokens: Vec<Value> = sessions.map(|file| read(&file.unwrap().path())["token"].clone()).collect();
        tokens.retain(|token| !token.is_null());
        tokens.push(read(&home.join("manifest.json"))["keyring"]["auth-login"]["secret"].clone());
        assert_eq!(tokens.len(), 3);
        for token in tokens {
            let renewed = service.renew(&token).await.unwrap();
            assert_eq!(status(&renewed), "AUTHORIZED", "{}: {token}", fixture.name());
        }
    }
}

#[tokio::test]
async fn a_login_that_waits_can_be_signed_in() {
    for fixture in fixtures::all() {
        let service = Service::over(&fixture, 5 * SECOND).await;
        let login = fixture.value("/logins/pending");
        assert_eq!(status(&service.poll_login(login).await), "PENDING", "{}", fixture.name());
        let text = |name: &str| login[name].as_str().unwrap().to_owned();
        let page = service.sign_in(&Started { state: text("state"), auth_url: text("auth_url") }).await;
        // its own verifier went with the code (RFC 7636): the challenge of the address is its hash
        let bodies = service.peer.bodies("/token");
        let verifier = bodies[0].split('&').find_map(|pair| pair.strip_prefix("code_verifier=")).unwrap();
        let challenge = format!("code_challenge={}", super::model::challenge(verifier));
        assert!(text("auth_url").split(['?', '&']).any(|pair| pair == challenge), "{}", bodies[0]);

        let release = shown(&page);
        let answer = service.poll(&text("state"), Some(&text("poll_secret")), Some(&release)).await.unwrap();
        assert_eq!(status(&answer), "AUTHORIZED");
        assert_eq!(status(&service.renew(&answer["refresh_token"]).await.unwrap()), "AUTHORIZED");
        let late = Service::over(&fixture, 6 * MINUTE).await;
        assert_eq!(status(&late.poll_login(login).await), "EXPIRED");
    }
}

#[tokio::test]
async fn a_login_that_was_signed_in_can_be_collected() {
    for fixture in fixtures::all() {
        let service = Service::over(&fixture, 5 * SECOND).await;
        let login = fixture.value("/logins/signed_in");
        let (state, secret) = (login["state"].as_str().unwrap(), login["poll_secret"].as_str());
        assert_eq!(status(&service.poll(state, secret, None).await.unwrap()), "PENDING", "the release is missing");
        assert_eq!(service.poll(state, Some("guessed"), None).await.unwrap_err().code.as_str(), "invalid_token");
        let answer = service.poll_login(login).await;
        assert_eq!(status(&answer), "AUTHORIZED", "{}", fixture.name());
        assert_eq!(service.peer.count("/token"), 0, "the person has signed in before");
        assert_eq!(status(&service.renew(&answer["refresh_token"]).await.unwrap()), "AUTHORIZED");
        assert_eq!(status(&service.poll_login(fixture.value("/logins/denied")).await), "DENIED");
    }
}
