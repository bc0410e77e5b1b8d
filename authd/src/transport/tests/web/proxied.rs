//! Browsers of applications behind a proxy.

use super::*;

const SHOP: &str = "[[policy]]\nname = \"shop\"\nservice = \"shop\"\nsource = \"forwarded\"\nredirect_to_login = true\n\
    [[policy.rule]]\npaths = [\"/orders\"]\npermissions = [\"orders.read\"]\n";

/// A shop whose orders ada may read.
async fn shop() -> Daemon {
    let toml = "[server]\npublic_url = \"https://auth.example.com\"\n[web]\ncookie_domain = \"example.com\"\n";
    let daemon = with_ada(&format!("{toml}{SHOP}")).await;
    for (path, body) in [
        ("/services", json!({ "name": "shop" })),
        ("/permissions", json!({ "name": "orders.read" })),
        (
            "/person-service-permissions",
            json!({ "person_id": "ada", "service_id": "shop", "permission_id": "orders.read" }),
        ),
    ] {
        let answer = daemon.send(&post(path, &bearer(ADMIN), &body.to_string())).await;
        assert!(answer.status < 300, "{path}: {answer:?}");
    }
    daemon
}

/// What a proxy in front of the shop asks about a browser's request.
async fn asked(daemon: &Daemon, browser: &mut Browser, headers: &str) -> Answer {
    let forwarded = "X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /orders?a=b&c=d\r\nX-Forwarded-Host: app.example.com\r\n\
        X-Forwarded-Proto: https\r\n";
    browser.extra = format!("{forwarded}{headers}");
    let answer = browser.get(daemon, "/auth/forward/shop").await;
    browser.extra.clear();
    answer
}

#[tokio::test]
async fn a_proxy_is_told_who_a_browser_is_by_its_cookie() {
    let daemon = shop().await;
    let mut browser = Browser::default();
    assert_eq!(asked(&daemon, &mut browser, "").await.status, 401);
    assert_eq!(browser.sign_in(&daemon, "").await.status, 303);
    let answer = asked(&daemon, &mut browser, "").await;
    assert_eq!((answer.status, answer.header("x-auth-name")), (200, Some("ada")));
    // A cookie holds a browser's session alone, and the header counts where both are there.
    let login = daemon.sign_in("ada").await;
    let mut other = Browser { cookies: vec![("__Secure-session".into(), login.clone())], ..Browser::default() };
    assert_eq!(asked(&daemon, &mut other, "").await.status, 401);
    assert_eq!(asked(&daemon, &mut other, &bearer(&login)).await.status, 200);
    assert_eq!(asked(&daemon, &mut browser, &bearer("nonsense")).await.status, 401);
    // The name without a domain is not the one of this configuration.
    let session = browser.cookie("__Secure-session").unwrap().to_owned();
    let mut host = Browser { cookies: vec![("__Host-session".into(), session)], ..Browser::default() };
    assert_eq!(asked(&daemon, &mut host, "").await.status, 401);
}

#[tokio::test]
async fn a_browser_that_is_not_signed_in_is_sent_to_the_sign_in_and_back() {
    let daemon = shop().await;
    let page = "Sec-Fetch-Mode: navigate\r\n";
    let sent = asked(&daemon, &mut Browser::default(), page).await;
    let there = "https://auth.example.com/login?return_to=https%3A%2F%2Fapp.example.com%2Forders%3Fa%3Db%26c%3Dd";
    assert_eq!((sent.status, sent.header("location")), (303, Some(there)));
    assert_eq!(asked(&daemon, &mut Browser::default(), "Accept: text/html,*/*\r\n").await.status, 303);
    let path = there.strip_prefix("https://auth.example.com").unwrap();
    let back = "https://app.example.com/orders?a=b&c=d";
    assert_eq!(hidden(&Browser::default().get(&daemon, path).await.text, "return_to"), back);
    // As nginx writes it.
    let raw = "/login?return_to=https://app.example.com/orders?a=b&c=d";
    assert_eq!(hidden(&Browser::default().get(&daemon, raw).await.text, "return_to"), back);
    // Scripts, images and forms get the status.
    for headers in ["", "Sec-Fetch-Mode: cors\r\nAccept: text/html\r\n", "Accept: image/png\r\n"] {
        assert_eq!(asked(&daemon, &mut Browser::default(), headers).await.status, 401, "{headers}");
    }
    let post = "X-Forwarded-Method: POST\r\nX-Forwarded-Uri: /orders\r\nX-Forwarded-Host: app.example.com\r\n";
    let mut browser = Browser { extra: format!("{post}{page}"), ..Browser::default() };
    assert_eq!(browser.get(&daemon, "/auth/forward/shop").await.status, 401);
    // Who is signed in and may not is not sent to sign in again.
    browser.extra.clear();
    daemon.sign_in("bob").await;
    let token = browser.form_token(&daemon, "/login").await;
    let form = format!("form_token={token}&username=bob&password=correct+horse");
    assert_eq!(browser.send(&daemon, "POST", "/login", &form).await.status, 303);
    assert_eq!(asked(&daemon, &mut browser, page).await.status, 403);
    // A host elsewhere is not returned to, whatever a proxy says.
    let evil = "X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /\r\nX-Forwarded-Host: evil.test\r\n";
    let mut browser = Browser { extra: format!("{evil}{page}"), ..Browser::default() };
    let sent = browser.get(&daemon, "/auth/forward/shop").await;
    browser.extra.clear();
    if let Some(there) = sent.header("location") {
        let page = browser.get(&daemon, there.strip_prefix("https://auth.example.com").unwrap()).await;
        assert_eq!(hidden(&page.text, "return_to"), "");
    }
}
