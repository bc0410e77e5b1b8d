//! Where a browser may be sent after a sign-in.

use http::Uri;

/// The longest address, in bytes.
const MAX: usize = 2048;

/// Whether a host is a domain or under it. Both are in lower case.
pub fn is_under(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The address as it is sent to the browser: a path on authd's own host, or a URL of a host of the cookie's domain with
/// the scheme of authd's own. Everything that browsers and this reader could read in two ways is refused.
pub fn check(target: &str, origin: &str, domain: &str) -> Option<String> {
    // A backslash is a slash to browsers, which also drop tabs and line breaks (WHATWG URL Standard §4.4).
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\' && byte != b'"' && byte != b'<' && byte != b'>';
    if target.len() > MAX || !target.bytes().all(is_plain) || target.contains('#') {
        return None;
    }
    if target.starts_with('/') {
        // Two slashes begin a host.
        return (!target.starts_with("//") && is_path(target)).then(|| target.to_owned());
    }
    let uri = shared::url::parse(target).ok()?;
    let own: Uri = origin.parse().ok()?;
    let host = uri.host()?.to_ascii_lowercase();
    let is_own = host == own.host()? && uri.port_u16() == own.port_u16();
    let is_allowed = is_own || (!domain.is_empty() && is_under(&host, domain));
    (uri.scheme_str() == own.scheme_str() && is_allowed && is_path(uri.path())).then(|| target.to_owned())
}

/// Whether no part of the path is empty or a dot, which some programs resolve and others do not.
fn is_path(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    !path.contains("//") && path.split('/').all(|part| !matches!(part, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_hosts_of_the_domain_are_returned_to_and_nothing_else() {
        let domain = "example.com";
        for (target, allowed) in [
            ("/", true),
            ("/dashboard", true),
            ("/a/b?c=d&e=%2F", true),
            ("/a?next=//evil.test", true),
            ("https://auth.example.com/a", true),
            ("https://app.example.com/a?b=c", true),
            ("https://app.example.com:8443/", true),
            ("https://example.com", true),
            ("HTTPS://App.Example.COM/", true),
            ("", false),
            ("a", false),
            ("//evil.test", false),
            ("/\\evil.test", false),
            ("\\\\evil.test", false),
            ("/a//evil.test", false),
            ("/../a", false),
            ("/a\tb", false),
            ("/a b", false),
            ("/a\r\nSet-Cookie: a=b", false),
            ("/a#b", false),
            ("/\u{e4}", false),
            ("http://app.example.com/", false),
            ("https://evil.test/", false),
            ("https://example.com.evil.test/", false),
            ("https://evilexample.com/", false),
            ("https://app.example.com@evil.test/", false),
            ("https://evil.test\\.example.com/", false),
            ("https:app.example.com", false),
            ("https:///app.example.com", false),
            ("https://app.example.com:+44/", false),
            ("javascript:alert(1)", false),
            ("data:text/html,a", false),
        ] {
            assert_eq!(check(target, "https://auth.example.com", domain).is_some(), allowed, "{target:?}");
        }
        assert!(check(&format!("/{}", "a".repeat(MAX)), "https://auth.example.com", domain).is_none());
    }

    #[test]
    fn without_a_domain_only_authd_itself_is_returned_to() {
        let origin = "http://127.0.0.1:8080";
        for (target, allowed) in [
            ("/a", true),
            ("http://127.0.0.1:8080/a", true),
            ("http://127.0.0.1:8081/a", false),
            ("http://127.0.0.1/a", false),
            ("https://127.0.0.1:8080/a", false),
            ("http://app.example.com/", false),
        ] {
            assert_eq!(check(target, origin, "").is_some(), allowed, "{target:?}");
        }
    }
}
