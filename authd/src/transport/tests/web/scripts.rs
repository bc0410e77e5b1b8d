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

/// A form with a token and these files.
fn upload_form(token: &str, files: &[(&str, &str)]) -> String {
    let token = format!("--x\r\nContent-Disposition: form-data; name=\"form_token\"\r\n\r\n{token}\r\n");
    let file = |(name, content): &(&str, &str)| {
        format!("--x\r\nContent-Disposition: form-data; name=\"files\"; filename=\"{name}\"\r\n\r\n{content}\r\n")
    };
    token + &files.iter().map(file).collect::<String>() + "--x--\r\n"
}

#[tokio::test]
async fn a_form_with_files_is_answered_by_a_page_and_only_from_authds_own() {
    let daemon = with_ada("").await;
    let mut browser = Browser::default();
    let away = browser.get(&daemon, "/dashboard/files").await;
    assert_eq!((away.status, away.header("location")), (303, Some("/login?return_to=/dashboard/files")));
    browser.sign_in(&daemon, "").await;
    let page = browser.get(&daemon, "/dashboard/files").await;
    assert_eq!((page.status, page.header("cache-control")), (200, Some("no-store")), "{page:?}");
    assert!(page.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
    assert!(page.text.contains("There are no files yet") && page.text.contains("0 bytes of 1 GiB used, 0 of 10,000"));
    let token = hidden(&page.text, "form_token");
    let cookie = format!("Cookie: __Host-session={}\r\n", browser.cookie("__Host-session").unwrap());
    let send = async |headers: &str, form: &str| {
        let head = format!("{headers}Accept: text/html,*/*;q=0.8\r\nContent-Type: multipart/form-data; boundary=x\r\n");
        daemon.send(&request("POST", "/upload", &head, form)).await
    };
    let own = format!("{cookie}Sec-Fetch-Site: same-origin\r\n");
    let files = [("<b>a.txt", "hello"), ("b.exe", "MZ\0")];
    let form = upload_form(&token, &files);
    for (headers, form, fault) in [
        (format!("{cookie}Sec-Fetch-Site: cross-site\r\n"), &form, "not sent by this page"),
        (format!("{own}Origin: https://evil.test\r\n"), &form, "not sent by this page"),
        (cookie.clone(), &form, "not sent by this page"),
        (own.clone(), &upload_form("x", &files), "not sent by a page of authd"),
        (own.clone(), &form.replacen("form_token", "other", 1), "not sent by a page of authd"),
    ] {
        let refused = send(&headers, form).await;
        assert_eq!(refused.status, 403, "{headers}");
        assert!(refused.text.contains(fault) && refused.text.contains("There are no files yet"), "{}", refused.text);
    }
    let form = upload_form(&token, &files);
    let stored = send(&own, &form).await;
    assert_eq!((stored.status, stored.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(stored.text.contains("<bdi>&lt;b&gt;a.txt</bdi>: stored."), "{}", stored.text);
    assert!(stored.text.contains("<bdi>b.exe</bdi>: Its content is of no type"), "{}", stored.text);
    assert!(stored.text.contains("text, 5 bytes, since") && !stored.text.contains("<b>a.txt"), "{}", stored.text);
    let refused = send(&own, &upload_form(&token, &files[1..])).await;
    assert_eq!(refused.status, 415, "{}", refused.text);
    assert_eq!(send(&own, &form[..form.len() - 9]).await.status, 400);
    let nobody = send("Sec-Fetch-Site: same-origin\r\n", &form).await;
    assert_eq!((nobody.status, nobody.header("location")), (303, Some("/login?return_to=/dashboard/files")));
    // A program that takes pages too gets what programs get.
    let session = daemon.sign_in("ada").await;
    let json = send(&bearer(&session), &form).await;
    assert_eq!((json.status, &json.body[0]["successful"]), (200, &json!(true)));

    let key = hidden(&stored.text, "key");
    let (deletion, other) = (format!("form_token={token}&key={key}"), format!("form_token=x&key={key}"));
    assert_eq!(browser.send(&daemon, "POST", "/dashboard/files/delete", &other).await.status, 403);
    browser.extra = "Sec-Fetch-Site: cross-site\r\n".to_owned();
    assert_eq!(browser.send(&daemon, "POST", "/dashboard/files/delete", &deletion).await.status, 403);
    browser.extra = "Sec-Fetch-Site: same-origin\r\n".to_owned();
    let deleted = browser.send(&daemon, "POST", "/dashboard/files/delete", &deletion).await;
    assert_eq!((deleted.status, deleted.header("location")), (303, Some("/dashboard/files")));
    let again = browser.send(&daemon, "POST", "/dashboard/files/delete", &deletion).await;
    assert!(again.status == 404 && again.text.contains("deleted already"), "{}", again.text);
}

#[tokio::test]
async fn the_files_of_a_person_are_paged() {
    let daemon = with_ada("").await;
    let mut browser = Browser::default();
    browser.sign_in(&daemon, "").await;
    let session = daemon.sign_in("ada").await;
    let names: Vec<String> = (0..10).map(|n| format!("f{n}.txt")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "text")).collect();
    for _ in 0..6 {
        let head = format!("{}Content-Type: multipart/form-data; boundary=x\r\n", bearer(&session));
        assert_eq!(daemon.send(&request("POST", "/upload", &head, &upload_form("", &files))).await.status, 200);
    }
    let first = browser.get(&daemon, "/dashboard/files").await;
    let shown = |page: &Answer| page.text.matches("name=\"key\"").count();
    assert!(shown(&first) == 50 && !first.text.contains("Newest"), "{}", shown(&first));
    let older = first.text.split_once("?cursor=").unwrap().1.split('"').next().unwrap();
    let second = browser.get(&daemon, &format!("/dashboard/files?cursor={older}")).await;
    assert!(shown(&second) == 10 && second.text.contains("Newest") && !second.text.contains("Older"), "{second:?}");
    let wrong = browser.get(&daemon, "/dashboard/files?cursor=nonsense").await;
    assert_eq!((wrong.status, wrong.header("location")), (303, Some("/dashboard/files")));
}
