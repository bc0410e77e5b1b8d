//! authd's own accounts as the provider.

use serde_json::json;
use shared::api::factors::Reauthenticate;
use shared::api::sessions::Login;
use shared::problem::Code;
use shared::secret::Secret;

use super::{SECRET, Service, shown, status};
use crate::call::Call;
use crate::caller::Caller;
use crate::cli_login::Outcome;
use crate::env::{DAY, HOUR, MINUTE};
use crate::error::Error;
use crate::sessions::model::FRESH;
use crate::web_login;

const PASSWORD: &str = "correct horse battery";
const ROLES: &str = "[local]\nenabled = true\n\
     [[role]]\nname = \"dev\"\narn = \"arn:aws:iam::123456789012:role/dev\"\ngroups = [\"developers\"]\n\
     providers = [\"local\"]\nsession_tags = true\n\
     [[role]]\nname = \"web\"\narn = \"arn:aws:iam::123456789012:role/web\"\nmethod = \"web_identity\"\n\
     providers = [\"corp\", \"local\"]\n";

impl Service {
    /// With Ada, who is a developer in the service `aws`.
    async fn local() -> Self {
        let service = Self::with(ROLES).await;
        service.app.user("ada", PASSWORD).await;
        service.must("services.create", json!({ "name": "aws" })).await;
        service.must("roles.create", json!({ "name": "developers" })).await;
        service.must("services.add_role", json!({ "service_id": "aws", "role_id": "developers" })).await;
        service.must("grants.add_role", developer()).await;
        service
    }

    async fn must(&self, operation: &str, fields: serde_json::Value) {
        self.app.call(operation, fields).await.unwrap_or_else(|error| panic!("{operation}: {error:?}"));
    }

    /// Ada's browser, signed in.
    async fn browser(&self) -> Call {
        let login = Login { username: "ada".into(), password: Secret::new(PASSWORD), totp: None };
        let web = &self.app.modules.web_login;
        let outcome = web.sign_in(self.app.anonymous(), "binding", login).await.unwrap();
        let web_login::Outcome::SignedIn(token) = outcome else { panic!("a code is asked for") };
        self.app.anonymous().of(web.visitor(token.expose()).await.unwrap().unwrap())
    }

    /// The same browser after Ada has proved herself again: its session is another one.
    async fn proved(&self, browser: Call) -> Call {
        let web = &self.app.modules.web_login;
        let op = Reauthenticate { password: Secret::new(PASSWORD), totp: None };
        let token = web.step_up(browser, op).await.unwrap();
        self.app.anonymous().of(web.visitor(token.expose()).await.unwrap().unwrap())
    }

    async fn asks(&self) -> String {
        self.start(json!({ "provider": "local" })).await.state
    }

    async fn confirm(&self, call: &Call, state: &str) -> Outcome {
        self.app.modules.cli_login.clone().confirm(call.clone(), state.to_owned()).await.unwrap()
    }

    /// A login that Ada has confirmed, with its release.
    async fn confirmed(&self, browser: &Call) -> (String, String) {
        let state = self.asks().await;
        match self.confirm(browser, &state).await {
            Outcome::ToPerson { release, user, .. } => {
                assert_eq!(user, "ada");
                (state, release.expose().to_owned())
            }
            other => panic!("{other:?}"),
        }
    }

    async fn collect(&self, (state, release): &(String, String)) -> Result<serde_json::Value, Error> {
        self.poll(state, Some(SECRET), Some(release)).await
    }

    /// A device of Ada's: its refresh token.
    async fn device(&self) -> serde_json::Value {
        let login = self.confirmed(&self.browser().await).await;
        self.collect(&login).await.unwrap()["refresh_token"].clone()
    }

    async fn renewal(&self, token: &serde_json::Value) -> String {
        match self.renew(token).await {
            Ok(answer) => status(&answer).to_owned(),
            Err(error) => error.code.as_str().to_owned(),
        }
    }
}

fn developer() -> serde_json::Value {
    json!({ "person_id": "ada", "service_id": "aws", "role_id": "developers" })
}

