//! What scripts and forms of authd's own pages send with the session's cookie.

use super::*;

#[tokio::test]
async fn an_operation_takes_the_cookie_only_from_authds_own_pages_and_only_for_the_person() {
    let daemon = with_ada("").await;
    let mut browser = Browser::default();
    browser.sign_in(&daemon, "").await;
    let own = format!("http://{}", daemon.addr);
    let cookie = format!("Cookie: __Host-session={}\r\n", browser.cookie("__Host-session").unwrap());
    let status = async |method: &str, path: &str, headers: &str| {
        daemon.send(&request(method, path, &format!("{cookie}{headers}"), "")).await.status
    };
    let own = format!("Sec-Fetch-Site: same-origin\r\nOrigin: {own}\r\n");
    for headers in [
        String::new(),
        "Sec-Fetch-Site: cross-site\r\n".to_owned(),
        "Sec-Fetch-Site: same-site\r\n".to_owned(),
        "Origin: https://evil.test\r\n".to_owned(),
        own.replace("Origin: http", "Origin: https"),
    ] {
        assert_eq!(status("GET", "/session", &headers).await, 401, "{headers}");
        assert_eq!(status("DELETE", "/auth/sessions", &headers).await, 401, "{headers}");
    }
    assert_eq!(status("GET", "/session", &own).await, 200);
    // Not for what takes a permission, and not beside a token, which is judged alone.
    assert_eq!(status("GET", "/users", &own).await, 401);
    assert_eq!(status("GET", "/session", &format!("{own}{}", bearer("nonsense"))).await, 401);
    // A form of another site has another media type.
    let json = daemon.send(&request("POST", "/auth/passkeys/options", &format!("{cookie}{own}"), "{}")).await;
    assert_eq!(json.status, 415);
    let login = daemon.sign_in("ada").await;
    let headers = format!("Cookie: __Host-session={login}\r\n{own}");
    assert_eq!(
        daemon.send(&request("GET", "/session", &headers, "")).await.status,
        401,
        "a login's token is no cookie"
    );
}

#[tokio::test]
async fn a_passkey_is_asked_for_by_the_page_that_the_browser_has() {
    let daemon = with_ada("[server]\npublic_url = \"http://localhost:8080\"").await;
    let mut browser = Browser::default();
    let token = browser.form_token(&daemon, "/login").await;
    let asked = async |browser: &mut Browser, token: &str, headers: &str| {
        browser.extra = format!("Content-Type: application/json\r\n{headers}");
        let body = json!({ "form_token": token, "return_to": "" }).to_string();
        let cookies: Vec<String> = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let head = format!("Cookie: {}\r\n{}", cookies.join("; "), browser.extra);
        daemon.send(&request("POST", "/login/passkey/options", &head, &body)).await
    };
    let options = asked(&mut browser, &token, "Sec-Fetch-Site: same-origin\r\n").await;
    assert_eq!((options.status, &options.body["rpId"]), (200, &json!("localhost")), "{options:?}");
    for (token, headers) in [
        ("", ""),
        (&token[1..], ""),
        (&token, "Origin: https://evil.test\r\n"),
        (&token, "Sec-Fetch-Site: cross-site\r\n"),
    ] {
        assert_eq!(asked(&mut browser, token, headers).await.status, 403, "{headers}");
    }
    assert_eq!(asked(&mut Browser::default(), &token, "").await.status, 403, "another browser");
}

#[tokio::test]
async fn a_browser_uploads_and_downloads_by_its_cookie_from_authds_own_pages() {
    let daemon = with_ada("").await;
    let mut browser = Browser::default();
    browser.sign_in(&daemon, "").await;
    let cookie = format!("Cookie: __Host-session={}\r\n", browser.cookie("__Host-session").unwrap());
    let own = "Sec-Fetch-Site: same-origin\r\n";
    let form = "--x\r\nContent-Disposition: form-data; name=\"files\"; filename=\"a.txt\"\r\n\r\nhello\r\n--x--\r\n";
    let upload = async |site: &str| {
        let headers = format!("{cookie}{site}Content-Type: multipart/form-data; boundary=x\r\n");
        daemon.send(&request("POST", "/upload", &headers, form)).await
    };
    for site in ["", "Sec-Fetch-Site: cross-site\r\n", "Sec-Fetch-Site: same-site\r\n"] {
        assert_eq!(upload(site).await.status, 401, "{site}");
    }
    let stored = upload(own).await;
    assert_eq!((stored.status, &stored.body[0]["successful"]), (200, &json!(true)), "{stored:?}");
    let path = format!("/files/{}", stored.body[0]["key"].as_str().unwrap());
    let download = async |site: &str| daemon.send(&request("GET", &path, &format!("{cookie}{site}"), "")).await;
    let content = download(own).await;
    assert!(content.status == 200 && content.text.ends_with("\r\n\r\nhello"), "{content:?}");
    assert_eq!(download("Sec-Fetch-Site: cross-site\r\n").await.status, 401);
}
