//! What takes a fresh proof, and the browser's new session after it.

use super::*;
use crate::env::HOUR;
use crate::sessions::model::FRESH;
use crate::testing::NOW;

const REMOVE: &str = "/dashboard/passkeys/remove";
const NO_PASSKEY: &str = "id=01900000-0000-7000-8000-000000000000";

#[tokio::test]
async fn a_stale_session_is_asked_for_a_proof_and_the_browser_gets_a_new_one() {
    let (env, clock) = Env::fixed(NOW);
    let daemon = Daemon::start_in("", env).await;
    daemon.sign_in("ada").await;
    let mut browser = Browser::default();
    browser.sign_in(&daemon, "").await;
    let verify = "/dashboard/verify?return_to=/dashboard/security";
    let remove = async |browser: &mut Browser| browser.post(&daemon, "/dashboard/security", REMOVE, NO_PASSKEY).await;
    assert_eq!(remove(&mut browser).await.status, 404, "a fresh session may, but there is none");
    let on = browser.get(&daemon, verify).await;
    assert_eq!((on.status, on.header("location")), (303, Some("/dashboard/security")));

    clock.advance(FRESH);
    let asked = remove(&mut browser).await;
    assert_eq!((asked.status, asked.header("location")), (303, Some(verify)));
    let page = browser.get(&daemon, verify).await;
    assert!(page.status == 200 && page.text.contains("Is it you?"), "{page:?}");
    assert_eq!(hidden(&page.text, "return_to"), "/dashboard/security");
    let old = browser.cookie("__Host-session").unwrap().to_owned();
    let wrong = browser.post(&daemon, verify, "/dashboard/verify", "password=wrong").await;
    assert!(wrong.status == 422 && wrong.text.contains("The password is wrong."), "{wrong:?}");
    assert_eq!(browser.cookie("__Host-session"), Some(old.as_str()));
    assert_eq!(remove(&mut browser).await.status, 303, "it is as stale as before");

    let form = "password=correct+horse&return_to=/dashboard/security";
    let proved = browser.post(&daemon, verify, "/dashboard/verify", form).await;
    assert_eq!((proved.status, proved.header("location")), (303, Some("/dashboard/security")));
    let new = browser.cookie("__Host-session").unwrap().to_owned();
    assert_ne!(new, old, "a step-up changes the cookie");
    assert_eq!(remove(&mut browser).await.status, 404, "and the session is fresh");
    let mut before = Browser { cookies: vec![("__Host-session".into(), old)], ..Browser::default() };
    assert_eq!(before.get(&daemon, "/dashboard").await.status, 303, "the old cookie is worth nothing");
    let list = daemon.send(&request("GET", "/sessions?kind=web", &bearer(ADMIN), "")).await;
    let sessions = list.body["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 1, "{list:?}");
    let times = (&sessions[0]["created_at"], &sessions[0]["expires_at"]);
    assert_eq!(times, (&json!("2027-01-15T08:00:00Z"), &json!("2027-01-15T20:00:00Z")), "no longer than the sign-in's");
    clock.advance(HOUR);
    assert_eq!(browser.get(&daemon, "/dashboard").await.status, 303, "idle as any other");
}

#[tokio::test]
async fn a_browsers_session_becomes_fresh_only_with_a_new_cookie() {
    let (env, clock) = Env::fixed(NOW);
    let daemon = Daemon::start_in("", env).await;
    daemon.sign_in("ada").await;
    let mut browser = Browser::default();
    browser.sign_in(&daemon, "").await;
    clock.advance(FRESH);
    let cookie = format!("Cookie: __Host-session={}\r\n", browser.cookie("__Host-session").unwrap());
    let headers = format!("{cookie}Sec-Fetch-Site: same-origin\r\n");
    let body = json!({ "password": PASSWORD }).to_string();
    let answer = daemon.send(&post("/auth/reauthenticate", &headers, &body)).await;
    assert_eq!((answer.status, &answer.body["error"]), (409, &json!("conflict")), "{answer:?}");
    let asked = browser.post(&daemon, "/dashboard/security", REMOVE, NO_PASSKEY).await;
    assert_eq!(asked.status, 303, "it is as stale as before");
}

/// The page of a device, with what may be a state.
const DEVICE: &str = "/auth/cli/local?state=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[tokio::test]
async fn after_a_proof_the_browser_goes_to_a_page_of_the_account() {
    let (env, clock) = Env::fixed(NOW);
    let toml = "[server]\npublic_url = \"https://auth.example.com\"\n[web]\ncookie_domain = \"example.com\"\n";
    let daemon = Daemon::start_in(toml, env).await;
    daemon.sign_in("ada").await;
    let mut browser = Browser::default();
    browser.sign_in(&daemon, "").await;
    for (asked, target) in [
        ("/dashboard/delete", "/dashboard/delete"),
        (DEVICE, DEVICE),
        (&DEVICE[..60], "/dashboard"),
        ("/dashboard/verify", "/dashboard"),
        ("/dashboard/sessions/end-all", "/dashboard"),
        ("/logout", "/dashboard"),
        ("https://app.example.com/", "/dashboard"),
        ("//evil.test/dashboard", "/dashboard"),
        ("/dashboard/../docs", "/dashboard"),
        ("/dashboardevil", "/dashboard"),
        ("", "/dashboard"),
    ] {
        clock.advance(FRESH);
        let asked = shared::wire::percent_encode(asked).to_string();
        let page = browser.get(&daemon, &format!("/dashboard/verify?return_to={asked}")).await;
        assert_eq!(hidden(&page.text, "return_to"), target, "{asked}");
        let form = format!("form_token={}&password=correct+horse&return_to={asked}", hidden(&page.text, "form_token"));
        let proved = browser.send(&daemon, "POST", "/dashboard/verify", &form).await;
        assert_eq!((proved.status, proved.header("location")), (303, Some(target)), "{asked}");
    }
}
