//! Sign-in with a browser over HTTP: cookies, forms and where they lead.

mod account;
mod by_mail;
mod device;
mod identities;
mod mounted;
mod proxied;
mod scripts;
mod step_up;

use shared::op::Method;

use super::*;
use crate::transport::browser::web::Web;
use crate::transport::pages::{PAGES, Page};

const PASSWORD: &str = "correct horse";

/// A browser: its cookies, and what it says about where a form comes from.
#[derive(Clone, Default)]
struct Browser {
    cookies: Vec<(String, String)>,
    /// Headers of its own.
    extra: String,
}

impl Browser {
    fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    async fn send(&mut self, daemon: &Daemon, method: &str, path: &str, form: &str) -> Answer {
        let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookie = if pairs.is_empty() { String::new() } else { format!("Cookie: {}\r\n", pairs.join("; ")) };
        let media = if form.is_empty() { "" } else { "Content-Type: application/x-www-form-urlencoded\r\n" };
        let answer = daemon.send(&request(method, path, &format!("{cookie}{media}{}", self.extra), form)).await;
        for header in answer.headers("set-cookie") {
            let (name, rest) = header.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            self.cookies.retain(|(other, _)| other != name);
            if !rest.contains("Max-Age=0") {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        answer
    }

    async fn get(&mut self, daemon: &Daemon, path: &str) -> Answer {
        self.send(daemon, "GET", path, "").await
    }

    /// The token of the form on a page.
    async fn form_token(&mut self, daemon: &Daemon, path: &str) -> String {
        let page = self.get(daemon, path).await;
        hidden(&page.text, "form_token")
    }

    /// Sends the form of a page, with these fields.
    async fn post(&mut self, daemon: &Daemon, page: &str, path: &str, fields: &str) -> Answer {
        let token = self.form_token(daemon, page).await;
        self.send(daemon, "POST", path, &format!("form_token={token}&{fields}")).await
    }

    /// The form to sign in, filled in, with more fields.
    async fn sign_in(&mut self, daemon: &Daemon, more: &str) -> Answer {
        let token = self.form_token(daemon, "/login").await;
        let form = format!("form_token={token}&username=ada&password={}{more}", PASSWORD.replace(' ', "+"));
        self.send(daemon, "POST", "/login", &form).await
    }
}

/// The value of a hidden field.
#[track_caller]
fn hidden(page: &str, name: &str) -> String {
    let field = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("no {name}: {page}")).1;
    field.split('"').next().unwrap().replace("&#x2f;", "/").replace("&amp;", "&")
}

async fn with_ada(toml: &str) -> Daemon {
    let daemon = Daemon::start(toml).await;
    daemon.sign_in("ada").await;
    daemon
}

/// A site whose name leads here (DNS rebinding) gets none of the pages that do something. Programs are not asked.
#[tokio::test]
async fn pages_are_not_at_a_name_that_somebody_else_can_have() {
    let start =
        async |more: &str| Daemon::start(&format!("[server]\npublic_url = \"https://auth.example.com\"\n{more}")).await;
    let get = |path: &str, host: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let (plain, named) = (start("").await, start("hosts = [\"authd.internal.example\"]").await);
    let proxied = start("trusted_proxies = [\"127.0.0.1\"]").await;
    for (daemon, host, served) in [
        (&plain, "auth.example.com", true),
        (&plain, "localhost:8080", true),
        (&plain, "evil.example", false),
        (&plain, "authd.internal.example", false),
        (&named, "authd.internal.example:8080", true),
        (&named, "evil.example", false),
        (&proxied, "evil.example\r\nX-Forwarded-For: 192.0.2.7", true),
        (&proxied, "evil.example", false),
    ] {
        for path in ["/login", "/dashboard", "/account/reset", "/auth/cli/callback?state=x&code=y", "/auth/google"] {
            let answer = daemon.send(&get(path, host)).await;
            assert_eq!(answer.status != 421, served, "{host} {path}: {answer:?}");
            assert!(served || answer.text.contains("It is at https:&#x2f;&#x2f;auth.example.com."), "{answer:?}");
        }
        for path in ["/", "/docs", "/health", "/style.css"] {
            assert_eq!(daemon.send(&get(path, host)).await.status, 200, "{host} {path}");
        }
    }
    let form = "POST /login HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(plain.send(form).await.status, 421);
}

#[tokio::test]
async fn a_person_signs_in_and_out() {
    let daemon = with_ada("").await;
    let mut browser = Browser::default();
    let away = browser.get(&daemon, "/dashboard").await;
    assert_eq!((away.status, away.header("location")), (303, Some("/login?return_to=/dashboard")));
    let signed_in = browser.sign_in(&daemon, "").await;
    assert_eq!((signed_in.status, signed_in.header("location")), (303, Some("/dashboard")));
    let cookies = signed_in.headers("set-cookie");
    let session = browser.cookie("__Host-session").unwrap().to_owned();
    assert!(cookies.contains(&format!("__Host-session={session}; Path=/; Secure; HttpOnly; SameSite=Lax").as_str()));
    assert_eq!(browser.cookie("__Host-login"), None, "what the form was bound to ends with it");
    let again = browser.get(&daemon, "/login").await;
    assert_eq!((again.status, again.header("location")), (303, Some("/dashboard")), "who is signed in goes on");

    let page = browser.get(&daemon, "/dashboard").await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("User name<br><small>ada</small>") && page.text.contains("(this one)"), "{}", page.text);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'; style-src 'self'; form-action 'self';"), "{policy}");
    assert_eq!(page.header("cache-control"), Some("no-store"));

