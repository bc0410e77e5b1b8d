//! Where the browser begins, and what ends a session.

use serde_json::{Value, json};

use super::{Service, status};
use crate::env::{DAY, MINUTE};

/// The start of a login with these fields.
async fn started(service: &Service, more: Value) -> Value {
    let mut body = json!({ "device_name": "laptop", "poll_challenge": super::model::challenge(super::SECRET) });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    service.app.call("cli_login.start", body).await.unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_provider_is_asked_to_ask_anew_only_where_that_is_wanted() {
    let service = Service::new().await;
    assert!(!text(&started(&service, json!({})).await, "auth_url").contains("prompt="));
    let again = started(&service, json!({"reauthenticate": true})).await;
    assert!(text(&again, "auth_url").ends_with("&prompt=login&max_age=300"), "{again}");
}

#[tokio::test]
async fn only_a_login_of_another_device_has_a_short_address() {
    let service = Service::new().await;
    assert!(started(&service, json!({"loopback_port": 4000})).await.get("short_url").is_none());
    let login = started(&service, json!({})).await;
    let (_, code) = text(&login, "short_url").split_once("/d/").unwrap();
    assert_eq!(code.len(), 9, "{login}");
    let (cli_login, call) = (&service.app.modules.cli_login, service.app.anonymous());
    let found = cli_login.find_short(&call, &code.to_lowercase().replace('-', "")).await.unwrap().unwrap();
    assert_eq!(found.auth_url, text(&login, "auth_url"));
    assert_eq!(found.device.name.as_deref(), Some("laptop"));
    // Neither the code nor the state is the other.
    assert!(cli_login.find_short(&call, text(&login, "state")).await.unwrap().is_none());
    let polled = service.poll(code, Some(super::SECRET), None).await.unwrap();
    assert_eq!(status(&polled), "EXPIRED");

    let [state, auth_url] = ["state", "auth_url"].map(|name| text(&login, name).to_owned());
    service.sign_in(&super::Started { state, auth_url }).await;
    assert!(cli_login.find_short(&call, code).await.unwrap().is_none(), "somebody has signed in");
}

#[tokio::test]
async fn short_addresses_cannot_be_tried_in_numbers() {
    let service = Service::new().await;
    let login = started(&service, json!({})).await;
    let (_, code) = text(&login, "short_url").split_once("/d/").unwrap();
    let cli_login = &service.app.modules.cli_login;
    let mut call = service.app.anonymous();
    call.address = Some("192.0.2.7".parse().unwrap());
    for _ in 0..20 {
        assert!(cli_login.find_short(&call, "0000-0000").await.unwrap().is_none());
    }
    assert_eq!(cli_login.find_short(&call, code).await.unwrap_err().code.as_str(), "rate_limited");
    call.address = Some("198.51.100.7".parse().unwrap());
    assert!(cli_login.find_short(&call, code).await.unwrap().is_some(), "another network is not held up");
    service.app.clock.advance(MINUTE);
    call.address = Some("192.0.2.7".parse().unwrap());
    assert!(cli_login.find_short(&call, code).await.unwrap().is_some());
}

/// Who knows only the link must not have more guesses at the release by the Deny button.
#[tokio::test]
async fn deny_and_the_terminal_share_the_guesses() {
    let service = Service::new().await;
    let started = service.start(json!({})).await;
    let release = super::shown(&service.sign_in(&started).await);
    for _ in 0..3 {
        service.deny(&format!("state={}&release=guess", started.state)).await;
    }
    assert_eq!(status(&service.poll(&started.state, Some(super::SECRET), Some("guess")).await.unwrap()), "PENDING");
    assert_eq!(status(&service.poll(&started.state, Some(super::SECRET), Some("guess")).await.unwrap()), "EXPIRED");
    let late = service.poll(&started.state, Some(super::SECRET), Some(&release)).await.unwrap();
    assert_eq!(status(&late), "EXPIRED");
}

#[tokio::test]
async fn a_renewal_tells_why_the_session_has_ended() {
    let service = Service::new().await;
    let by_administrator = service.signed_in().await;
    let id = service.sessions().await[0]["id"].clone();
    service.app.call("sessions.end", json!({ "id": id })).await.unwrap();
    let ended = service.renew(&by_administrator["refresh_token"]).await.unwrap();
    assert_eq!(ended, json!({"status": "EXPIRED", "reason": "ended_by_administrator"}));

    let refused = service.signed_in().await;
    service.peer.set(|script| script.token = Some((400, json!({"error": "invalid_grant"}).to_string())));
    service.app.clock.advance(50 * MINUTE);
    let ended = service.renew(&refused["refresh_token"]).await.unwrap();
    assert_eq!(ended, json!({"status": "EXPIRED", "reason": "refused_by_provider"}));

    service.peer.set(|script| script.token = None);
    let idle = service.signed_in().await;
    service.app.clock.advance(31 * DAY);
    for _ in 0..2 {
        let ended = service.renew(&idle["refresh_token"]).await.unwrap();
        assert_eq!(ended, json!({"status": "EXPIRED", "reason": "expired"}));
    }
    let audit = service.app.call("audit.list", json!({ "action": "cli_login.renew" })).await.unwrap();
    let reasons = audit["entries"].as_array().unwrap().iter().map(|entry| text(&entry["detail"], "reason"));
    assert_eq!(reasons.filter(|reason| *reason == "expired").count(), 1, "{audit}");
}

/// Some providers take back a whole grant, which all sign-ins in one browser share.
#[tokio::test]
async fn the_end_of_one_sign_in_ends_no_other_one_of_the_person() {
    let service = Service::with_revocation().await;
    let (one, other) = (service.signed_in().await, service.signed_in().await);
    let revoked = || service.peer.count("/oauth2/revoke");
    service.app.call("cli_login.logout", json!({ "refresh_token": one["refresh_token"] })).await.unwrap();
    service.outbox_becomes(&[1]).await;
    assert_eq!((revoked(), status(&service.renew(&other["refresh_token"]).await.unwrap())), (0, "AUTHORIZED"));

    service.app.call("cli_login.logout", json!({ "refresh_token": other["refresh_token"] })).await.unwrap();
    service.app.clock.advance(MINUTE);
    service.outbox_becomes(&[]).await;
    assert_eq!(revoked(), 2);
}
