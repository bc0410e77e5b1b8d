//! Asking for a mail in the browser: to sign up, and for another password.

use super::*;

const MAIL: &str = "[mail]\nsmtp_url = \"smtp://127.0.0.1:1?tls=none\"\nfrom = \"a@example.com\"\n";

async fn ask(browser: &mut Browser, daemon: &Daemon, path: &str, email: &str) -> Answer {
    let token = browser.form_token(daemon, path).await;
    browser.send(daemon, "POST", path, &format!("form_token={token}&email={}", email.replace('@', "%40"))).await
}

/// How many mails wait.
async fn mails(daemon: &Daemon) -> usize {
    let list = daemon.send(&request("GET", "/mails", &bearer(ADMIN), "")).await;
    list.body["mails"].as_array().unwrap_or_else(|| panic!("{list:?}")).len()
}

#[tokio::test]
async fn the_pages_say_the_same_whether_an_address_is_known_or_not() {
    let daemon = with_ada(&format!("{MAIL}[accounts]\nsign_up = \"open\"\n")).await;
    let mut browser = Browser::default();
    let login = browser.get(&daemon, "/login").await;
    assert!(login.text.contains("href=\"/signup\"") && login.text.contains("href=\"/forgot-password\""));
    for path in ["/signup", "/forgot-password"] {
        let [known, unknown] = ["ada@example.com", "eve@example.com"].map(str::to_owned);
        let (one, two) =
            (ask(&mut browser, &daemon, path, &known).await, ask(&mut browser, &daemon, path, &unknown).await);
        assert_eq!((one.status, two.status), (200, 200), "{path}");
        assert!(one.text.contains("a mail is on its way"), "{}", one.text);
        assert_eq!(page_of(&one).replace(&known, "X"), page_of(&two).replace(&unknown, "X"), "{path}");
        assert_eq!(one.header("cache-control"), Some("no-store"));
        let wrong = ask(&mut browser, &daemon, path, "nobody").await;
        assert!(wrong.status == 422 && wrong.text.contains("role=\"alert\""), "{}", wrong.text);
    }
}

/// What a page shows, without the token of its form.
fn page_of(answer: &Answer) -> String {
    answer.text.split_once("<main").unwrap().1.to_owned()
}

#[tokio::test]
async fn a_form_of_another_site_mails_nothing() {
    let daemon = with_ada(&format!("{MAIL}[accounts]\nsign_up = \"open\"\n")).await;
    for path in ["/signup", "/forgot-password"] {
        let mut browser = Browser::default();
        let good = browser.form_token(&daemon, path).await;
        for (headers, token) in [
            ("", ""),
            ("Sec-Fetch-Site: cross-site\r\n", good.as_str()),
            ("Origin: https://evil.test\r\n", good.as_str()),
        ] {
            browser.extra = headers.to_owned();
            let form = format!("form_token={token}&email=ada%40example.com");
            assert_eq!(browser.send(&daemon, "POST", path, &form).await.status, 403, "{path} {headers}");
        }
        let form = format!("form_token={good}&email=ada%40example.com");
        assert_eq!(Browser::default().send(&daemon, "POST", path, &form).await.status, 403, "without its cookie");
    }
    assert_eq!(mails(&daemon).await, 0);
    let answer = ask(&mut Browser::default(), &daemon, "/signup", "ada@example.com").await;
    assert_eq!((answer.status, mails(&daemon).await), (200, 1));
}

#[tokio::test]
async fn what_is_not_offered_has_no_link_and_no_page() {
    for (toml, signup, reset) in [("", 404, 404), (MAIL, 404, 200)] {
        let daemon = with_ada(toml).await;
        let mut browser = Browser::default();
        let login = browser.get(&daemon, "/login").await;
        assert!(!login.text.contains("/signup"));
        assert_eq!(login.text.contains("/forgot-password"), reset == 200);
        for (path, status) in [("/signup", signup), ("/forgot-password", reset)] {
            assert_eq!(browser.get(&daemon, path).await.status, status, "{path}");
        }
    }
}
