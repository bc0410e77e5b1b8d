use proptest::prelude::*;

use super::*;
use crate::forward_auth::Source;
use crate::forward_auth::model::path_of;
use crate::forward_auth::path::Path;

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn policy() -> Policy {
    let rule = |methods: Option<&[&str]>, path: &str, scopes: Option<&[&str]>, permissions: Option<&[&str]>| Rule {
        methods: methods.map(strings),
        paths: vec![path.to_owned().try_into().unwrap()],
        scopes: scopes.map(strings),
        permissions: permissions.map(strings),
        public: scopes.is_none() && permissions.is_none(),
    };
    Policy {
        name: "shop".into(),
        service: Some("shop".into()),
        source: Source::Path,
        redirect_to_login: false,
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
    ForwardedRequest { method: method.into(), path: Path::new(path).unwrap() }
}

#[test]
fn the_first_rule_that_fits_decides() {
    let policy = policy();
    for (method, path, expected) in [
        ("GET", "/health", Some(0)),
        ("PURGE", "/health", Some(0)),
        ("GET", "/health/", Some(0)),
        ("GET", "/api/a", Some(1)),
        ("HEAD", "/api", Some(1)),
        ("POST", "/api/a", Some(2)),
        ("DELETE", "/api/a", None),
        ("GET", "/admin", Some(3)),
        ("GET", "/", None),
    ] {
        let found = policy.decide(&asked(method, path)).ok().map(|decision| decision.index);
        assert_eq!(found, expected, "{method} {path}");
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

/// The index of the rule that decides; none if the request cannot be read or is denied.
fn decided(policy: &Policy, method: &str, uri: &str) -> Option<usize> {
    let request = ForwardedRequest::new(method.as_bytes(), uri.as_bytes()).ok()?;
    policy.decide(&request).ok().map(|decision| decision.index)
}

#[test]
fn what_is_named_exactly_is_not_taken_for_another() {
    let rule = |path: &str, scope: &str| Rule {
        paths: vec![path.to_owned().try_into().unwrap()],
        scopes: Some(strings(&[scope])),
        ..Rule::default()
    };
    let mut policy = policy();
    policy.rules =
        vec![rule("/Admin/*", "a"), rule("/admin/*", "b"), rule("/app/*", "c"), rule("/app.js", "d"), rule("/*", "e")];
    for (uri, expected) in [
        ("/Admin/x", Some(0)),
        ("/admin/x", Some(1)),
        ("/ADMIN/x", None),
        ("/app.js", Some(3)),
        ("/app.css", None),
        ("/app/x", Some(2)),
        ("/x.css", Some(4)),
    ] {
        assert_eq!(decided(&policy, "GET", uri), expected, "{uri}");
    }
    // The rule that stands first decides about both.
    policy.rules = vec![rule("/*", "a"), rule("/admin/*", "b")];
    assert_eq!(decided(&policy, "GET", "/ADMIN/x"), Some(0));
}

#[test]
fn a_path_that_a_rule_names_is_not_judged_by_a_later_wider_one_for_another_method() {
    let rule = |method: &str, path: &str| Rule {
        methods: Some(strings(&[method])),
        paths: vec![path.to_owned().try_into().unwrap()],
        public: true,
        ..Rule::default()
    };
    let mut policy = policy();
    policy.rules = vec![rule("GET", "/desk"), rule("POST", "/desk/*"), rule("PUT", "/*"), rule("PUT", "/desk/*")];
    for (method, uri, expected) in [
        ("GET", "/desk", Some(0)),
        ("POST", "/desk", None),
        ("POST", "/desk/x", Some(1)),
        ("PUT", "/desk/x", Some(3)),
        ("PUT", "/desk", None),
        ("PUT", "/x", Some(2)),
        ("DELETE", "/desk/x", None),
    ] {
        assert_eq!(decided(&policy, method, uri), expected, "{method} {uri}");
    }
}

/// The paths and methods of a rule, and whether it is public.
type Drawn = (Vec<&'static str>, Option<Vec<&'static str>>, bool);

/// Policies of names that no two programs confuse: rules for any method or some, for everybody or not, in any order.
fn policies() -> impl Strategy<Value = Policy> {
    let path = prop_oneof![
        Just("/*"),
        Just("/"),
        Just("/admin"),
        Just("/admin/*"),
        Just("/admin/x/*"),
        Just("/api"),
        Just("/api/*"),
        Just("/api/größe/*"),
        Just("/api/x.php"),
        Just("/administrators/*"),
    ];
    let methods = proptest::option::of(proptest::sample::subsequence(vec!["GET", "POST", "PUT"], 1..=3));
    let rule = (proptest::collection::vec(path, 1..3), methods, any::<bool>());
    proptest::collection::vec(rule, 1..6).prop_map(|rules| {
        let rule = |(index, (paths, methods, is_public)): (usize, Drawn)| Rule {
            methods: methods.map(|names| strings(&names)),
            paths: paths.into_iter().map(|path| path.to_owned().try_into().unwrap()).collect(),
            scopes: (!is_public).then(|| vec![index.to_string()]),
            permissions: None,
            public: is_public,
        };
        Policy { rules: rules.into_iter().enumerate().map(rule).collect(), ..policy() }
    })
}

const PLAIN: &[&str] = &[
    "/",
    "/admin",
    "/admin/x",
    "/admin/x/y",
    "/api",
    "/api/gr%C3%B6%C3%9Fe/1",
    "/api/x.php",
    "/administrators/x",
    "/api/z",
];

/// What is changed in a path, at a position.
type Edit = fn(&str, usize) -> String;

/// Other spellings of a URI that some program reads as the same.
fn spellings(uri: &'static str) -> impl Strategy<Value = String> {
    let edit = |change: Edit| any::<prop::sample::Index>().prop_map(move |at| (change, at));
    let edits = prop_oneof![
        // A character percent-encoded, in either case of hex digits, and twice.
        edit(|uri, at| replace(uri, at, |c| format!("%{:02X}", c as u32))),
        edit(|uri, at| replace(uri, at, |c| format!("%{:02x}", c as u32))),
        edit(|uri, at| replace(uri, at, |c| format!("%25{:02x}", c as u32))),
        edit(|uri, at| replace(uri, at, |c| c.to_ascii_uppercase().to_string())),
        // Full width, circled and mathematical letters.
        edit(|uri, at| replace(uri, at, |c| look_alike(c, 'a', '\u{ff41}'))),
        edit(|uri, at| replace(uri, at, |c| look_alike(c, 'a', '\u{24d0}'))),
        edit(|uri, at| replace(uri, at, |c| look_alike(c, 'a', '\u{1d41a}'))),
        edit(|uri, at| replace(uri, at, |c| look_alike(c, '!', '\u{ff01}'))),
        // Characters that are ignored.
        edit(|uri, at| replace(uri, at, |c| format!("{c}%C2%AD"))),
        edit(|uri, at| replace(uri, at, |c| format!("{c}%E2%80%8D"))),
        edit(|uri, at| replace(uri, at, |c| format!("{c}%CC%81"))),
        // At the end of a segment.
        edit(|uri, at| at_an_end(uri, at, ".")),
        edit(|uri, at| at_an_end(uri, at, "..")),
        edit(|uri, at| at_an_end(uri, at, "%2e")),
        edit(|uri, at| at_an_end(uri, at, "%20")),
        edit(|uri, at| at_an_end(uri, at, "+")),
        edit(|uri, at| at_an_end(uri, at, "%20.%C2%A0.")),
        edit(|uri, at| at_an_end(uri, at, ";a=b")),
        edit(|uri, at| at_an_end(uri, at, "%3B")),
        edit(|uri, at| at_an_end(uri, at, "/")),
        edit(|uri, at| at_an_end(uri, at, "/.")),
        edit(|uri, at| at_an_end(uri, at, "/x/..")),
        edit(|uri, at| at_an_end(uri, at, "%00")),
        edit(|uri, _| format!("{uri}&a")),
        edit(|uri, _| as_format(uri)),
        edit(|uri, _| format!("{uri}?x=/health")),
        edit(|uri, _| format!("http://shop{uri}")),
    ];
    proptest::collection::vec(edits, 1..4).prop_map(move |edits| {
        edits.into_iter().fold(uri.to_owned(), |uri, (change, at)| {
            // Only the path is spelled otherwise.
            let end = uri.find('?').unwrap_or(uri.len());
            let start = if uri.starts_with("http") { "http://shop".len() } else { 0 };
            let path = &uri[start..end];
            format!("{}{}{}", &uri[..start], change(path, at.index(path.len().max(1))), &uri[end..])
        })
    })
}

fn replace(uri: &str, at: usize, with: fn(char) -> String) -> String {
    let Some(c) = uri.as_bytes().get(at).copied().map(char::from) else { return uri.to_owned() };
    // A slash that is encoded is another path, and so is half an escape.
    let is_escape = uri[..at].bytes().rev().take(2).any(|byte| byte == b'%') || c == '%';
    if c == '/' || is_escape { uri.to_owned() } else { format!("{}{}{}", &uri[..at], with(c), &uri[at + 1..]) }
}

fn look_alike(c: char, first: char, look: char) -> String {
    let offset = u32::from(c).checked_sub(u32::from(first)).filter(|_| c.is_ascii_lowercase() || c == '.');
    let other = offset.and_then(|offset| char::from_u32(u32::from(look) + offset)).unwrap_or(c);
    let mut bytes = [0; 4];
    if other == c {
        return c.to_string();
    }
    other.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn as_format(uri: &str) -> String {
    let name = uri.trim_end_matches('/');
    if name.is_empty() || name.ends_with('.') { uri.to_owned() } else { format!("{name}.json") }
}

fn at_an_end(uri: &str, at: usize, suffix: &str) -> String {
    let end = uri[at.min(uri.len())..].find('/').map_or(uri.len(), |slash| slash + at);
    if end == 0 { uri.to_owned() } else { format!("{}{suffix}{}", &uri[..end], &uri[end..]) }
}

proptest! {
    #[test]
    fn another_spelling_never_allows_more(
        policy in policies(),
        (plain, other) in proptest::sample::select(PLAIN).prop_flat_map(|uri| (Just(uri), spellings(uri))),
        method in proptest::sample::select(&["GET", "HEAD", "POST", "DELETE"][..]),
    ) {
        let (plain_rule, other_rule) = (decided(&policy, method, plain), decided(&policy, method, &other));
        let is_public = |index: usize| policy.rules[index].public;
        if let Some(found) = other_rule {
            prop_assert!(
                plain_rule == other_rule || plain_rule.is_some_and(is_public),
                "{method} {plain} is decided by {plain_rule:?}, {other} by {found}"
            );
        }
    }

    #[test]
    fn another_method_is_judged_by_rules_that_name_the_path_as_exactly(
        policy in policies(),
        uri in proptest::sample::select(PLAIN),
        method in proptest::sample::select(&["GET", "HEAD", "POST", "DELETE"][..]),
    ) {
        let path = path_of(uri.as_bytes()).unwrap();
        if let Some(index) = decided(&policy, method, uri) {
            let narrowest = |rule: &Rule| {
                rule.paths.iter().filter(|pattern| pattern.covers(&path)).map(PathPattern::narrowness).max()
            };
            let own = narrowest(&policy.rules[index]);
            for earlier in &policy.rules[..index] {
                let found = narrowest(earlier);
                prop_assert!(found < own || (found == own && !earlier.takes(method)));
            }
        }
        // No rule here names HEAD.
        prop_assert_eq!(decided(&policy, "HEAD", uri), decided(&policy, "GET", uri));
    }

    #[test]
    fn what_overrides_a_request_never_allows_more(
        policy in policies(),
        plain in proptest::sample::select(PLAIN),
        methods in proptest::collection::vec("(GET|POST|PUT|delete|HEAD|x y|)", 0..3),
        uris in proptest::collection::vec(proptest::sample::select(PLAIN), 0..3),
    ) {
        let request = ForwardedRequest::new(b"POST", plain.as_bytes()).unwrap();
        let uris: Vec<&[u8]> = uris.iter().map(|uri| uri.as_bytes()).collect();
        let alone = decided(&policy, "POST", plain);
        if let Ok(readings) = request.readings(&methods, &uris)
            && let Ok(found) = policy.decide_all(&readings)
        {
            prop_assert_eq!(Some(found.index), alone);
            for method in &methods {
                for uri in &uris {
                    let read = decided(&policy, &method.trim().to_uppercase(), std::str::from_utf8(uri).unwrap());
                    prop_assert_eq!(read, alone);
                }
            }
        }
    }

    #[test]
    fn nothing_passes_that_no_rule_lists(method in "[A-Z]{1,7}", path in "(/(api|admin|health|[a-z.]{0,3}[a-z])[a-z]?){1,3}") {
        let policy = policy();
        let listed = match path.as_str() {
            "/health" => true,
            api if api == "/api" || api.starts_with("/api/") => ["GET", "HEAD", "POST"].contains(&method.as_str()),
            admin => admin == "/admin" || admin.starts_with("/admin/"),
        };
        prop_assert_eq!(decided(&policy, &method, &path).is_some(), listed);
    }
}