    let form = format!("form_token={}", hidden(&page.text, "form_token"));
    let out = browser.send(&daemon, "POST", "/logout", &form).await;
    assert_eq!((out.status, out.header("location")), (303, Some("/login")));
    assert!(browser.cookies.is_empty(), "{:?}", browser.cookies);
    browser.cookies = vec![("__Host-session".into(), session)];
    assert_eq!(browser.get(&daemon, "/dashboard").await.status, 303, "the session has ended");
    assert!(browser.cookies.is_empty(), "and its cookie is cleared");
}

#[tokio::test]
async fn another_sign_in_ends_the_session_that_the_browser_had() {
    let daemon = with_ada("").await;
    let mut browser = Browser::default();
    browser.sign_in(&daemon, "").await;
    let mut before = Browser { cookies: browser.cookies.clone(), ..Browser::default() };
    // A form that was open all the time.
    let mut other = Browser::default();
    let token = other.form_token(&daemon, "/login").await;
    browser.cookies.extend(other.cookies.clone());
    let form = format!("form_token={token}&username=ada&password=correct+horse");
    assert_eq!(browser.send(&daemon, "POST", "/login", &form).await.status, 303);
    assert_eq!(browser.get(&daemon, "/dashboard").await.status, 200);
    assert_eq!(before.get(&daemon, "/dashboard").await.status, 303);
}