#[tokio::test]
async fn a_login_that_asks_anew_takes_no_proof_from_before_it() {
    let service = Service::local().await;
    let browser = service.browser().await;
    service.app.clock.advance(MINUTE);
    let again = service.start(json!({ "provider": "local", "reauthenticate": true })).await.state;
    let confirm = |call: &Call| service.app.modules.cli_login.clone().confirm(call.clone(), again.clone());
    assert_eq!(confirm(&browser).await.unwrap_err().code, Code::StepUpRequired);
    // Any other login takes it, as it is not old.
    service.confirmed(&browser).await;
    let browser = service.proved(browser).await;
    assert!(matches!(confirm(&browser).await.unwrap(), Outcome::ToPerson { .. }));
}

#[tokio::test]
async fn a_person_of_authds_own_gets_credentials_by_the_roles_in_the_service() {
    let service = Service::local().await;
    let started = service.start(json!({ "provider": "local" })).await;
    let here = format!("{}/auth/cli/local?state={}", service.app.config.server.public_url, started.state);
    assert_eq!(started.auth_url, here, "the person signs in on authd's own pages");
    let browser = service.browser().await;
    let answer = service.collect(&service.confirmed(&browser).await).await.unwrap();
    assert_eq!((status(&answer), &answer["role"], &answer["user"]), ("AUTHORIZED", &json!("dev"), &json!("ada")));
    assert_eq!(answer["roles"], json!(["dev"]), "without an ID token there is no web identity");
    assert_eq!((service.peer.count("/token"), service.peer.count("/keys")), (0, 0), "no provider is asked");
    // CloudTrail has the account's id, and which provider vouched for it.
    let Caller::User { id, .. } = browser.caller else { panic!() };
    let asked = &service.peer.bodies("/")[0];
    assert!(asked.contains(&format!("RoleSessionName=cli-{id}%40local")), "{asked}");
    assert!(asked.contains("Tags.member.2.Key=provider&Tags.member.2.Value=local"), "{asked}");

    let renewed = service.renew(&answer["refresh_token"]).await.unwrap();
    assert_eq!(status(&renewed), "AUTHORIZED");
    service.app.clock.advance(50 * MINUTE);
    let renewed = service.renew(&renewed["refresh_token"]).await.unwrap();
    assert_eq!((status(&renewed), service.peer.count("/")), ("AUTHORIZED", 2), "AWS is asked again");
    let sessions = service.sessions().await;
    let session = sessions.iter().find(|session| session["kind"] == "device").unwrap();
    assert_eq!(
        (&session["kind"], &session["provider"], &session["user"]),
        (&"device".into(), &"local".into(), &"ada".into())
    );
    assert_eq!(session["user_id"], json!(id.to_string()));
}

#[tokio::test]
async fn who_lost_the_role_or_holds_it_elsewhere_gets_nothing() {
    let service = Service::local().await;
    let token = service.device().await;
    service.must("grants.remove_role", developer()).await;
    assert_eq!(service.renewal(&token).await, "forbidden", "also while credentials are cached");
    // The same role in another service does not count.
    service.must("services.create", json!({ "name": "blog" })).await;
    service.must("services.add_role", json!({ "service_id": "blog", "role_id": "developers" })).await;
    let elsewhere = json!({ "person_id": "ada", "service_id": "blog", "role_id": "developers" });
    service.must("grants.add_role", elsewhere).await;
    let login = service.confirmed(&service.browser().await).await;
    assert_eq!(service.collect(&login).await.unwrap_err().code, Code::Forbidden);
    service.must("grants.add_role", developer()).await;
    assert_eq!(service.renewal(&token).await, "AUTHORIZED");
    service.must("services.update", json!({ "id": "aws", "status": "inactive" })).await;
    assert_eq!(service.renewal(&token).await, "forbidden", "an inactive service gives no groups");
}

#[tokio::test]
async fn a_device_ends_with_what_ends_the_sessions_of_its_user() {
    for (operation, fields) in [
        ("users.update", json!({ "id": "ada", "status": "inactive" })),
        ("users.update", json!({ "id": "ada", "password": "another password of hers" })),
        ("sessions.end_all", json!({ "id": "ada" })),
        ("users.delete", json!({ "id": "ada" })),
    ] {
        let service = Service::local().await;
        let token = service.device().await;
        service.must(operation, fields).await;
        assert_eq!(service.renewal(&token).await, "EXPIRED", "{operation}");
    }
    let service = Service::local().await;
    let token = service.device().await;
    service.must("users.delete", json!({ "id": "ada" })).await;
    assert_eq!(service.sessions().await.iter().filter(|session| session["kind"] == "device").count(), 0);
    assert_eq!(service.renewal(&token).await, "EXPIRED");
}

