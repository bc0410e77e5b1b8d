//! Who gets the credentials of a login, and above all who does not.

use serde_json::json;

use super::{SECRET, Service, shown, status};
use crate::env::{MINUTE, SECOND};

#[tokio::test]
async fn state_secret_and_release_are_needed_together() {
    let service = Service::new().await;
    let started = service.start(json!({})).await;
    let release = shown(&service.sign_in(&started).await);
    let poll = async |secret, release| {
        let answer = service.poll(&started.state, secret, release).await;
        answer.map(|answer| status(&answer).to_owned()).map_err(|error| error.code.status())
    };
    assert_eq!(poll(None, None).await, Err(401));
    assert_eq!(poll(None, Some(&release)).await, Err(401));
    assert_eq!(poll(Some("another secret"), Some(&release)).await, Err(401));
    assert_eq!(poll(Some(SECRET), None).await, Ok("PENDING".into()));
    assert_eq!(poll(Some(SECRET), Some("guess")).await, Ok("PENDING".into()));
    assert_eq!(service.peer.count("/"), 0, "nobody asked AWS");
    assert_eq!(poll(Some(SECRET), Some(&release.to_lowercase())).await, Ok("AUTHORIZED".into()));
}

#[tokio::test]
async fn the_fifth_wrong_release_ends_the_login() {
    let service = Service::new().await;
    let started = service.start(json!({})).await;
    let release = shown(&service.sign_in(&started).await);
    for n in 1..=5 {
        let answer = service.poll(&started.state, Some(SECRET), Some("guess")).await.unwrap();
        assert_eq!(status(&answer), if n < 5 { "PENDING" } else { "EXPIRED" });
    }
    assert_eq!(status(&service.poll(&started.state, Some(SECRET), Some(&release)).await.unwrap()), "EXPIRED");
    assert!(service.sessions().await.is_empty());
}

#[tokio::test]
async fn whoever_has_not_started_the_login_cannot_use_up_its_guesses() {
    let service = Service::new().await;
    let started = service.start(json!({})).await;
    let release = shown(&service.sign_in(&started).await);
    for _ in 0..6 {
        assert!(service.poll(&started.state, Some("not the secret"), Some("guess")).await.is_err());
    }
    assert_eq!(status(&service.poll(&started.state, Some(SECRET), Some(&release)).await.unwrap()), "AUTHORIZED");
}

#[tokio::test]
async fn a_login_ends_by_itself() {
    let service = Service::new().await;
    let started = service.start(json!({})).await;
    let release = shown(&service.sign_in(&started).await);
    service.app.clock.advance(5 * MINUTE);
    assert_eq!(status(&service.poll(&started.state, Some(SECRET), Some(&release)).await.unwrap()), "EXPIRED");
    assert_eq!(status(&service.poll("never was", None, None).await.unwrap()), "EXPIRED");
}

#[tokio::test]
async fn who_comes_back_at_the_last_moment_is_still_signed_in() {
    let service = Service::new().await;
    let started = service.start(json!({})).await;
    service.app.clock.advance(5 * MINUTE - SECOND);
    let release = shown(&service.sign_in(&started).await);
    service.app.clock.advance(MINUTE);
    assert_eq!(status(&service.poll(&started.state, Some(SECRET), Some(&release)).await.unwrap()), "AUTHORIZED");
}

#[tokio::test]
async fn a_sign_in_that_is_older_than_a_session_may_be_makes_none() {
    let service = Service::new().await;
    let started = service.start(json!({})).await;
    service.peer.set(|script| script.claims = json!({ "auth_time": 1_600_000_000 }).as_object().unwrap().clone());
    let release = shown(&service.sign_in(&started).await);
    let error = service.poll(&started.state, Some(SECRET), Some(&release)).await.unwrap_err();
    assert!(error.code.status() == 403 && error.detail.contains("cli.max_days"), "{}", error.detail);
    assert!(service.sessions().await.is_empty());
}

#[tokio::test]
async fn a_lost_answer_can_be_asked_for_again_until_the_new_token_is_used() {
    let service = Service::new().await;
    let started = service.start(json!({})).await;
    let release = shown(&service.sign_in(&started).await);
    let poll = || service.poll(&started.state, Some(SECRET), Some(&release));
    let (first, again) = (poll().await.unwrap(), poll().await.unwrap());
    assert_eq!(first, again);
    assert_eq!((service.peer.count("/"), service.sessions().await.len()), (1, 1));
    service.renew(&first["refresh_token"]).await.unwrap();
    assert_eq!(status(&poll().await.unwrap()), "EXPIRED");
}

#[tokio::test]
async fn deny_ends_the_login_and_even_the_session_that_it_became() {
    let service = Service::new().await;
    for authorized_before in [false, true] {
        let started = service.start(json!({})).await;
        let release = shown(&service.sign_in(&started).await);
        let mut token = json!(null);
        if authorized_before {
            token = service.poll(&started.state, Some(SECRET), Some(&release)).await.unwrap()["refresh_token"].clone();
        }
        let wrong = service.deny(&format!("state={}&release=guess", started.state)).await;
        assert_eq!(wrong.status, 410);
        let page = service.deny(&format!("state={}&release={release}", started.state)).await;
        assert!(page.html.contains("Denied"), "{}", page.html);
        assert_eq!(page.html.contains("they work until 2027-01-15 09:"), authorized_before, "{}", page.html);
        assert_eq!(status(&service.poll(&started.state, Some(SECRET), Some(&release)).await.unwrap()), "DENIED");
        if authorized_before {
            assert_eq!(status(&service.renew(&token).await.unwrap()), "EXPIRED");
        }
    }
}