#[tokio::test]
async fn a_form_that_authds_own_page_did_not_send_changes_nothing() {
    let daemon = with_ada("").await;
    let mut browser = Browser::default();
    let answer = browser.sign_in(&daemon, "").await;
    assert_eq!(answer.status, 303);
    let good = browser.form_token(&daemon, "/dashboard").await;
    let others = Browser::default().form_token(&daemon, "/login").await;
    let own = format!("http://{}", daemon.addr);
    let cases = [
        (String::new(), String::new()),
        (String::new(), others),
        ("Sec-Fetch-Site: cross-site\r\n".to_owned(), good.clone()),
        ("Sec-Fetch-Site: same-site\r\n".to_owned(), good.clone()),
        ("Sec-Fetch-Site: none\r\n".to_owned(), good.clone()),
        ("Origin: https://evil.test\r\n".to_owned(), good.clone()),
        ("Origin: null\r\n".to_owned(), good.clone()),
        (format!("Sec-Fetch-Site: same-origin\r\nOrigin: {own}.evil.test\r\n"), good.clone()),
    ];
    let forms = PAGES.iter().filter(|(method, _, page)| {
        *method == Method::Post && matches!(page, Page::Web(Web::Dashboard(_) | Web::ProveByPasskey))
    });
    for (_, path, page) in forms {
        for (headers, token) in &cases {
            browser.extra.clone_from(headers);
            let assertion =
                json!({ "credential_id": "", "client_data": "", "authenticator_data": "", "signature": "" });
            let body = match page {
                Page::Web(Web::ProveByPasskey) => {
                    json!({ "form_token": token, "return_to": "", "assertion": assertion }).to_string()
                }
                _ => format!("form_token={token}&id=1&password=correct+horse&new_password=another+horse"),
            };
            let answer = browser.send(&daemon, "POST", path, &body).await;
            assert_eq!(answer.status, 403, "{path} {headers} {token}");
            browser.extra.clear();
            assert_eq!(browser.get(&daemon, "/dashboard").await.status, 200, "{path} {headers} {token}");
        }
    }
    // The same for the sign-in: nobody is signed in to an account that they did not choose.
    for (headers, token) in &cases {
        let mut guest = Browser::default();
        let own_token = guest.form_token(&daemon, "/login").await;
        let token = if *token == good { &own_token } else { token };
        guest.extra.clone_from(headers);
        let form = format!("form_token={token}&username=ada&password=correct+horse");
        let answer = guest.send(&daemon, "POST", "/login", &form).await;
        assert_eq!((answer.status, guest.cookie("__Host-session")), (403, None), "{headers} {token}");
        assert_eq!(hidden(&answer.text, "form_token").len(), 43, "the form is there again");
        assert!(answer.text.contains("value=\"ada\"") && !answer.text.contains("horse"));
    }
    let mut without = Browser::default();
    let token = without.form_token(&daemon, "/login").await;
    without.cookies.clear();
    let form = format!("form_token={token}&username=ada&password=correct+horse");
    assert_eq!(without.send(&daemon, "POST", "/login", &form).await.status, 403);

    browser.extra = format!("Sec-Fetch-Site: same-origin\r\nOrigin: {own}\r\n");
    let out = browser.send(&daemon, "POST", "/logout", &format!("form_token={good}")).await;
    assert_eq!(out.header("location"), Some("/login"));
}

#[tokio::test]
async fn a_cookie_that_is_not_valid_is_cleared_and_keeps_nobody_out() {
    let daemon = with_ada("").await;
    let login = daemon.sign_in("ada").await;
    let mut live = Browser::default();
    live.sign_in(&daemon, "").await;
    let session = live.cookie("__Host-session").unwrap().to_owned();
    let name = "__Host-session".to_owned();
    for cookies in [
        vec![(name.clone(), login)],
        vec![(name.clone(), "0".repeat(64))],
        vec![(name.clone(), "x".repeat(4000))],
        vec![(name.clone(), session.clone()), (name.clone(), session.clone())],
        vec![(name.clone(), session.clone()), (name.clone(), "0".repeat(64))],
    ] {
        let mut browser = Browser { cookies: cookies.clone(), ..Browser::default() };
        assert_eq!(browser.get(&daemon, "/dashboard").await.status, 303, "{cookies:?}");
        assert!(browser.cookies.is_empty(), "{cookies:?}");
        let mut browser = Browser { cookies, ..Browser::default() };
        assert_eq!(browser.sign_in(&daemon, "").await.status, 303);
        assert_eq!(browser.get(&daemon, "/dashboard").await.status, 200);
    }
    assert_eq!(live.get(&daemon, "/dashboard").await.status, 200);
}

#[tokio::test]
async fn after_the_sign_in_the_browser_goes_only_where_it_may() {
    let daemon = with_ada("").await;
    for (target, to) in [
        ("/docs?a=b", "/docs?a=b"),
        ("https://evil.test/", "/dashboard"),
        ("//evil.test", "/dashboard"),
        ("/\\evil.test", "/dashboard"),
        ("javascript:alert(1)", "/dashboard"),
    ] {
        let target = shared::wire::percent_encode(target).to_string();
        let mut browser = Browser::default();
        let answer = browser.sign_in(&daemon, &format!("&return_to={target}")).await;
        assert_eq!((answer.status, answer.header("location")), (303, Some(to)), "{target}");
        // The page is asked with it too.
        let page = browser.get(&daemon, &format!("/login?return_to={target}")).await;
        assert_eq!((page.status, page.header("location")), (303, Some(to)), "{target}");
        let page = Browser::default().get(&daemon, &format!("/login?return_to={target}")).await;
        let shown = hidden(&page.text, "return_to");
        assert_eq!(shown.is_empty(), to == "/dashboard", "{target}: {shown}");
    }
}

