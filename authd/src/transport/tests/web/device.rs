//! The page on which a person lets a device in.

use super::*;

const ROLE: &str = "[local]\nenabled = true\n\
     [[role]]\nname = \"dev\"\narn = \"arn:aws:iam::123456789012:role/dev\"\ngroups = [\"developers\"]\n";

/// The state of a login that a terminal has started, which has more fields.
async fn start(daemon: &Daemon, more: &str) -> String {
    let challenge = "x".repeat(42) + "A";
    let body = format!("{{\"device_name\":\"<b>laptop\",\"poll_challenge\":\"{challenge}\"{more}}}");
    let media = "Content-Type: application/json\r\n";
    let answer = daemon.send(&request("POST", "/auth/cli/start", media, &body)).await;
    let started = answer.body;
    let state = started["state"].as_str().unwrap_or_else(|| panic!("{started}")).to_owned();
    assert!(started["auth_url"].as_str().unwrap().ends_with(&page_of(&state)), "{started}");
    state
}

fn page_of(state: &str) -> String {
    format!("/auth/cli/local?state={state}")
}

#[tokio::test]
async fn a_person_signs_in_and_lets_their_terminal_in() {
    let daemon = with_ada(ROLE).await;
    let state = start(&daemon, ",\"loopback_port\":50123").await;
    let mut browser = Browser::default();
    let away = browser.get(&daemon, &page_of(&state)).await;
    let login = format!("/login?return_to={}", shared::wire::percent_encode(&page_of(&state)));
    assert_eq!((away.status, away.header("location")), (303, Some(login.as_str())));
    let form = browser.get(&daemon, &login).await;
    let more = format!("&return_to={}", shared::wire::percent_encode(&hidden(&form.text, "return_to")));
    let back = browser.sign_in(&daemon, &more).await;
    assert_eq!((back.status, back.header("location")), (303, Some(page_of(&state).as_str())));

    let page = browser.get(&daemon, &page_of(&state)).await;
    assert_eq!((page.status, page.header("cache-control")), (200, Some("no-store")));
    assert!(page.text.contains("&lt;b&gt;laptop") && page.text.contains("<b>ada</b>"), "{}", page.text);
    // The form's answer leads to the terminal: browsers apply the policy to that too.
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("form-action 'self' http://127.0.0.1:50123;"), "{policy}");
    let token = hidden(&page.text, "form_token");
    let form = format!("form_token={token}&state={state}&answer=continue");
    let answer = browser.send(&daemon, "POST", "/auth/cli/local", &form).await;
    let location = answer.header("location").unwrap();
    assert!(location.starts_with(&format!("http://127.0.0.1:50123/?state={state}&release=")), "{location}");
    for again in ["continue", "deny"] {
        let form = format!("form_token={token}&state={state}&answer={again}");
        assert_eq!(browser.send(&daemon, "POST", "/auth/cli/local", &form).await.status, 410);
    }
    assert_eq!(browser.get(&daemon, &page_of(&state)).await.status, 410);
}

/// Where everybody has to have a passkey, who has none is led to add one before anything else.
#[tokio::test]
async fn who_has_to_have_a_passkey_adds_one_first() {
    let required = "[server]\npublic_url = \"http://localhost:8080\"\n[passkeys]\nmode = \"required\"\n";
    let daemon = with_ada(&[required, ROLE].concat()).await;
    let state = start(&daemon, "").await;
    let mut browser = Browser::default();
    let signed_in = browser.sign_in(&daemon, "&return_to=/docs").await;
    assert_eq!((signed_in.status, signed_in.header("location")), (303, Some("/dashboard/security")));
    for path in ["/dashboard", "/dashboard/access", "/dashboard/files", &page_of(&state)] {
        let answer = browser.get(&daemon, path).await;
        assert_eq!((answer.status, answer.header("location")), (303, Some("/dashboard/security")), "{path}");
    }
    let page = browser.get(&daemon, "/dashboard/security").await;
    assert!(page.status == 200 && page.text.contains("Add one to go on"), "{}", page.text);
    let form = format!("form_token={}&state={state}&answer=continue", hidden(&page.text, "form_token"));
    let answer = browser.send(&daemon, "POST", "/auth/cli/local", &form).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/dashboard/security")));
    let out = format!("form_token={}", hidden(&page.text, "form_token"));
    let totp = format!("{out}&password={}", PASSWORD.replace(' ', "+"));
    let answer = browser.send(&daemon, "POST", "/dashboard/totp", &totp).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/dashboard/security")));
    assert_eq!(browser.send(&daemon, "POST", "/logout", &out).await.status, 303);
}

