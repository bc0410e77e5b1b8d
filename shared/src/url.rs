//! http and https URLs in settings and arguments (RFC 3986). There is one reader for all of them, so that the host that
//! is judged is the host that is connected to.

use std::net::IpAddr;

use http::Uri;

/// Parses an absolute URL with the scheme http or https, in any case. User information and a fragment are refused, as is
/// a port that is not a number up to 65535. The error does not quote the URL, which may contain a password.
pub fn parse(text: &str) -> Result<Uri, String> {
    let form = || "it is not a URL of the form https://HOST".to_owned();
    if text.contains('#') {
        return Err("a fragment (from # on) has no meaning there; remove it".to_owned());
    }
    let (_, rest) = text.split_once("://").ok_or_else(form)?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(
            "a user name or password in the URL would be written to logs; remove what stands before the @".into()
        );
    }
    let uri: Uri = text.parse().map_err(|_| form())?;
    let host = uri.host().unwrap_or_default();
    let is_host = if let Some(address) = host.strip_prefix('[') {
        address.strip_suffix(']').is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
    } else {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    if !is_host || !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(form());
    }
    // Whatever the parser makes of the rest: `host:` has an empty port (RFC 3986 §3.2.3), which is the default one.
    // A number of Rust may have a sign, a port may not.
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    match authority[host.len()..].strip_prefix(':').filter(|port| !port.is_empty()) {
        Some(port) if !is_port(port) => Err(format!("{port:?} is not a port: a number up to 65535")),
        _ => Ok(uri),
    }
}

/// Whether the host of a URL is this machine, whatever a name server says.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether what is sent to the URL is encrypted, or stays on this machine.
pub fn is_private(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https") || uri.host().is_some_and(is_loopback)
}

/// Whether browsers take the site for secure though it may have no TLS, and so keep its cookies and make passkeys for it:
/// https, this machine, and names that they never look up (RFC 6761 §6.3; W3C Secure Contexts §3.1).
pub fn is_secure_context(uri: &Uri) -> bool {
    is_private(uri) || uri.host().is_some_and(|host| host.to_ascii_lowercase().ends_with(".localhost"))
}

/// The origin of a URL, as browsers write it (RFC 6454 §6.2): scheme and host in lower case, and a port that is not the
/// scheme's own.
pub fn origin(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or_default().to_ascii_lowercase();
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    let own = if scheme == "https" { 443 } else { 80 };
    match uri.port_u16().filter(|port| *port != own) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_case_of_scheme_and_host_has_no_meaning() {
        for (url, private) in [
            ("http://127.0.0.1:8080", true),
            ("HTTP://LocalHost:8080", true),
            ("http://[::1]", true),
            ("http://[::ffff:127.0.0.1]:1", true),
            ("HTTPS://Auth.Example.test/a?b=c", true),
            ("https://auth.example.test:/", true),
            ("http://auth.example.test", false),
            ("http://127.0.0.1.example.test", false),
            ("http://localhost.example.test", false),
            ("http://10.0.0.1", false),
            ("http://[2001:db8::1]:65535", false),
        ] {
            assert_eq!(parse(url).as_ref().map(is_private), Ok(private), "{url}");
        }
    }

    #[test]
    fn an_origin_has_no_path_and_no_port_of_its_scheme() {
        for (url, expected) in [
            ("https://Auth.Example.com:443/x?y", "https://auth.example.com"),
            ("HTTPS://auth.example.com:8443", "https://auth.example.com:8443"),
            ("http://127.0.0.1:80", "http://127.0.0.1"),
            ("http://[::1]:8080/", "http://[::1]:8080"),
        ] {
            assert_eq!(parse(url).map(|uri| origin(&uri)).as_deref(), Ok(expected), "{url}");
        }
    }

    #[test]
    fn browsers_take_tls_and_this_machine_for_secure() {
        for (url, secure) in [
            ("https://auth.example.com", true),
            ("http://127.0.0.1:8080", true),
            ("http://Auth.Example.Localhost", true),
            ("http://localhost.example.com", false),
            ("http://auth.example.com", false),
        ] {
            assert_eq!(parse(url).as_ref().map(is_secure_context), Ok(secure), "{url}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused_without_being_quoted() {
        for (url, says) in [
            ("", "of the form"),
            ("auth.example.test", "of the form"),
            ("ftp://auth.example.test", "of the form"),
            ("https://", "of the form"),
            ("https:///path", "of the form"),
            ("https://a b", "of the form"),
            ("https://a%2Fb", "of the form"),
            ("https://a,b", "of the form"),
            ("https://[::1", "of the form"),
            ("https://[127.0.0.1]", "of the form"),
            ("https://[fe80::1%25lo]", "of the form"),
            ("https://a\\b", "of the form"),
            ("http://127.0.0.1@auth.example.test", "before the @"),
            ("https://ann:hunter2@auth.example.test", "before the @"),
            ("https://a#b", "fragment"),
            ("https://a:http", "not a port"),
            ("https://a:65536", "not a port"),
            ("https://a:+44", "not a port"),
            ("https://[::1]:70000", "not a port"),
        ] {
            let error = parse(url).unwrap_err();
            assert!(error.contains(says) || (says == "not a port" && error.contains("of the form")), "{url}: {error}");
            assert!(!error.contains("hunter2"));
        }
    }
}