#[tokio::test]
async fn a_person_ends_their_own_devices_and_nobody_elses() {
    let service = Service::local().await;
    let token = service.device().await;
    let id = service.sessions().await.into_iter().find(|session| session["kind"] == "device").unwrap()["id"].clone();
    let end = json!({ "id": id });
    service.app.user("eve", PASSWORD).await;
    let eve = service.app.call("sessions.login", json!({ "username": "eve", "password": PASSWORD })).await.unwrap();
    let eve = service.app.caller(eve["token"].as_str().unwrap()).await.unwrap();
    assert_eq!(service.app.refused_as(eve, "sessions.end_own", end.clone()).await, "not_found");
    let ada = service.browser().await.caller;
    let list = service.app.call_as(ada.clone(), "sessions.list_own", json!({})).await.unwrap();
    assert!(list["sessions"].as_array().unwrap().iter().any(|session| session["id"] == id), "{list}");
    let ended = service.app.call_as(ada, "sessions.end_own", end).await.unwrap();
    assert!(ended["credentials_until"].is_string(), "{ended}");
    assert_eq!(service.renewal(&token).await, "EXPIRED");
}

#[tokio::test]
async fn who_signed_out_before_the_terminal_collects_gets_nothing() {
    let service = Service::local().await;
    let browser = service.browser().await;
    let login = service.confirmed(&browser).await;
    service.app.call_as(browser.caller, "sessions.logout", json!({})).await.unwrap();
    assert_eq!(service.collect(&login).await.unwrap_err().code, Code::Forbidden);
    assert!(service.sessions().await.iter().all(|session| session["kind"] != "device"));
    // Nor after a deactivation, which AWS is not even asked for.
    let login = service.confirmed(&service.browser().await).await;
    let asked = service.peer.count("/");
    service.must("users.update", json!({ "id": "ada", "status": "inactive" })).await;
    assert_eq!(service.collect(&login).await.unwrap_err().code, Code::Forbidden);
    assert_eq!(service.peer.count("/"), asked);
}

#[tokio::test]
async fn a_login_is_confirmed_once_and_only_where_it_was_meant_for() {
    let service = Service::local().await;
    let browser = service.browser().await;
    let state = service.asks().await;
    let (first, second) = tokio::join!(service.confirm(&browser, &state), service.confirm(&browser, &state));
    let gone = [&first, &second].iter().filter(|outcome| matches!(outcome, Outcome::Gone)).count();
    assert_eq!(gone, 1, "{first:?} {second:?}");
    assert!(service.app.modules.cli_login.find_waiting(&state).await.unwrap().is_none());
    // A login at a provider is not for authd's own pages, and the other way round.
    let at_corp = service.start(json!({ "provider": "corp" })).await;
    assert!(matches!(service.confirm(&browser, &at_corp.state).await, Outcome::Gone));
    let own = service.asks().await;
    assert_eq!(service.callback(&format!("code=good&state={own}")).await.status, 410);
    assert!(service.app.modules.cli_login.find_waiting(&own).await.unwrap().is_some(), "and it still waits");

    let denied = service.app.modules.cli_login.decline(browser.clone(), &own).await.unwrap();
    assert!(matches!(denied, Outcome::Denied { credentials_until: None, .. }), "{denied:?}");
    assert_eq!(status(&service.poll(&own, Some(SECRET), None).await.unwrap()), "DENIED");
    assert!(matches!(service.confirm(&browser, &own).await, Outcome::Gone));
}

