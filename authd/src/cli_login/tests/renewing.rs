//! Renewals, and the end of sessions.

use serde_json::{Value, json};

use super::{Service, status};
use crate::caller::Caller;
use crate::env::{DAY, MINUTE};

/// So late that what AWS gave before is too short.
const LATER: i64 = 50 * MINUTE;

#[tokio::test]
async fn credentials_are_kept_until_they_are_too_short_and_then_made_anew() {
    let service = Service::new().await;
    let mut answer = service.signed_in().await;
    for _ in 0..3 {
        let renewed = service.renew(&answer["refresh_token"]).await.unwrap();
        assert_eq!(renewed["access_key_id"], answer["access_key_id"]);
        assert_ne!(renewed["refresh_token"], answer["refresh_token"]);
        answer = renewed;
    }
    assert_eq!((service.peer.count("/"), service.peer.count("/token")), (1, 1));
    service.app.clock.advance(LATER);
    let renewed = service.renew(&answer["refresh_token"]).await.unwrap();
    assert_ne!(renewed["access_key_id"], answer["access_key_id"]);
    assert_eq!((service.peer.count("/"), service.peer.count("/token")), (2, 2));
    assert!(service.peer.bodies("/token")[1].contains("refresh_token=provider-refresh-1"));
}

#[tokio::test]
async fn a_predecessor_works_until_the_new_token_is_used_and_its_reuse_ends_the_session() {
    let service = Service::new().await;
    let first = service.signed_in().await["refresh_token"].clone();
    let second = service.renew(&first).await.unwrap()["refresh_token"].clone();
    assert_eq!(service.renew(&first).await.unwrap()["refresh_token"], second, "the answer was lost");
    let third = service.renew(&second).await.unwrap()["refresh_token"].clone();
    let error = service.renew(&first).await.unwrap_err();
    assert_eq!(error.code.as_str(), "session_ended");
    assert_eq!(status(&service.renew(&third).await.unwrap()), "EXPIRED");
    assert_eq!(service.sessions().await[0]["end_reason"], "refresh_token_reused");
}

#[tokio::test]
async fn a_device_that_is_ended_before_the_commit_of_its_renewal_gets_nothing() {
    let service = Service::new().await;
    let answer = service.signed_in().await;
    service.app.clock.advance(LATER);
    let session = service.sessions().await[0]["id"].clone();
    let end = service.app.later("sessions.end", json!({ "id": session }));
    service.app.before_next_change(async move { drop(end.await.unwrap()) });
    let renewed = service.renew(&answer["refresh_token"]).await.unwrap();
    assert!(!service.app.awaits_change(), "the renewal was to be committed");
    assert_eq!(status(&renewed), "EXPIRED");
    assert!(renewed.get("secret_access_key").is_none(), "{renewed}");
    assert_eq!(service.sessions().await[0]["end_reason"], "ended_by_administrator");
}

