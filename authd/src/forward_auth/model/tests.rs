use proptest::prelude::*;

use super::*;
use crate::forward_auth::Source;

fn place(text: &str) -> PathPattern {
    PathPattern::try_from(text.to_owned()).unwrap()
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

#[test]
fn a_place_is_itself_or_with_all_that_is_below() {
    for (pattern, path, expected) in [
        ("/api/*", "/api", true),
        ("/api/*", "/api/", true),
        ("/api/*", "/api/a/b", true),
        ("/api/*", "/apix", false),
        ("/api/*", "/API/a", false),
        ("/api/*", "/a", false),
        ("/api", "/api", true),
        ("/api", "/api/", false),
        ("/api", "/api/a", false),
        ("/", "/", true),
        ("/", "/a", false),
        ("/*", "/", true),
        ("/*", "/a/b", true),
        ("/größe/*", "/größe/1", true),
    ] {
        assert_eq!(place(pattern).covers(path), expected, "{pattern} {path}");
        assert_eq!(String::from(place(pattern)), pattern);
    }
}

#[test]
fn places_that_no_request_can_have_are_refused() {
    for text in [
        "", "*", "api", "/a*", "/a/*/b", "/a/**", "//", "/a//b", "//*", "/a//*", "/./a", "/..", "/a/../*", "/a%20b",
        "/a;b", "/a?b", "/a#b", "/a\\b", "/a\nb",
    ] {
        assert!(PathPattern::try_from(text.to_owned()).is_err(), "{text:?}");
    }
}

#[test]
fn methods_are_capital_letters() {
    for good in ["GET", "DELETE", "M-SEARCH"] {
        assert_eq!(method(good.as_bytes()), Ok(good));
    }
    for bad in ["", "get", "Get", "GET ", "GET,POST", "GET\0", "É", &"X".repeat(33)] {
        assert!(method(bad.as_bytes()).is_err(), "{bad:?}");
    }
}

#[test]
fn a_uri_is_its_decoded_path() {
    for (uri, path) in [
        ("/", "/"),
        ("/api/a", "/api/a"),
        ("/api/", "/api/"),
        ("/api?x=/admin/../..", "/api"),
        ("/?", "/"),
        ("/a?%zz", "/a"),
        ("/%61pi/a%20b", "/api/a b"),
        ("/gr%C3%B6%C3%9Fe", "/größe"),
        ("/a:b@c!$&'()*+,=~_-.d", "/a:b@c!$&'()*+,=~_-.d"),
        ("/.well-known/x", "/.well-known/x"),
        ("/v1.2/a", "/v1.2/a"),
        ("http://shop.example:80/api", "/api"),
        ("HTTPS://[::1]:443/api?x", "/api"),
    ] {
        assert_eq!(path_of(uri.as_bytes()).as_deref(), Ok(path), "{uri}");
    }
}

#[test]
fn what_two_programs_could_read_in_two_ways_is_refused() {
    let long = format!("/{}", "a".repeat(MAX_URI));
    for uri in [
        "",
        "*",
        "api",
        "?",
        "?x=/api",
        "/api/../admin",
        "/..",
        "/../",
        "/a/..",
        "/./a",
        "/a/.",
        "/a/...",
        "/a/..%20/b",
        "/%20/",
        "//",
        "//admin",
        "/api//admin",
        "/api//",
        "/api/%2e%2e/admin",
        "/api/%2E%2E/admin",
        "/api/.%2e/admin",
        "/api%2fadmin",
        "/api%2Fadmin",
        "/api/..%2fadmin",
        "/api%5cadmin",
        "/api\\admin",
        "/api/..\\admin",
        "/api%00",
        "/api%00/admin",
        "/api%0aX",
        "/api%0d%0aX: y",
        "/api%7f",
        "/api%c2%85",
        "/api%",
        "/api%2",
        "/api%zz",
        "/api%252e%252e/admin",
        "/api%25",
        "/api%u002e",
        "/api;x",
        "/api/..;/admin",
        "/api%3bx",
        "/api%3Fx",
        "/api%23x",
        "/api#x",
        "/api?x#y",
        "#",
        "/ap i",
        "/api\t",
        "/api\u{0}",
        "/größe",
        "/\u{feff}api",
        "/api%ff",
        "/api%c0%ae%c0%ae/x",
        "/api%c0%af",
        "/api<",
        "/api>",
        "/api\"",
        "/api{",
        "/api|",
        "/api^",
        "/api`",
        "/api[",
        "http://",
        "http://a",
        "http://a?/api",
        "http:///api",
        "http:/api",
        "ftp://a/api",
        "//a/api",
        "http://u@a/api",
        "http://a%2f/api",
        "http://a/../admin",
        "http://a//admin",
        "http://a b/api",
        "javascript:/api",
        &long,
    ] {
        assert!(path_of(uri.as_bytes()).is_err(), "{uri:?} is {:?}", path_of(uri.as_bytes()));
    }
}

fn policy() -> Policy {
    let rule = |methods: Option<&[&str]>, path: &str, scopes: Option<&[&str]>, permissions: Option<&[&str]>| Rule {
        methods: methods.map(strings),
        paths: vec![place(path)],
        scopes: scopes.map(strings),
        permissions: permissions.map(strings),
        public: scopes.is_none() && permissions.is_none(),
    };
    Policy {
        name: "shop".into(),
        service: Some("shop".into()),
        source: Source::Path,
        rules: vec![
            rule(None, "/health", None, None),
            rule(Some(&["GET", "HEAD"]), "/api/*", Some(&["read"]), Some(&["orders.read"])),
            rule(Some(&["POST"]), "/api/*", Some(&["read", "write"]), None),
            rule(None, "/admin/*", None, Some(&["shop.admin", "orders.read"])),
            rule(Some(&["GET"]), "/admin/*", Some(&["read"]), None),
        ],
    }
}

fn asked(method: &str, path: &str) -> ForwardedRequest {
    ForwardedRequest { method: method.into(), path: path.into() }
}

#[test]
fn the_first_rule_that_fits_decides() {
    let policy = policy();
    for (method, path, expected) in [
        ("GET", "/health", Some(0)),
        ("PURGE", "/health", Some(0)),
        ("GET", "/health/", None),
        ("GET", "/api/a", Some(1)),
        ("HEAD", "/api", Some(1)),
        ("POST", "/api/a", Some(2)),
        ("DELETE", "/api/a", None),
        ("GET", "/admin", Some(3)),
        ("GET", "/", None),
    ] {
        let found = policy.rule(&asked(method, path)).map(|rule| policy.rules.iter().position(|other| other == rule));
        assert_eq!(found, expected.map(Some), "{method} {path}");
    }
}

#[test]
fn a_rule_admits_tokens_by_all_its_scopes_and_people_by_all_its_permissions() {
    let policy = policy();
    let access = |names: &[&str]| Access::new(Vec::new(), strings(names)).unwrap();
    for (rule, scopes, expected) in [
        (1, &["read", "x"][..], true),
        (1, &["orders.read"], false),
        (2, &["read", "write"], true),
        (2, &["read"], false),
        (2, &["READ", "write"], false),
        // Only permissions: no API token, whatever it is called.
        (3, &["shop.admin", "orders.read"], false),
        (4, &["read"], true),
    ] {
        assert_eq!(policy.rules[rule].admits_token(&strings(scopes)), expected, "{rule} {scopes:?}");
    }
    for (rule, held, expected) in [
        (1, &["orders.read"][..], true),
        (1, &["read"], false),
        (1, &[], false),
        (2, &["read", "write"], false),
        (3, &["shop.admin"], false),
        (3, &["shop.admin", "orders.read"], true),
    ] {
        assert_eq!(policy.rules[rule].admits_person(&access(held)), expected, "{rule} {held:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_judged_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = method(&bytes);
        let _ = path_of(&bytes);
    }

    #[test]
    fn what_is_let_through_names_one_place(uri in "/?[a-z./%\\\\;?#25eEfF :@]{0,40}") {
        if let Ok(path) = path_of(uri.as_bytes()) {
            prop_assert!(path.starts_with('/') && !path.contains("//") && !path.contains(['%', '\\', ';', '?', '#']));
            prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
            // Decoded again, earlier or later, it is the same path or none: some characters are taken only encoded.
            prop_assert!(path_of(path.as_bytes()).map_or(true, |again| again == path));
        }
    }

    #[test]
    fn nothing_passes_that_no_rule_lists(method in "[A-Z]{1,7}", path in "(/(api|admin|health|[a-z.]{0,3})[a-z]?){1,3}") {
        let policy = policy();
        let asked = asked(&method, &path);
        let listed = match path.as_str() {
            "/health" => true,
            api if api == "/api" || api.starts_with("/api/") => ["GET", "HEAD", "POST"].contains(&method.as_str()),
            admin => admin == "/admin" || admin.starts_with("/admin/"),
        };
        prop_assert_eq!(policy.rule(&asked).is_some(), listed);
    }

    #[test]
    fn a_place_that_is_accepted_is_written_as_it_was(text in "[/a-z.*%;]{0,20}") {
        if let Ok(place) = PathPattern::try_from(text.clone()) {
            prop_assert_eq!(String::from(place), text);
        }
    }
}