/// As after a change of the configuration: the groups of an identity are those of its provider alone.
#[tokio::test]
async fn an_identity_of_another_provider_is_not_judged_as_authds_own() {
    let service = Service::local().await;
    service.peer.set(|script| drop(script.claims.insert("groups".into(), json!(["developers"]))));
    let started = service.start(json!({ "provider": "corp" })).await;
    let release = shown(&service.sign_in(&started).await);
    let cli_login = &service.app.modules.cli_login;
    let mut login = cli_login.find_login(&started.state).await.unwrap().unwrap();
    login.provider = "local".to_owned();
    cli_login.save_login(&started.state, &login).await.unwrap();
    let answer = service.poll(&started.state, Some(SECRET), Some(&release)).await.unwrap();
    assert_eq!((status(&answer), service.peer.count("/")), ("EXPIRED", 0));
}

#[tokio::test]
async fn the_end_of_a_device_is_counted_from_the_sign_in_in_the_browser() {
    let service = Service::local().await;
    let browser = service.browser().await;
    let begun = service.app.env.now();
    service.app.clock.advance(50 * MINUTE);
    let browser = service.proved(browser).await;
    let answer = service.collect(&service.confirmed(&browser).await).await.unwrap();
    assert_eq!(answer["session_expires_at"], json!((begun + 90 * DAY) / 1000));
}

/// A device lives for longer than the browser's session, whose cookie somebody else may have.
#[tokio::test]
async fn a_device_is_let_in_only_a_short_time_after_a_proof() {
    let service = Service::local().await;
    let browser = service.browser().await;
    service.app.clock.advance(FRESH);
    let state = service.asks().await;
    let confirm = async |call: &Call| service.app.modules.cli_login.clone().confirm(call.clone(), state.clone()).await;
    assert_eq!(confirm(&browser).await.unwrap_err().code, Code::StepUpRequired);
    assert!(service.app.modules.cli_login.find_waiting(&state).await.unwrap().is_some(), "and it still waits");
    let browser = service.proved(browser).await;
    assert!(matches!(confirm(&browser).await.unwrap(), Outcome::ToPerson { .. }));
}

#[tokio::test]
async fn what_changed_after_the_device_was_let_in_counts() {
    // The role is lost.
    let service = Service::local().await;
    let login = service.confirmed(&service.browser().await).await;
    service.must("grants.remove_role", developer()).await;
    assert_eq!(service.collect(&login).await.unwrap_err().code, Code::Forbidden);
    assert_eq!(service.peer.count("/"), 0, "AWS is not asked");
    // The password is changed in the same browser, whose session goes on.
    let service = Service::local().await;
    let browser = service.browser().await;
    let login = service.confirmed(&browser).await;
    service.app.clock.advance(1);
    let change = json!({ "password": PASSWORD, "new_password": "another long password" });
    service.app.call_as(browser.caller, "sessions.change_password", change).await.unwrap();
    assert_eq!(service.collect(&login).await.unwrap_err().code, Code::Forbidden);
    // The session has run out, so that nothing ends it any more.
    let service = Service::local().await;
    let browser = service.browser().await;
    service.app.clock.advance(HOUR - MINUTE);
    let browser = service.proved(browser).await;
    service.app.clock.advance(HOUR - MINUTE);
    let sql = "UPDATE sessions SET factor_at = $1 WHERE kind = 'web'";
    let now = service.app.env.now().into();
    service.app.base.db.commit(vec![crate::db::Statement::any("prove", sql, [now])]).await.unwrap();
    let login = service.confirmed(&browser).await;
    service.app.clock.advance(2 * MINUTE);
    assert_eq!(service.collect(&login).await.unwrap_err().code, Code::Forbidden);
}

#[tokio::test]
async fn a_user_has_a_number_of_devices() {
    let service = Service::local().await;
    let browser = service.browser().await;
    for _ in 0..64 {
        service.app.clock.advance(3000);
        let login = service.confirmed(&browser).await;
        service.collect(&login).await.unwrap();
    }
    let login = service.confirmed(&browser).await;
    assert_eq!(service.collect(&login).await.unwrap_err().code, Code::Conflict);
    service.browser().await;
    let list = service.app.call("sessions.list", json!({ "user": "ada", "kind": "device" })).await.unwrap();
    let end = json!({ "id": list["sessions"][0]["id"] });
    service.app.call_as(browser.caller, "sessions.end_own", end).await.unwrap();
    assert_eq!(status(&service.collect(&login).await.unwrap()), "AUTHORIZED");
}
