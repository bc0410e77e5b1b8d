//! Linking an identity over HTTP: only the person's own press begins it, and only in the same session it ends.

use super::*;

fn with_provider() -> String {
    // Nobody answers there; endpoints that are given need no discovery.
    "[[provider]]\nname = \"corp\"\nissuer = \"http://127.0.0.1:1\"\nclient_id = \"x\"\nweb = true\n\
     authorization_endpoint = \"http://127.0.0.1:1/a\"\ntoken_endpoint = \"http://127.0.0.1:1/t\"\njwks_uri = \"http://127.0.0.1:1/k\"\n"
        .to_owned()
}

async fn begin(browser: &mut Browser, daemon: &Daemon) -> (Answer, String) {
    let token = browser.form_token(daemon, "/dashboard/identities").await;
    let form = format!("form_token={token}&provider=corp");
    let left = browser.send(daemon, "POST", "/dashboard/identities/link", &form).await;
    let state = left.text.split("state=").nth(1).unwrap_or_else(|| panic!("{}", left.text));
    let state = state.split(['&', '"']).next().unwrap().to_owned();
    (left, state)
}

#[tokio::test]
async fn a_link_is_begun_by_the_persons_own_press() {
    let daemon = with_ada(&with_provider()).await;
    let mut browser = Browser::default();
    assert_eq!(browser.get(&daemon, "/dashboard/identities").await.status, 303, "for who is signed in");
    browser.sign_in(&daemon, "").await;
    let good = browser.form_token(&daemon, "/dashboard/identities").await;
    for (headers, token) in
        [("", ""), ("Sec-Fetch-Site: cross-site\r\n", good.as_str()), ("Origin: https://evil.test\r\n", good.as_str())]
    {
        for path in ["/dashboard/identities/link", "/dashboard/identities/unlink"] {
            browser.extra = headers.to_owned();
            let answer = browser.send(&daemon, "POST", path, &format!("form_token={token}&provider=corp&id=1")).await;
            assert_eq!((answer.status, answer.headers("set-cookie").len()), (403, 0), "{path} {headers} {token}");
        }
    }
    browser.extra.clear();
    let (left, _) = begin(&mut browser, &daemon).await;
    assert_eq!(left.status, 200);
    // Not a redirect: browsers would hold the policy of the form's page against the provider.
    assert!(left.text.contains("http-equiv=\"refresh\"") && browser.cookie("__Host-signin").is_some(), "{}", left.text);
    let form = format!("form_token={good}&provider=nobody");
    assert_eq!(browser.send(&daemon, "POST", "/dashboard/identities/link", &form).await.status, 404);
}

#[tokio::test]
async fn a_link_ends_in_the_session_that_began_it_or_in_nothing() {
    let daemon = with_ada(&with_provider()).await;
    let mut browser = Browser::default();
    browser.sign_in(&daemon, "").await;
    let (_, state) = begin(&mut browser, &daemon).await;
    // The session of somebody else, to whose account an attacker's identity must not come; then of nobody.
    let mut other = Browser::default();
    other.sign_in(&daemon, "").await;
    for session in [other.cookie("__Host-session"), None] {
        let mut mixed = browser.clone();
        mixed.cookies.retain(|(name, _)| name != "__Host-session");
        mixed.cookies.extend(session.map(|session| ("__Host-session".to_owned(), session.to_owned())));
        let back = format!("/auth/corp/callback?state={state}&error=access_denied");
        let answer = mixed.get(&daemon, &back).await;
        assert!(answer.status == 403 || answer.status == 303, "{}", answer.text);
        assert!(
            !answer.headers("set-cookie").iter().any(|cookie| cookie.starts_with("__Host-session")),
            "{}",
            answer.text
        );
    }
    let back = format!("/auth/corp/callback?state={state}&error=access_denied");
    let declined = browser.get(&daemon, &back).await;
    assert!(declined.status == 403 && declined.text.contains("You declined"), "{}", declined.text);
    assert_eq!(browser.cookie("__Host-signin"), None, "it has been used");
}