#[tokio::test]
async fn forged_tokens_are_refused_without_a_look() {
    let service = Service::new().await;
    let token = service.signed_in().await["refresh_token"].as_str().unwrap().to_owned();
    let reads = service.app.db_reads();
    let flipped = |at: usize| {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    for forged in [
        String::new(),
        "adr_".into(),
        token[4..].to_owned(),
        format!("{token}A"),
        flipped(10),
        flipped(30),
        flipped(50),
        flipped(80),
    ] {
        let body = json!({ "refresh_token": forged });
        assert_eq!(service.app.refused("cli_login.renew", body.clone()).await, "invalid_token", "{forged}");
        assert_eq!(service.app.refused("cli_login.logout", body).await, "invalid_token", "{forged}");
    }
    assert_eq!(service.app.db_reads(), reads);
}

#[tokio::test]
async fn only_the_providers_clear_no_ends_a_session() {
    let service = Service::new().await;
    let token = service.signed_in().await["refresh_token"].clone();
    service.app.clock.advance(LATER);
    for answer in [
        (503, "{}"),
        (400, "{\"error\":\"invalid_client\"}"),
        (200, "nonsense"),
        (500, "{\"error\":\"invalid_grant\"}"),
    ] {
        service.peer.set(|script| script.token = Some((answer.0, answer.1.into())));
        let status = service.renew(&token).await.unwrap_err().code.status();
        assert!(status == 502 || status == 503, "{answer:?}: {status}");
    }
    service.peer.set(|script| script.token = None);
    let token = service.renew(&token).await.unwrap()["refresh_token"].clone();
    service.app.clock.advance(LATER);
    service.peer.set(|script| script.token = Some((400, "{\"error\":\"invalid_grant\"}".into())));
    assert_eq!(status(&service.renew(&token).await.unwrap()), "EXPIRED");
    service.peer.set(|script| script.token = None);
    assert_eq!(status(&service.renew(&token).await.unwrap()), "EXPIRED");
}

#[tokio::test]
async fn without_a_new_id_token_a_session_lives_as_long_as_the_last_one() {
    let service = Service::new().await;
    let token = service.signed_in().await["refresh_token"].clone();
    service.peer.set(|script| script.token = Some((200, "{}".into())));
    service.app.clock.advance(LATER);
    let token = service.renew(&token).await.unwrap()["refresh_token"].clone();
    service.app.clock.advance(LATER);
    assert_eq!(status(&service.renew(&token).await.unwrap()), "EXPIRED");
    assert_eq!(service.sessions().await[0]["end_reason"], "sign_in_expired");
}

#[tokio::test]
async fn a_rotated_provider_token_is_kept_even_if_the_rest_fails() {
    let service = Service::new().await;
    let token = service.signed_in().await["refresh_token"].clone();
    service.peer.set(|script| script.rotates = true);
    service.app.clock.advance(LATER);
    service.peer.set(|script| script.sts = Some((500, String::new())));
    assert!(service.renew(&token).await.is_err());
    service.peer.set(|script| script.sts = None);
    service.renew(&token).await.unwrap();
    let bodies = service.peer.bodies("/token");
    assert!(bodies[1].contains("provider-refresh-1") && bodies[2].contains("provider-refresh-2"), "{bodies:?}");
}

#[tokio::test]
async fn groups_are_looked_at_anew_and_a_person_stays_the_same() {
    let role = "[[role]]\nname = \"dev\"\narn = \"arn:aws:iam::123456789012:role/dev\"\ngroups = [\"dev\"]\n";
    let service = Service::with(role).await;
    let token = service.signed_in().await["refresh_token"].clone();
    service.app.clock.advance(LATER);
    service.peer.set(|script| drop(script.claims.insert("sub".into(), json!("somebody else"))));
    assert_eq!(service.renew(&token).await.unwrap_err().code.status(), 502);
    service.peer.set(|script| script.claims = json!({ "groups": ["sales"] }).as_object().unwrap().clone());
    assert_eq!(service.renew(&token).await.unwrap_err().code.status(), 403);
    service.peer.set(|script| script.claims.clear());
    assert_eq!(status(&service.renew(&token).await.unwrap()), "AUTHORIZED");
}

#[tokio::test]
async fn many_renewals_at_once_are_one_call() {
    let service = Service::new().await;
    let token = service.signed_in().await["refresh_token"].clone();
    service.app.clock.advance(LATER);
    let calls: Vec<_> =
        (0..16).map(|_| service.app.spawn("cli_login.renew", json!({ "refresh_token": token }))).collect();
    let mut answers: Vec<Value> = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap().unwrap());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0] && status(answer) == "AUTHORIZED"));
    assert_eq!((service.peer.count("/"), service.peer.count("/token")), (2, 2));
}

#[tokio::test]
async fn a_session_slides_up_to_its_absolute_end() {
    let service = Service::new().await;
    let mut token = service.signed_in().await["refresh_token"].clone();
    for _ in 0..3 {
        service.app.clock.advance(29 * DAY);
        token = service.renew(&token).await.unwrap()["refresh_token"].clone();
    }
    service.app.clock.advance(4 * DAY);
    assert_eq!(status(&service.renew(&token).await.unwrap()), "EXPIRED");
    let token = service.signed_in().await["refresh_token"].clone();
    service.app.clock.advance(30 * DAY);
    assert_eq!(status(&service.renew(&token).await.unwrap()), "EXPIRED", "idle for 30 days");
}

#[tokio::test]
async fn a_device_session_that_a_wrong_clock_has_made_or_prolonged_is_void() {
    for is_made_by_it in [true, false] {
        let service = Service::new().await;
        let mut token = Value::Null;
        if !is_made_by_it {
            token = service.signed_in().await["refresh_token"].clone();
        }
        service.app.clock.advance(20 * DAY);
        token = match token {
            Value::Null => service.signed_in().await["refresh_token"].clone(),
            token => service.renew(&token).await.unwrap()["refresh_token"].clone(),
        };
        token = service.renew(&token).await.unwrap()["refresh_token"].clone();
        service.app.clock.advance(-20 * DAY);
        assert_eq!(status(&service.renew(&token).await.unwrap()), "EXPIRED", "made by it: {is_made_by_it}");
        let live = service.app.call("sessions.list", json!({})).await.unwrap();
        assert_eq!(live["sessions"], json!([]), "it is not listed as live");
    }
}

