//! Where a browser may be sent after a sign-in. Input: the address.
//!
//! What is accepted is for a browser's reader of URLs (WHATWG) what it is for ours: on authd's own origin, or on a host of
//! the cookies' domain with the same scheme; without user information; and a header can hold it.

use authd::web_login::return_to;
use http::HeaderValue;
use url::Url;

/// The origin of the public URL, and the domain of the cookies.
const SETTINGS: [(&str, &str); 4] = [
    ("https://auth.example.com", "example.com"),
    ("https://auth.example.com", ""),
    ("http://127.0.0.1:8080", ""),
    ("https://auth.example.com:8443", "auth.example.com"),
];

pub fn check(input: &[u8]) {
    let Ok(target) = std::str::from_utf8(input) else { return };
    for (origin, domain) in SETTINGS {
        let Some(accepted) = return_to::check(target, origin, domain) else { continue };
        let own = Url::parse(origin).expect("an origin");
        let seen = own.join(&accepted).expect("browsers read what is accepted");
        let host = seen.host_str().unwrap_or_default();
        let is_below = !domain.is_empty() && (host == domain || host.ends_with(&format!(".{domain}")));
        assert!(seen.origin() == own.origin() || (seen.scheme() == own.scheme() && is_below), "{accepted:?}: {seen}");
        assert!(seen.username().is_empty() && seen.password().is_none(), "{accepted:?}: {seen}");
        assert!(!accepted.starts_with('/') || seen.origin() == own.origin(), "{accepted:?}: {seen}");
        assert!(HeaderValue::from_str(&accepted).is_ok(), "{accepted:?}");
        // From a page below another path too, and again.
        assert_eq!(own.join("/a/b/c").ok().and_then(|page| page.join(&accepted).ok()), Some(seen));
        assert_eq!(return_to::check(&accepted, origin, domain).as_ref(), Some(&accepted));
    }
}
