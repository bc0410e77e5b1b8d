//! The names by which browsers reach the pages.
//!
//! A site of somebody else can give its name authd's address (DNS rebinding), and is then of one origin with the pages
//! that it loads. It cannot have these names: those that an operator has named, addresses, and names without a dot.

use std::net::IpAddr;

use ::http::header::HOST;
use ::http::request::Parts;
use ::http::uri::Authority;
use shared::url;

/// Whether the pages are at the host of a request: the one of the public URL, or of these names. A request without a host
/// is of no browser.
pub fn is_served(head: &Parts, public_url: &str, names: &[String]) -> bool {
    // HTTP/2 has it in the URI (RFC 9113 §8.3.1).
    let host = match (head.uri.authority(), head.headers.get(HOST)) {
        (Some(authority), _) => Some(authority.clone()),
        (None, Some(host)) => match Authority::try_from(host.as_bytes()) {
            Ok(authority) => Some(authority),
            Err(_) => return false,
        },
        (None, None) => None,
    };
    let Some(host) = host.as_ref().map(Authority::host) else { return true };
    let is = |name: &str| host.eq_ignore_ascii_case(name);
    !host.contains('.')
        || host.to_ascii_lowercase().ends_with(".localhost")
        || host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
        || url::parse(public_url).is_ok_and(|uri| uri.host().is_some_and(is))
        || names.iter().any(|name| is(name))
}

#[cfg(test)]
mod tests {
    use ::http::Request;

    use super::*;

    #[test]
    fn pages_are_at_names_that_no_other_site_can_have() {
        let names = ["authd.svc.cluster.local".to_owned()];
        for (host, expected) in [
            ("auth.example.com", true),
            ("Auth.Example.COM:8443", true),
            ("authd.svc.cluster.local:8080", true),
            ("127.0.0.1:8080", true),
            ("192.0.2.7", true),
            ("[::1]:8080", true),
            ("localhost:8080", true),
            ("auth.localhost", true),
            ("authd:8080", true),
            ("evil.example", false),
            ("evil.example:443", false),
            ("auth.example.com.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("auth.example.com@evil.example", false),
            ("a b", false),
        ] {
            let served =
                |request: Request<()>| is_served(&request.into_parts().0, "https://auth.example.com/x", &names);
            assert_eq!(served(Request::get("/login").header(HOST, host).body(()).unwrap()), expected, "{host}");
            // A URI with a name before the host is none of HTTP/2.
            if let Ok(request) = Request::get(format!("http://{host}/login")).body(()) {
                assert_eq!(served(request), expected, "{host}");
            }
        }
        let without = Request::get("/login").body(()).unwrap().into_parts().0;
        assert!(is_served(&without, "https://auth.example.com", &[]));
    }
}