#[tokio::test]
async fn a_lease_of_a_wrong_clock_holds_nobody_up() {
    let service = Service::new().await;
    let token = service.signed_in().await["refresh_token"].clone();
    service.app.clock.advance(LATER);
    let lease = "UPDATE sessions SET lease_until = $1";
    let until = service.app.env.now() + 365 * DAY;
    service.app.base.db.commit(vec![crate::db::Statement::one("test", lease, [until.into()])]).await.unwrap();
    assert_eq!(status(&service.renew(&token).await.unwrap()), "AUTHORIZED");
}

#[tokio::test]
async fn an_ended_session_renews_no_more_and_the_first_end_stands() {
    let service = Service::new().await;
    let token = service.signed_in().await["refresh_token"].clone();
    let id = service.sessions().await[0]["id"].clone();
    assert_eq!(service.app.refused_as(Caller::Anonymous, "sessions.list", json!({})).await, "unauthenticated");
    let ended = service.app.call("sessions.end", json!({ "id": id })).await.unwrap();
    assert_eq!(ended["credentials_until"], "2027-01-15T09:00:00Z");
    assert_eq!(status(&service.renew(&token).await.unwrap()), "EXPIRED");
    service.app.clock.advance(MINUTE);
    assert_eq!(service.app.call("sessions.end", json!({ "id": id })).await.unwrap()["ended_at"], ended["ended_at"]);
    assert_eq!(service.app.call("sessions.list", json!({})).await.unwrap()["sessions"], json!([]));
    let unknown = json!({ "id": "00000000-0000-7000-8000-000000000000" });
    assert_eq!(service.app.refused("sessions.end", unknown).await, "not_found");
}

#[tokio::test]
async fn logout_says_until_when_the_credentials_work() {
    let service = Service::new().await;
    let answer = service.signed_in().await;
    let body = json!({ "refresh_token": answer["refresh_token"] });
    for _ in 0..2 {
        let ended = service.app.call("cli_login.logout", body.clone()).await.unwrap();
        assert_eq!(ended, json!({ "status": "logged_out", "credentials_until": answer["expires_at"] }));
    }
    assert_eq!(status(&service.renew(&answer["refresh_token"]).await.unwrap()), "EXPIRED");
    let audit = service.app.call("audit.list", json!({})).await.unwrap();
    let actions: Vec<&str> =
        audit["entries"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["cli_login.logout", "cli_login.status"]);
    assert_eq!(audit["entries"][0]["actor"], "device:ann@example.test");
}

#[tokio::test]
async fn a_database_that_is_down_is_never_an_answer_about_a_session() {
    let service = Service::new().await;
    let token = service.signed_in().await["refresh_token"].clone();
    service.app.break_db(true);
    assert_eq!(service.renew(&token).await.unwrap_err().code.status(), 503);
    service.app.break_db(false);
    assert_eq!(status(&service.renew(&token).await.unwrap()), "AUTHORIZED");
}

#[tokio::test]
async fn lists_of_sessions_come_in_pages() {
    let service = Service::new().await;
    for _ in 0..3 {
        service.signed_in().await;
        service.app.clock.advance(MINUTE);
    }
    let first = service.app.call("sessions.list", json!({ "limit": 2 })).await.unwrap();
    let rest = service.app.call("sessions.list", json!({ "limit": 2, "cursor": first["next_cursor"] })).await.unwrap();
    assert_eq!((first["sessions"].as_array().unwrap().len(), rest["sessions"].as_array().unwrap().len()), (2, 1));
    assert_eq!(rest["next_cursor"], Value::Null);
    assert_eq!(service.app.refused("sessions.list", json!({ "cursor": "nonsense" })).await, "validation_failed");
}

#[tokio::test]
async fn expired_sessions_are_swept_a_month_later() {
    let service = Service::new().await;
    service.signed_in().await;
    let sweep = async || {
        let base = &service.app.base;
        crate::db::sweep::expired(base.db.as_ref(), crate::sessions::store::SWEEP, base.now() - 30 * DAY, 100)
            .await
            .unwrap()
    };
    service.app.clock.advance(60 * DAY - 1);
    assert_eq!((sweep().await, service.sessions().await.len()), (0, 1));
    service.app.clock.advance(1);
    assert_eq!((sweep().await, service.sessions().await.len()), (1, 0));
}
