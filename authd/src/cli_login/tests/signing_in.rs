//! From the start to the moment when somebody has signed in.

use serde_json::json;
use tokio::net::TcpListener;

use super::{SECRET, Service, header, provider, shown, status};
use crate::db::Query;
use crate::env::{MINUTE, SECOND};
use crate::testing::peer::Peer;

#[tokio::test]
async fn the_provider_is_asked_with_pkce_nonce_and_state() {
    let service = Service::new().await;
    let started = service.start(json!({})).await;
    let url = &started.auth_url;
    for part in
        ["response_type=code", "client_id=client", "scope=openid%20email%20profile", "code_challenge_method=S256"]
    {
        assert!(url.contains(part), "{part}: {url}");
    }
    assert!(
        url.contains(&format!("state={}", started.state)) && url.contains("nonce=") && url.contains("code_challenge=")
    );
    service.sign_in(&started).await;
    let exchange = &service.peer.bodies("/token")[0];
    assert!(exchange.contains("grant_type=authorization_code") && exchange.contains("code_verifier="), "{exchange}");
}

#[tokio::test]
async fn loopback_brings_the_release_to_the_terminal_that_started() {
    let service = Service::new().await;
    let started = service.start(json!({ "loopback_port": 50_000 })).await;
    let page = service.sign_in(&started).await;
    let location = header(&page, "location").unwrap();
    assert!(location.starts_with(&format!("http://127.0.0.1:50000/?state={}&release=", started.state)), "{location}");
    assert_eq!((page.status, header(&page, "referrer-policy")), (303, Some("no-referrer")));
    let release = location.split("release=").nth(1).unwrap();
    let answer = service.poll(&started.state, Some(SECRET), Some(release)).await.unwrap();
    assert_eq!(
        (status(&answer), &answer["role"], &answer["user"]),
        ("AUTHORIZED", &json!("dev"), &json!("ann@example.test"))
    );
}

#[tokio::test]
async fn the_paste_page_shows_who_is_asking_and_escapes_it() {
    let service = Service::new().await;
    let started = service.start(json!({ "device_name": "<b>\"laptop\"", "os": "linux" })).await;
    let page = service.sign_in(&started).await;
    assert!(page.html.contains("&lt;b&gt;&quot;laptop&quot;") && !page.html.contains("<b>\"laptop"), "{}", page.html);
    for part in ["127.0.0.1", "2027-01-15 08:00 UTC", "Never send it to anybody", "Deny"] {
        assert!(page.html.contains(part), "{part}");
    }
    let policy = header(&page, "content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe") && !page.html.contains("<script"));
    assert_eq!((header(&page, "cache-control"), header(&page, "x-frame-options")), (Some("no-store"), Some("DENY")));
    shown(&page);
}

#[tokio::test]
async fn a_state_is_checked_before_anybody_is_talked_to_and_used_once() {
    let service = Service::new().await;
    let started = service.start(json!({})).await;
    let unknown = started.state.chars().rev().collect::<String>();
    for query in [format!("code=good&state={unknown}"), "code=good&state=x".into(), "code=good&state=".into()] {
        assert_eq!(service.callback(&query).await.status, 410, "{query}");
    }
    for query in ["", "code=good", "state=a&state=b&code=c", "state=a&code=b&error=c"] {
        assert_eq!(service.callback(query).await.status, 400, "{query}");
    }
    assert_eq!(service.peer.count("/token") + service.peer.count("/keys"), 0);
    let (first, second) = tokio::join!(service.sign_in(&started), service.sign_in(&started));
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 410]);
    let late = service.callback(&format!("code=invented&state={}", started.state)).await;
    assert!(late.status == 410 && !late.html.contains("release"));
    assert_eq!(service.peer.count("/token"), 1);
}

#[tokio::test]
async fn declining_at_the_provider_is_denied_at_once() {
    let service = Service::new().await;
    let started = service.start(json!({})).await;
    service.callback(&format!("error=access_denied&state={}", started.state)).await;
    assert_eq!(status(&service.poll(&started.state, Some(SECRET), None).await.unwrap()), "DENIED");
    assert_eq!(service.sign_in(&started).await.status, 410);
}

/// As text in the page, and without what could steer a terminal.
#[tokio::test]
async fn what_the_provider_says_reaches_the_page_and_the_terminal() {
    let service = Service::new().await;
    for (code, expected) in [("access_denied", "DENIED"), ("invalid_scope", "PENDING")] {
        let started = service.start(json!({})).await;
        let description = "%3Cb%3Enot+assigned%3C%2Fb%3E%1B%5B31m.";
        let query = format!("error={code}&error_description={description}&state={}", started.state);
        let page = service.callback(&query).await;
        assert!(page.html.contains("&lt;b&gt;not assigned&lt;&#x2f;b&gt;[31m"), "{}", page.html);
        let said = service.poll(&started.state, Some(SECRET), None).await.unwrap();
        assert_eq!(status(&said), expected);
        assert!(said["detail"].as_str().unwrap().contains("<b>not assigned</b>[31m"), "{said}");
    }
    let started = service.start(json!({})).await;
    let body = r#"{"error":"invalid_client","error_description":"The secret has expired"}"#;
    service.peer.set(|script| script.token = Some((401, body.to_owned())));
    let page = service.sign_in(&started).await;
    assert!(page.html.contains("The secret has expired"), "{}", page.html);
    let said = service.poll(&started.state, Some(SECRET), None).await.unwrap();
    assert_eq!(status(&said), "EXPIRED");
    assert!(said["detail"].as_str().unwrap().contains("The secret has expired"), "{said}");
}