#[tokio::test]
async fn a_device_is_let_in_by_nobody_but_the_persons_own_press() {
    let daemon = with_ada(ROLE).await;
    let state = start(&daemon, "").await;
    let mut browser = Browser::default();
    browser.sign_in(&daemon, "").await;
    let good = browser.form_token(&daemon, &page_of(&state)).await;
    let others = Browser::default().form_token(&daemon, "/login").await;
    for (headers, token) in [
        ("", ""),
        ("", others.as_str()),
        ("Sec-Fetch-Site: cross-site\r\n", good.as_str()),
        ("Sec-Fetch-Site: same-site\r\n", good.as_str()),
        ("Origin: https://evil.test\r\n", good.as_str()),
    ] {
        for answer in ["continue", "deny"] {
            browser.extra = headers.to_owned();
            let form = format!("form_token={token}&state={state}&answer={answer}");
            let refused = browser.send(&daemon, "POST", "/auth/cli/local", &form).await;
            assert_eq!(refused.status, 403, "{headers} {token}");
        }
    }
    browser.extra.clear();
    // A GET does nothing, and who is not signed in cannot answer.
    let form = format!("form_token={good}&state={state}&answer=continue");
    let guest = Browser::default().send(&daemon, "POST", "/auth/cli/local", &form).await;
    assert_eq!(guest.status, 303);
    assert!(guest.header("location").unwrap().starts_with("/login?return_to=%2Fauth%2Fcli%2Flocal"));
    assert_eq!(browser.get(&daemon, &format!("/auth/cli/local?{form}")).await.status, 200);
    // Whatever else is sent is no consent.
    let form = format!("form_token={good}&state={state}&answer=yes");
    let denied = browser.send(&daemon, "POST", "/auth/cli/local", &form).await;
    assert!(denied.status == 200 && denied.text.contains("The device gets no credentials"), "{}", denied.text);
    let long = "x".repeat(5000);
    for state in [state.as_str(), "", "x", &long, "%00", "a&state=b"] {
        assert_eq!(browser.get(&daemon, &page_of(state)).await.status, 410, "{state}");
    }
}

#[tokio::test]
async fn somebody_else_can_sign_in_from_the_page() {
    let daemon = with_ada(ROLE).await;
    let state = start(&daemon, "").await;
    let mut browser = Browser::default();
    browser.sign_in(&daemon, "").await;
    let token = browser.form_token(&daemon, &page_of(&state)).await;
    let target = shared::wire::percent_encode(&page_of(&state)).to_string();
    let form = format!("form_token={token}&return_to={target}");
    let out = browser.send(&daemon, "POST", "/logout", &form).await;
    assert_eq!(out.header("location"), Some(format!("/login?return_to={target}").as_str()));
    let token = {
        browser.sign_in(&daemon, "").await;
        browser.form_token(&daemon, "/dashboard").await
    };
    let form = format!("form_token={token}&return_to=%2F%2Fevil.test");
    assert_eq!(browser.send(&daemon, "POST", "/logout", &form).await.header("location"), Some("/login"));
}

/// A login that asks anew takes no proof from before it, however fresh: the browser is asked, and not sent in a circle.
#[tokio::test]
async fn who_has_just_signed_in_proves_it_again_where_a_login_asks_for_that() {
    let daemon = with_ada(ROLE).await;
    let mut browser = Browser::default();
    browser.sign_in(&daemon, "").await;
    // Times are whole milliseconds.
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let state = start(&daemon, ",\"reauthenticate\":true").await;
    let away = browser.get(&daemon, &page_of(&state)).await;
    let verify = format!("/dashboard/verify?return_to={}", shared::wire::percent_encode(&page_of(&state)));
    assert_eq!((away.status, away.header("location")), (303, Some(verify.as_str())));
    let page = browser.get(&daemon, &verify).await;
    assert!(page.status == 200 && page.text.contains("a new proof that it is you"), "{}", page.text);
    let proof = format!(
        "form_token={}&return_to={}&password={}",
        hidden(&page.text, "form_token"),
        shared::wire::percent_encode(&page_of(&state)),
        PASSWORD.replace(' ', "+")
    );
    let proved = browser.send(&daemon, "POST", "/dashboard/verify", &proof).await;
    assert_eq!((proved.status, proved.header("location")), (303, Some(page_of(&state).as_str())));
    let page = browser.get(&daemon, &page_of(&state)).await;
    assert!(page.status == 200 && page.text.contains("Let this device in?"), "{}", page.text);
}
