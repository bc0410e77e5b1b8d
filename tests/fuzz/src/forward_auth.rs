//! The URIs that proxies ask about. Input: a method, a URI, and a byte that chooses a character of the URI.
//!
//! A path that is read is unambiguous. Percent-encoding of a character, or of all, and a slash at the end change nothing
//! but that the path may be refused: a policy never allows more. HEAD is judged as GET, and an absolute URI by its path.

use std::sync::LazyLock;

use authd::forward_auth::Policy;
use authd::forward_auth::model::{ForwardedRequest, method, methods_of_query, path_of};
use authd::forward_auth::path::Path;

#[derive(serde::Deserialize)]
struct File {
    policy: Vec<Policy>,
}

static POLICIES: LazyLock<Vec<Policy>> = LazyLock::new(|| {
    let text = r#"
        [[policy]]
        name = "narrow"
        service = "s"
        source = "forwarded"
        rule = [
            { paths = ["/reports", "/a b", "/é/*"], permissions = ["reports"] },
            { methods = ["GET"], paths = ["/admin/*"], permissions = ["admin"] },
            { paths = ["/*"], public = true },
        ]
        [[policy]]
        name = "wide"
        source = "path"
        rule = [{ paths = ["/static/*", "/"], public = true }, { paths = ["/*"], scopes = ["read"] }]
    "#;
    let policies = toml::from_str::<File>(text).expect("the policies are valid").policy;
    let mut faults = authd::setting::Faults::default();
    authd::forward_auth::check(&policies, &mut faults);
    assert!(faults.refused.is_empty(), "the policies are accepted: {faults:?}");
    policies
});

pub fn check(input: &[u8]) {
    let mut parts = crate::parts(input);
    let (verb, uri, choice) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next());
    let verb = method(verb).unwrap_or("GET");
    let Ok(read) = path_of(uri) else { return };
    let path = read.as_str();
    assert!(path.starts_with('/') && !path.contains(['%', '\\', '?', '#', ';']), "{path:?}");
    assert!(!path.chars().any(char::is_control), "{path:?}");
    let mut segments = path[1..].split('/').rev();
    let last = segments.next();
    assert!(last != Some(".") && last != Some("..") && segments.all(|s| !matches!(s, "" | "." | "..")), "{path:?}");

    let end = uri.iter().position(|byte| *byte == b'?').unwrap_or(uri.len());
    let start = if uri.starts_with(b"/") { 0 } else { authority_end(uri) };
    let choice = choice.and_then(|bytes| bytes.first()).map_or(0, |byte| usize::from(*byte));
    let one = start + choice % (end - start).max(1);
    let encoded = |is_chosen: &dyn Fn(usize) -> bool| -> Vec<u8> {
        let mut escape = 0;
        let mut variant = Vec::new();
        for (position, byte) in uri.iter().enumerate() {
            // An escape is left as it is: encoding its parts makes another path.
            let is_inside = escape > 0;
            escape = if *byte == b'%' { 2_usize } else { escape.saturating_sub(1) };
            if is_chosen(position) && !is_inside && *byte != b'%' {
                variant.extend(format!("%{byte:02X}").bytes());
            } else {
                variant.push(*byte);
            }
        }
        variant
    };
    let slash = [&uri[..end], b"/", &uri[end..]].concat();
    let variants = [
        encoded(&|position| position == one),
        encoded(&|position| (start..end).contains(&position) && uri[position] != b'/'),
        uri[start..end].to_vec(),
        if uri[..end].ends_with(b"/") { uri.to_vec() } else { slash },
    ];
    let decide = |verb: &str, path: &Path| -> Vec<Option<usize>> {
        let request = ForwardedRequest { method: verb.to_owned(), path: path.clone() };
        POLICIES.iter().map(|policy| policy.decide(&request).ok().map(|decision| decision.index)).collect()
    };
    assert_eq!(decide("HEAD", &read), decide("GET", &read), "{path:?}");
    if let Ok(query) = std::str::from_utf8(uri.get(end + 1..).unwrap_or_default()) {
        check_query(verb, &read, query);
    }
    for variant in variants {
        if let Ok(other) = path_of(&variant) {
            assert_eq!(other, read, "{}", String::from_utf8_lossy(&variant));
        }
    }
}

/// What a query names as the method is the same when it is percent-encoded, and never allows more than without it.
fn check_query(verb: &str, read: &Path, query: &str) {
    let methods: Vec<String> = methods_of_query(query).collect();
    if !query.contains('%') {
        let encoded: String = query
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { format!("%{:02x}", c as u8) } else { c.to_string() })
            .collect();
        assert_eq!(methods_of_query(&encoded).collect::<Vec<_>>(), methods, "{query}");
    }
    let request = ForwardedRequest { method: verb.to_owned(), path: read.clone() };
    let Ok(readings) = request.clone().readings(&methods, &[]) else { return };
    assert_eq!(readings.first(), Some(&request));
    for policy in POLICIES.iter() {
        let Ok(together) = policy.decide_all(&readings) else { continue };
        for reading in &readings {
            assert_eq!(policy.decide(reading).ok().map(|own| own.index), Some(together.index), "{reading:?}");
        }
    }
}

/// Where the path of an absolute URI begins.
fn authority_end(uri: &[u8]) -> usize {
    let host = uri.windows(3).position(|text| text == b"://").map_or(0, |at| at + 3);
    host + uri[host..].iter().position(|byte| *byte == b'/').unwrap_or_default()
}