#[tokio::test]
async fn groups_that_are_no_names_keep_nobody_out_unless_a_role_needs_them() {
    let groups = json!([{ "id": 7, "name": "dev" }]);
    let service = Service::new().await;
    service.peer.set(|script| drop(script.claims.insert("groups".into(), groups.clone())));
    assert_eq!(status(&service.signed_in().await), "AUTHORIZED");
    let role = "[[role]]\nname = \"dev\"\narn = \"arn:aws:iam::123456789012:role/dev\"\ngroups = [\"dev\"]\n";
    let service = Service::with(role).await;
    service.peer.set(|script| drop(script.claims.insert("groups".into(), groups.clone())));
    let started = service.start(json!({})).await;
    let release = shown(&service.sign_in(&started).await);
    let refused = service.poll(&started.state, Some(SECRET), Some(&release)).await.unwrap_err();
    assert!(refused.detail.contains("the claim groups is not a list of names"), "{}", refused.detail);
}

#[tokio::test]
async fn a_provider_that_fails_before_it_took_the_code_leaves_the_login_open() {
    let service = Service::new().await;
    let started = service.start(json!({})).await;
    for answer in [(503, "{}"), (500, "<html>"), (429, "{\"error\":\"slow_down\"}")] {
        service.peer.set(|script| script.token = Some((answer.0, answer.1.into())));
        assert_eq!(service.sign_in(&started).await.status, 503, "{answer:?}");
        assert_eq!(status(&service.poll(&started.state, Some(SECRET), None).await.unwrap()), "PENDING");
    }
    service.callback(&format!("error=temporarily_unavailable&state={}", started.state)).await;
    service.peer.set(|script| script.token = None);
    let release = shown(&service.sign_in(&started).await);
    assert_eq!(status(&service.poll(&started.state, Some(SECRET), Some(&release)).await.unwrap()), "AUTHORIZED");
}

#[tokio::test]
async fn a_code_that_was_spent_in_vain_ends_the_login() {
    let service = Service::new().await;
    for answer in
        [(400, "{\"error\":\"invalid_grant\"}"), (200, "{}"), (200, "nonsense"), (200, "{\"id_token\":\"a.b.c\"}")]
    {
        let started = service.start(json!({})).await;
        service.peer.set(|script| script.token = Some((answer.0, answer.1.into())));
        assert_eq!(service.sign_in(&started).await.status, 502, "{answer:?}");
        assert_eq!(status(&service.poll(&started.state, Some(SECRET), None).await.unwrap()), "EXPIRED");
    }
}

#[tokio::test]
async fn an_id_token_that_does_not_hold_signs_nobody_in() {
    let service = Service::new().await;
    for claims in [
        json!({ "nonce": "of another login" }),
        json!({ "aud": "another client" }),
        json!({ "iss": "https://elsewhere.example" }),
        json!({ "exp": 1_700_000_000 }),
        json!({ "nbf": 1_900_000_000 }),
    ] {
        let started = service.start(json!({})).await;
        service.peer.set(|script| script.claims = claims.as_object().unwrap().clone());
        assert_eq!(service.sign_in(&started).await.status, 502, "{claims}");
    }
    service.peer.set(|script| script.claims.clear());
    // The key carries its algorithm: one that is public must not be taken for a symmetric one.
    service.peer.set(|script| script.signs_symmetrically = true);
    let started = service.start(json!({})).await;
    assert_eq!(service.sign_in(&started).await.status, 502);
    service.peer.set(|script| script.signs_symmetrically = false);
    let started = service.start(json!({})).await;
    assert_eq!(service.sign_in(&started).await.status, 200);
}

#[tokio::test]
async fn an_unknown_key_is_fetched_but_not_over_and_over() {
    let service = Service::new().await;
    let started = service.start(json!({})).await;
    assert_eq!(service.sign_in(&started).await.status, 200);
    service.peer.new_key();
    let started = service.start(json!({})).await;
    assert_eq!(service.sign_in(&started).await.status, 200);
    assert_eq!(service.peer.count("/keys"), 2);
    service.peer.new_key();
    service.peer.set(|script| script.hides_new_key = true);
    for _ in 0..8 {
        let started = service.start(json!({})).await;
        assert_ne!(service.sign_in(&started).await.status, 200);
    }
    assert_eq!(service.peer.count("/keys"), 5);
    // A minute later it may be asked again, by the clock that nobody sets.
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_mins(1)).await;
    tokio::time::resume();
    service.peer.set(|script| script.hides_new_key = false);
    let started = service.start(json!({})).await;
    assert_eq!(service.sign_in(&started).await.status, 200);
}

