//! The pages of who is signed in: what their forms do, and what they show.

use super::*;
use crate::accounts::factors::testing::code_in_app;
use crate::env::Millis;

fn now() -> Millis {
    Env::real().now()
}

/// What stands between these two on a page.
#[track_caller]
fn between<'a>(page: &'a str, before: &str, after: &str) -> Vec<&'a str> {
    page.split(before).skip(1).map(|rest| rest.split(after).next().unwrap()).collect()
}

/// A browser of ada, who has turned TOTP on: the secret and the recovery codes.
async fn with_totp(daemon: &Daemon, browser: &mut Browser) -> (String, Vec<String>) {
    let pending = browser.post(daemon, "/dashboard/totp", "/dashboard/totp", "password=correct+horse").await;
    let secret = between(&pending.text, "id=\"secret\">", "<")[0].to_owned();
    let code = code_in_app(&secret, now());
    let form = format!("form_token={}&code={code}", hidden(&pending.text, "form_token"));
    let page = browser.send(daemon, "POST", "/dashboard/totp/confirm", &form).await;
    let codes = between(&page.text, "<li><code>", "<").into_iter().map(str::to_owned).collect();
    (secret, codes)
}

/// The status of a sign-in with the password and a code.
async fn sign_in_with(daemon: &Daemon, code: &str) -> u16 {
    let body = json!({ "username": "ada", "password": PASSWORD, "totp": code }).to_string();
    daemon.send(&post("/auth/login", "", &body)).await.status
}