#[tokio::test]
async fn aws_that_fails_leaves_the_login_askable_and_no_session() {
    let service = Service::new().await;
    let started = service.start(json!({})).await;
    let release = shown(&service.sign_in(&started).await);
    let refusal = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not authorized to perform: sts:TagSession</Message></Error></ErrorResponse>";
    for (status, body, code, hint) in [
        (403, refusal, 502, "sts:TagSession"),
        (503, "", 503, "try again"),
        (200, "<html>", 503, "unreadable"),
        (200, "", 503, "unreadable"),
        (200, "<AssumeRoleResponse><AssumeRoleResult><Credentials><SecretAccessKey>canary", 502, "incomplete"),
    ] {
        service.peer.set(|script| script.sts = Some((status, body.into())));
        let error = service.poll(&started.state, Some(SECRET), Some(&release)).await.unwrap_err();
        assert!(error.code.status() == code && error.detail.contains(hint), "{status} {body}: {error:?}");
        // Not even the log may have what an answer held that could not be read.
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
    assert!(service.sessions().await.is_empty());
    service.peer.set(|script| script.sts = None);
    assert_eq!(status(&service.poll(&started.state, Some(SECRET), Some(&release)).await.unwrap()), "AUTHORIZED");
}

#[tokio::test]
async fn a_person_without_the_role_is_told_which_ones_there_are() {
    let roles = "[[role]]\nname = \"admin\"\narn = \"arn:aws:iam::123456789012:role/admin\"\ngroups = [\"admins\"]\n\
                 [[role]]\nname = \"dev\"\narn = \"arn:aws:iam::123456789012:role/dev\"\ngroups = [\"dev\"]\n";
    let service = Service::with(roles).await;
    let started = service.start(json!({ "role": "admin" })).await;
    let release = shown(&service.sign_in(&started).await);
    let error = service.poll(&started.state, Some(SECRET), Some(&release)).await.unwrap_err();
    assert_eq!((error.code.status(), error.detail.ends_with("permitted: dev")), (403, true), "{}", error.detail);
    let answer = service.signed_in().await;
    assert_eq!((&answer["role"], &answer["roles"]), (&json!("dev"), &json!(["dev"])));
}

#[tokio::test]
async fn unbound_polling_works_only_where_it_is_allowed() {
    let role = "[[role]]\nname = \"dev\"\narn = \"arn:aws:iam::123456789012:role/dev\"\n";
    let service = Service::with(&format!("[cli]\nallow_unbound_polling = true\n{role}")).await;
    let started = service.start(json!({ "poll_challenge": null })).await;
    let page = service.sign_in(&started).await;
    assert!(page.html.contains("Authentication successful") && page.html.contains("You can close this window"));
    assert_eq!(status(&service.poll(&started.state, None, None).await.unwrap()), "AUTHORIZED");
    // A login that was bound stays bound.
    let bound = service.start(json!({})).await;
    service.sign_in(&bound).await;
    assert!(service.poll(&bound.state, None, None).await.is_err());
}

#[tokio::test]
async fn no_secret_is_written_in_clear() {
    let service = Service::new().await;
    service.peer.set(|script| script.rotates = true);
    let started = service.start(json!({})).await;
    let release = shown(&service.sign_in(&started).await);
    let answer = service.poll(&started.state, Some(SECRET), Some(&release)).await.unwrap();
    service.app.clock.advance(50 * MINUTE);
    let renewed = service.renew(&answer["refresh_token"]).await.unwrap();
    let id_token_header = "eyJ0eXAiOiJKV1Qi";
    let tokens = [&answer, &renewed].map(|answer| answer["refresh_token"].as_str().unwrap());
    let canaries = [SECRET, &release, "provider-refresh", "aws-secret", "aws-session", &started.state, id_token_header];
    for entry in std::fs::read_dir(service.app.folder()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for canary in canaries.iter().chain(&tokens) {
            let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!found, "{canary} is in {}", path.display());
        }
    }
}

#[tokio::test]
async fn with_a_second_provider_the_session_name_tells_which_one() {
    let role = "[[role]]\nname = \"dev\"\narn = \"arn:aws:iam::123456789012:role/dev\"\n";
    let second = "[[provider]]\nname = \"partner\"\nissuer = \"https://partner.example\"\nclient_id = \"client\"\n";
    for (toml, is_told) in [(role.to_owned(), false), (format!("{role}{second}"), true)] {
        let service = Service::with(&toml).await;
        let started = service.start(json!({ "provider": "corp" })).await;
        let page = service.sign_in(&started).await;
        service.poll(&started.state, Some(SECRET), Some(&shown(&page))).await.unwrap();
        let [asked] = service.peer.bodies("/").try_into().unwrap();
        let name = asked.split('&').find_map(|pair| pair.strip_prefix("RoleSessionName=")).unwrap();
        assert_eq!(name.strip_suffix("%40corp").is_some(), is_told, "{name}");
        assert!(name.starts_with("cli-"), "{name}");
    }
}