#[tokio::test]
async fn a_start_is_checked() {
    let service = Service::new().await;
    let challenge = super::model::challenge(SECRET);
    for body in [
        json!({}),
        json!({ "poll_challenge": "short" }),
        json!({ "poll_challenge": challenge, "device_name": "x".repeat(129) }),
        json!({ "poll_challenge": challenge, "device_name": "a\u{202e}b" }),
        json!({ "poll_challenge": challenge, "provider": "nobody" }),
        json!({ "poll_challenge": challenge, "role": "nothing" }),
        json!({ "poll_challenge": challenge, "loopback_port": 80 }),
    ] {
        assert_eq!(service.app.refused("cli_login.start", body.clone()).await, "validation_failed", "{body}");
    }
    for _ in 0..30 {
        service.start(json!({})).await;
    }
    assert_eq!(service.app.refused("cli_login.start", json!({ "poll_challenge": challenge })).await, "rate_limited");
    service.app.clock.advance(MINUTE + SECOND);
    service.start(json!({})).await;
}

#[tokio::test]
async fn a_start_that_failed_because_of_the_provider_does_not_count() {
    // Nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let service = Service::with(&format!(
        "[[role]]\nname = \"dev\"\narn = \"arn:aws:iam::123456789012:role/dev\"\n\
         [[provider]]\nname = \"down\"\nissuer = \"http://127.0.0.1:{port}\"\nclient_id = \"client\"\n"
    ))
    .await;
    let body = json!({ "provider": "down", "poll_challenge": super::model::challenge(SECRET) });
    let counted = async || {
        let query = crate::db::Query::new("SELECT CAST(COALESCE(SUM(count), 0) AS BIGINT) FROM ephemeral", []);
        service.app.base.db.query(query).await.unwrap()[0].cursor().int().unwrap()
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    for _ in 0..31 {
        let error = service.app.call("cli_login.start", body.clone()).await.unwrap_err();
        assert!(error.code.status() >= 500, "{}", error.detail);
        while counted().await > 0 {
            assert!(std::time::Instant::now() < deadline, "it stays counted");
            tokio::task::yield_now().await;
        }
    }
    service.start(json!({ "provider": "corp" })).await;
}

#[tokio::test]
async fn what_was_started_by_a_wrong_clock_is_void_and_refuses_nobody() {
    let service = Service::new().await;
    let year = 365 * 24 * 60 * MINUTE;
    service.app.clock.advance(year);
    let started = service.start(json!({})).await;
    for _ in 0..29 {
        service.start(json!({})).await;
    }
    let start = json!({ "poll_challenge": super::model::challenge(SECRET) });
    assert_eq!(service.app.refused("cli_login.start", start).await, "rate_limited");
    service.app.clock.advance(-year);
    service.start(json!({})).await;
    assert_ne!(service.sign_in(&started).await.status, 200, "a login of a year");
}

#[tokio::test]
async fn without_provider_or_role_a_start_says_what_to_configure() {
    let app = crate::testing::TestApp::new().await;
    let body = json!({ "poll_challenge": super::model::challenge(SECRET) });
    let error = app.call("cli_login.start", body).await.unwrap_err();
    assert_eq!(error.code.status(), 409);
    assert!(error.detail.contains("COGNITO_DOMAIN"), "{}", error.detail);
}

#[tokio::test]
async fn one_subject_and_address_at_two_issuers_are_two_persons_and_no_user() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let role = "[[role]]\nname = \"dev\"\narn = \"arn:aws:iam::123456789012:role/dev\"\n";
    let service = Service::with(&format!("{role}{}", provider("partner", &url, "/token"))).await;
    let partner = Peer::start(service.app.clock.clone(), listener);
    for (provider, peer) in [("corp", &service.peer), ("partner", &partner), ("corp", &service.peer)] {
        let started = service.start(json!({ "provider": provider })).await;
        let page = service.sign_in_at(peer, &started).await;
        let signed_in = service.poll(&started.state, Some(SECRET), Some(&shown(&page))).await.unwrap();
        assert_eq!(status(&signed_in), "AUTHORIZED", "{provider}");
    }
    let sql = "SELECT issuer || ' ' || subject || ' ' || email || ' ' || COUNT(*) FROM sessions \
         JOIN identities ON identities.id = identity_id AND identities.user_id IS NULL GROUP BY issuer, subject, email";
    let rows = service.app.base.db.query(Query::new(sql, [])).await.unwrap();
    let mut persons: Vec<_> = rows.iter().map(|row| row.cursor().string().unwrap()).collect();
    let person = |peer: &Peer, sessions: u8| format!("{} s-1 ann@example.test {sessions}", peer.url);
    let mut expected = [person(&service.peer, 2), person(&partner, 1)];
    persons.sort_unstable();
    expected.sort_unstable();
    assert_eq!(persons, expected);
    let users = service.app.call("users.list", json!({})).await.unwrap();
    assert_eq!(users["users"], json!([]));
}