#[tokio::test]
async fn with_a_cookie_domain_its_hosts_have_the_cookie_and_may_be_returned_to() {
    let toml = "[server]\npublic_url = \"https://auth.example.com\"\n[web]\ncookie_domain = \".Example.com\"";
    let daemon = with_ada(toml).await;
    let mut browser = Browser::default();
    let answer = browser.sign_in(&daemon, "&return_to=https://app.example.com/a").await;
    assert_eq!(answer.header("location"), Some("https://app.example.com/a"));
    let session = browser.cookie("__Secure-session").unwrap().to_owned();
    let expected = format!("__Secure-session={session}; Domain=example.com; Path=/; Secure; HttpOnly; SameSite=Lax");
    assert!(answer.headers("set-cookie").contains(&expected.as_str()));
    let page = browser.get(&daemon, "/dashboard").await;
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("form-action 'self' https://example.com:* https://*.example.com:*;"), "{policy}");
    // The other name is not a session here.
    let mut other = Browser { cookies: vec![("__Host-session".into(), session)], ..Browser::default() };
    assert_eq!(other.get(&daemon, "/dashboard").await.status, 303);
}

#[tokio::test]
async fn over_plain_http_to_another_host_the_page_says_what_is_missing() {
    let daemon = with_ada("[server]\npublic_url = \"http://auth.example.com\"").await;
    let page = Browser::default().get(&daemon, "/login").await;
    assert_eq!(page.status, 503);
    assert!(page.text.contains("AUTHD_PUBLIC_URL"), "{}", page.text);
}

#[tokio::test]
async fn a_wrong_password_is_told_and_nothing_else_is() {
    let daemon = with_ada("").await;
    let mut texts = Vec::new();
    for (username, password) in [("ada", "wrong"), ("nobody", "wrong"), ("ada%20", "x"), ("", "")] {
        let mut browser = Browser::default();
        let token = browser.form_token(&daemon, "/login").await;
        let form = format!("form_token={token}&username={username}&password={password}");
        let answer = browser.send(&daemon, "POST", "/login", &form).await;
        assert_eq!((answer.status, browser.cookie("__Host-session")), (401, None), "{username}");
        let text = answer.text.split("role=\"alert\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
        texts.push(text);
    }
    texts.dedup();
    assert_eq!(texts, ["The user name or the password is wrong."]);
}

#[tokio::test]
async fn names_are_shown_as_text() {
    let daemon = Daemon::start("").await;
    let body = json!({ "username": "ada", "password": PASSWORD, "name": "<script>alert(1)</script>" }).to_string();
    assert_eq!(daemon.send(&post("/users", &bearer(ADMIN), &body)).await.status, 201);
    let mut browser = Browser::default();
    browser.sign_in(&daemon, "").await;
    let page = browser.get(&daemon, "/dashboard").await;
    assert!(page.text.contains("&lt;script&gt;alert(1)&lt;") && !page.text.contains("<script"), "{}", page.text);
    let token = browser.form_token(&daemon, "/dashboard").await;
    let form = format!("form_token={token}&username=%22%3E%3Cscript%3E&password=x");
    let page = Browser::default().send(&daemon, "POST", "/login", &form).await;
    assert!(page.text.contains("value=\"&quot;&gt;&lt;script&gt;\""), "{}", page.text);
}

#[tokio::test]
async fn a_person_ends_one_session_or_all() {
    let daemon = with_ada("").await;
    let (mut one, mut two) = (Browser::default(), Browser::default());
    one.sign_in(&daemon, "").await;
    two.sign_in(&daemon, "").await;
    let page = one.get(&daemon, "/dashboard").await;
    let (token, id) = (hidden(&page.text, "form_token"), hidden(&page.text, "id"));
    let answer = one.send(&daemon, "POST", "/dashboard/sessions/end", &format!("form_token={token}&id={id}")).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/dashboard")));
    assert_eq!(two.get(&daemon, "/dashboard").await.status, 303);
    let answer = one.send(&daemon, "POST", "/dashboard/sessions/end", &format!("form_token={token}&id=nonsense")).await;
    assert_eq!(answer.status, 404);
    two.sign_in(&daemon, "").await;
    let answer = one.send(&daemon, "POST", "/dashboard/sessions/end-all", &format!("form_token={token}")).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/login")));
    assert!(one.cookies.is_empty());
    assert_eq!(two.get(&daemon, "/dashboard").await.status, 303);
}
