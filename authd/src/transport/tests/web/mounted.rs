//! authd below a path of its host, behind a proxy that removes the path.

use std::collections::BTreeSet;

use super::*;

const TOML: &str = "[server]\npublic_url = \"https://host.example/auth\"\n\
    [[provider]]\nname = \"corp\"\nissuer = \"https://corp.test\"\nclient_id = \"x\"\nweb = true\n\
    authorization_endpoint = \"https://corp.test/a\"\ntoken_endpoint = \"https://corp.test/t\"\njwks_uri = \"https://corp.test/k\"\n";

/// The path that the proxy passes on.
#[track_caller]
fn passed_on(path: &str) -> &str {
    let rest = path.strip_prefix("/auth").filter(|rest| rest.starts_with('/'));
    rest.unwrap_or_else(|| panic!("{path:?} is not below the public URL"))
}

/// What a page leads to on its own host, without other hosts and places in the page.
fn links(html: &str) -> BTreeSet<String> {
    let of = |name: &str| {
        let start = format!(" {name}=\"");
        let values = html.split(&start).skip(1).map(|rest| rest.split('"').next().unwrap_or_default());
        values.map(|value| value.replace("&#x2f;", "/").replace("&amp;", "&")).collect::<Vec<_>>()
    };
    ["href", "src", "action"].iter().flat_map(|name| of(name)).filter(|link| link.starts_with('/')).collect()
}

#[tokio::test]
async fn every_page_link_form_and_redirect_is_below_the_path() {
    let daemon = with_ada(TOML).await;
    let mut browser = Browser::default();
    let away = browser.get(&daemon, "/dashboard").await;
    assert_eq!(away.header("location"), Some("/auth/login?return_to=/dashboard"));
    let signed_in = browser.sign_in(&daemon, "").await;
    assert_eq!((signed_in.status, signed_in.header("location")), (303, Some("/auth/dashboard")));
    assert!(browser.cookie("__Host-session").is_some(), "the cookie is of the whole host");

    let mut waiting: BTreeSet<String> = ["/auth/", "/auth/dashboard", "/auth/login"].map(str::to_owned).into();
    let mut seen = BTreeSet::new();
    while let Some(link) = waiting.pop_first() {
        if !seen.insert(link.clone()) {
            continue;
        }
        let answer = browser.get(&daemon, passed_on(&link)).await;
        // Forms are only sent.
        assert!(matches!(answer.status, 200 | 303 | 404 | 405), "{link}: {}", answer.text);
        waiting.extend(answer.header("location").filter(|location| location.starts_with('/')).map(str::to_owned));
        if answer.header("content-type").is_some_and(|media| media.starts_with("text/html")) {
            waiting.extend(links(&answer.text));
        }
    }
    for page in ["/auth/docs", "/auth/dashboard/security", "/auth/dashboard/identities", "/auth/dashboard/files"] {
        assert!(seen.contains(page), "{seen:?}");
    }
    let style = seen.iter().find(|link| link.starts_with("/auth/style.css?v=")).expect("pages have a style sheet");
    assert_eq!(browser.get(&daemon, passed_on(style)).await.status, 200);

    let out = browser.post(&daemon, "/dashboard", "/logout", "").await;
    assert_eq!(out.header("location"), Some("/auth/login"));
    let departed = Browser::default().get(&daemon, "/auth/corp").await;
    let back = "redirect_uri=https%3A%2F%2Fhost.example%2Fauth%2Fauth%2Fcorp%2Fcallback";
    assert!(departed.header("location").is_some_and(|there| there.contains(back)), "{}", departed.head);
}