#[tokio::test]
async fn every_page_of_an_account_is_only_for_who_is_signed_in_and_is_not_kept() {
    let daemon = with_ada("").await;
    let mut browser = Browser::default();
    browser.sign_in(&daemon, "").await;
    let pages = PAGES.iter().filter(|(method, path, _)| *method == Method::Get && path.starts_with("/dashboard"));
    for (_, path, _) in pages {
        let away = Browser::default().get(&daemon, path).await;
        assert_eq!((away.status, away.header("location")), (303, Some(format!("/login?return_to={path}").as_str())));
        let page = browser.get(&daemon, path).await;
        assert!(matches!(page.status, 200 | 303), "{path}: {page:?}");
        assert_eq!(page.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(page.header("x-frame-options"), Some("DENY"), "{path}");
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'; style-src 'self'; form-action 'self';"), "{path}: {policy}");
        assert!(!page.text.contains("style=\"") && !page.text.contains("onclick"), "{path}");
    }
}

#[tokio::test]
async fn totp_is_turned_on_by_its_first_code_and_shows_the_recovery_codes_once() {
    let daemon = with_ada("").await;
    let mut browser = Browser::default();
    browser.sign_in(&daemon, "").await;
    let wrong = browser.post(&daemon, "/dashboard/totp", "/dashboard/totp", "password=wrong").await;
    assert!(wrong.status == 422 && wrong.text.contains("The password is wrong."), "{wrong:?}");
    assert!(!wrong.text.contains("id=\"secret\""));

    let pending = browser.post(&daemon, "/dashboard/totp", "/dashboard/totp", "password=correct+horse").await;
    assert!(pending.status == 200 && pending.text.contains("<svg xmlns="), "{pending:?}");
    let secret = between(&pending.text, "id=\"secret\">", "<")[0].to_owned();
    assert!(pending.text.contains(&format!("secret={secret}&amp;issuer=")), "{pending:?}");
    let confirm = "/dashboard/totp/confirm";
    let wrong = browser.post(&daemon, confirm, confirm, "code=000000").await;
    assert!(wrong.status == 422 && wrong.text.contains("role=\"alert\"") && !wrong.text.contains(&secret), "{wrong:?}");
    let code = code_in_app(&secret, now());
    let page = browser.post(&daemon, confirm, confirm, &format!("code={code}")).await;
    let codes = between(&page.text, "<li><code>", "<");
    assert!(page.status == 200 && codes.len() == 10 && page.text.contains("shown only once"), "{page:?}");
    // Nobody gets them again, also not by the form.
    let again = browser.post(&daemon, confirm, confirm, &format!("code={code}")).await;
    let later = browser.get(&daemon, "/dashboard/recovery-codes").await;
    let security = browser.get(&daemon, "/dashboard/security").await;
    assert!(security.text.contains("10 left"), "{security:?}");
    for page in [&again.text, &later.text, &security.text] {
        assert!(!page.contains(codes[0]) && !page.contains(&secret), "{page}");
    }
    assert_eq!(sign_in_with(&daemon, codes[0]).await, 200);
    assert_eq!(sign_in_with(&daemon, codes[0]).await, 401, "each works once");
    assert_eq!(
        daemon.send(&post("/auth/login", "", "{\"username\":\"ada\",\"password\":\"correct horse\"}")).await.status,
        401
    );
}

#[tokio::test]
async fn new_recovery_codes_replace_the_old_and_totp_is_turned_off() {
    let daemon = with_ada("").await;
    let mut browser = Browser::default();
    browser.sign_in(&daemon, "").await;
    let (_, old) = with_totp(&daemon, &mut browser).await;
    assert_eq!(old.len(), 10);
    let renew = "/dashboard/recovery-codes";
    let refused = browser.post(&daemon, renew, renew, "password=correct+horse&code=000000").await;
    assert!(refused.status == 422 && refused.text.contains("The code is wrong"), "{refused:?}");
    let form = format!("password=correct+horse&code={}", old[0]);
    let page = browser.post(&daemon, renew, renew, &form).await;
    let new: Vec<&str> = between(&page.text, "<li><code>", "<");
    assert!(page.status == 200 && new.len() == 10 && !page.text.contains(&old[1]), "{page:?}");
    assert_eq!((sign_in_with(&daemon, &old[1]).await, sign_in_with(&daemon, new[0]).await), (401, 200));

    let off = "/dashboard/totp/disable";
    for form in ["password=correct+horse", "password=wrong&code=000000", "code=000000"] {
        let refused = browser.post(&daemon, off, off, form).await;
        assert_eq!(refused.status, 422, "{form}");
    }
    let gone = browser.post(&daemon, off, off, &format!("password=correct+horse&code={}", new[1])).await;
    assert_eq!((gone.status, gone.header("location")), (303, Some("/dashboard/security?done=totp-off")));
    let page = browser.get(&daemon, "/dashboard/security?done=totp-off").await;
    assert!(page.text.contains("is turned off") && page.text.contains("Set it up"), "{page:?}");
    assert_eq!(sign_in_with(&daemon, "").await, 200);
}

#[tokio::test]
async fn an_account_is_deleted_only_with_a_fresh_proof_and_its_cookies_with_it() {
    let daemon = with_ada("").await;
    let mut browser = Browser::default();
    browser.sign_in(&daemon, "").await;
    let (_, codes) = with_totp(&daemon, &mut browser).await;
    let delete = "/dashboard/delete";
    let page = browser.get(&daemon, delete).await;
    assert!(page.text.contains("<b>ada</b>") && page.text.contains("files that you uploaded"), "{page:?}");
    let code = format!("password=wrong&code={}", codes[0]);
    for form in ["", "password=wrong", "password=correct+horse", "password=correct+horse&code=000000", &code] {
        let refused = browser.post(&daemon, delete, delete, form).await;
        assert!(refused.status >= 400 && refused.text.contains("role=\"alert\""), "{form}: {refused:?}");
        assert_eq!(browser.get(&daemon, "/dashboard").await.status, 200, "{form}");
    }
    let form = format!("password=correct+horse&code={}", codes[0]);
    let session = browser.cookie("__Host-session").unwrap().to_owned();
    let deleted = browser.post(&daemon, delete, delete, &form).await;
    assert!(deleted.status == 200 && deleted.text.contains("Your account is deleted"), "{deleted:?}");
    assert!(browser.cookies.is_empty(), "{:?}", browser.cookies);
    browser.cookies = vec![("__Host-session".into(), session)];
    assert_eq!(browser.get(&daemon, "/dashboard").await.status, 303);
    assert_eq!(sign_in_with(&daemon, &codes[1]).await, 401);
}

#[tokio::test]
async fn a_person_changes_the_password_and_is_signed_out_elsewhere() {
    let daemon = with_ada("").await;
    let (mut browser, mut other) = (Browser::default(), Browser::default());
    browser.sign_in(&daemon, "").await;
    other.sign_in(&daemon, "").await;
    let path = "/dashboard/password";
    for (form, says) in [
        ("password=wrong&new_password=another+good+horse", "The password is wrong."),
        ("password=correct+horse&new_password=correct+horse", "This is your current password."),
        ("password=correct+horse&new_password=short", "8"),
    ] {
        let refused = browser.post(&daemon, path, path, form).await;
        assert!(refused.status == 422 && refused.text.contains(says), "{form}: {refused:?}");
        assert!(!refused.text.contains("another+good") && !refused.text.contains("another good"));
    }
    let form = "password=correct+horse&new_password=another+good+horse";
    let changed = browser.post(&daemon, path, path, form).await;
    assert_eq!((changed.status, changed.header("location")), (303, Some("/dashboard/security?done=password")));
    for (sender, is_told) in
        [("", true), ("Sec-Fetch-Site: same-origin\r\n", true), ("Sec-Fetch-Site: cross-site\r\n", false)]
    {
        browser.extra = sender.to_owned();
        let page = browser.get(&daemon, "/dashboard/security?done=password").await;
        assert_eq!((page.status, page.text.contains("role=\"status\"")), (200, is_told), "{sender}");
    }
    browser.extra.clear();
    assert_eq!(other.get(&daemon, "/dashboard").await.status, 303);
    assert_eq!(other.sign_in(&daemon, "").await.status, 401);
}

#[tokio::test]
async fn a_new_address_is_mailed_a_link_and_stays_as_typed_where_it_is_refused() {
    let mail = "[mail]\nsmtp_url = \"smtp://127.0.0.1:1\"\nfrom = \"a@example.com\"\n";
    let daemon = with_ada(mail).await;
    let mut browser = Browser::default();
    browser.sign_in(&daemon, "").await;
    let path = "/dashboard/email";
    let refused = browser.post(&daemon, path, path, "email=ada%40example.com&password=wrong").await;
    assert!(refused.status == 422 && refused.text.contains("value=\"ada@example.com\""), "{refused:?}");
    let asked = browser.post(&daemon, path, path, "email=ada%40example.com&password=correct+horse").await;
    assert_eq!((asked.status, asked.header("location")), (303, Some("/dashboard?done=email")));
    let queue = daemon.send(&request("GET", "/mails", &bearer(ADMIN), "")).await;
    assert!(queue.text.contains("email_change") && queue.text.contains("ada@example.com"), "{queue:?}");
    // Without mail there is no such link on the page.
    let daemon = with_ada("").await;
    browser = Browser::default();
    browser.sign_in(&daemon, "").await;
    assert!(!browser.get(&daemon, "/dashboard").await.text.contains("/dashboard/email"));
}

#[tokio::test]
async fn a_person_sees_what_they_may_do_and_why() {
    let daemon = with_ada("").await;
    let must = async |path: &str, body: Value| {
        let answer = daemon.send(&post(path, &bearer(ADMIN), &body.to_string())).await;
        assert!(answer.status < 300, "{path}: {answer:?}");
    };
    for service in ["shop", "billing"] {
        must("/services", json!({ "name": service })).await;
    }
    for role in ["clerk", "auditor"] {
        must("/roles", json!({ "name": role })).await;
    }
    for permission in ["orders.read", "orders.write", "bills.read"] {
        must("/permissions", json!({ "name": permission })).await;
    }
    must("/role-permissions", json!({ "role_id": "clerk", "permission_id": "orders.read" })).await;
    must("/role-permissions", json!({ "role_id": "auditor", "permission_id": "bills.read" })).await;
    must("/service-roles", json!({ "service_id": "shop", "role_id": "clerk" })).await;
    for role in ["clerk", "auditor"] {
        must("/service-roles", json!({ "service_id": "billing", "role_id": role })).await;
        must("/person-service-roles", json!({ "person_id": "ada", "service_id": "billing", "role_id": role })).await;
    }
    must("/person-service-roles", json!({ "person_id": "ada", "service_id": "shop", "role_id": "clerk" })).await;
    let direct = json!({ "person_id": "ada", "service_id": "shop", "permission_id": "orders.write" });
    must("/person-service-permissions", direct).await;
    let without = json!({ "service_id": "billing", "role_id": "auditor" }).to_string();
    let headers = format!("{}Content-Type: application/json\r\n", bearer(ADMIN));
    assert_eq!(daemon.send(&request("DELETE", "/service-roles", &headers, &without)).await.status, 200);

    let mut browser = Browser::default();
    browser.sign_in(&daemon, "").await;
    let page = browser.get(&daemon, "/dashboard/access").await.text;
    let (billing, shop) = page.split_once("<h2>shop</h2>").unwrap();
    let (_, billing) = billing.split_once("<h2>billing</h2>").unwrap();
    assert!(shop.contains("Role <b>clerk</b>") && shop.contains("<code>orders.read</code>"), "{shop}");
    assert!(shop.contains("Granted directly") && shop.contains("<code>orders.write</code>"), "{shop}");
    assert!(billing.contains("Role <b>clerk</b>") && !billing.contains("bills.read"), "{billing}");
    assert!(billing.contains("without effect") && billing.contains("<code>auditor</code>"), "{billing}");
    daemon.sign_in("bob").await;
    let mut bob = Browser::default();
    bob.post(&daemon, "/login", "/login", "username=bob&password=correct+horse").await;
    let page = bob.get(&daemon, "/dashboard/access").await;
    assert!(page.text.contains("You were granted nothing") && !page.text.contains("shop"), "{page:?}");
}

/// Whoever got the cookie before has nothing of it after a change that signs everybody else out.
#[tokio::test]
async fn a_copy_of_the_cookie_ends_with_each_change_that_ends_the_other_sessions() {
    let daemon = with_ada("").await;
    let mut browser = Browser::default();
    browser.sign_in(&daemon, "").await;
    let alone = async |browser: &mut Browser, mut copy: Browser, what: &str| {
        assert_eq!(copy.get(&daemon, "/dashboard").await.status, 303, "{what}");
        assert_eq!(browser.get(&daemon, "/dashboard").await.status, 200, "{what}");
    };
    let copy = browser.clone();
    let (secret, codes) = with_totp(&daemon, &mut browser).await;
    assert_eq!(codes.len(), 10);
    alone(&mut browser, copy, "TOTP is on").await;
    let copy = browser.clone();
    let form = format!("password=correct+horse&code={}", codes[0]);
    let off = browser.post(&daemon, "/dashboard/totp/disable", "/dashboard/totp/disable", &form).await;
    assert_eq!(off.header("location"), Some("/dashboard/security?done=totp-off"), "{secret} {}", off.text);
    alone(&mut browser, copy, "TOTP is off").await;
    let copy = browser.clone();
    let form = "password=correct+horse&new_password=another+good+horse";
    assert_eq!(browser.post(&daemon, "/dashboard/password", "/dashboard/password", form).await.status, 303);
    alone(&mut browser, copy, "another password").await;
}
