//! The cookies of browsers (RFC 6265bis). Their prefixes keep other hosts from setting them: `__Host-` is only accepted from
//! authd's own host, `__Secure-` only over TLS.

/// The session, without `cookie_domain`.
const HOST_SESSION: &str = "__Host-session";
/// The session, with `cookie_domain`.
const DOMAIN_SESSION: &str = "__Secure-session";
/// What the forms of a browser that is not signed in are bound to.
pub const BINDING: &str = "__Host-login";

/// A sign-in with a provider that has begun.
pub const STARTED: &str = "__Host-signin";
/// The CLI login that goes on when the provider has forgotten who was signed in there.
pub const AGAIN: &str = "__Host-again";

/// The longest value that is accepted, in bytes: browsers keep no longer cookies.
const MAX_VALUE: usize = 4096;

/// The cookies by their configuration.
#[derive(Clone, Debug)]
pub struct Cookies {
    domain: Option<String>,
}

/// A cookie of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    None,
    One(&'a str),
    /// Several of that name, one of which somebody else may have set, or one that cannot be read.
    Unusable,
}

impl<'a> Found<'a> {
    pub fn one(self) -> Option<&'a str> {
        match self {
            Self::One(value) => Some(value),
            Self::None | Self::Unusable => None,
        }
    }
}

impl Cookies {
    pub fn new(domain: &str) -> Self {
        Self { domain: (!domain.is_empty()).then(|| domain.to_owned()) }
    }

    /// The name of the session's cookie.
    pub const fn session(&self) -> &'static str {
        if self.domain.is_some() { DOMAIN_SESSION } else { HOST_SESSION }
    }

    /// The session's cookie in the headers `Cookie` of a request.
    pub fn find_session<'a>(&self, headers: impl IntoIterator<Item = &'a [u8]>) -> Found<'a> {
        find(headers, self.session())
    }

    /// The header `Set-Cookie` of a new session. It ends with the browser, or with the session.
    pub fn set_session(&self, token: &str) -> String {
        match &self.domain {
            Some(domain) => format!("{DOMAIN_SESSION}={token}; Domain={domain}; {ATTRIBUTES}"),
            None => format!("{HOST_SESSION}={token}; {ATTRIBUTES}"),
        }
    }

    /// The headers `Set-Cookie` that remove the session, also that of another configuration.
    pub fn clear_session(&self) -> Vec<String> {
        let mut cleared: Vec<String> = [HOST_SESSION, DOMAIN_SESSION].map(clear).into();
        if let Some(domain) = &self.domain {
            cleared.push(format!("{DOMAIN_SESSION}=; Max-Age=0; Domain={domain}; {ATTRIBUTES}"));
        }
        cleared
    }
}

const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Lax";

/// The header `Set-Cookie` of [`BINDING`], [`STARTED`] or [`AGAIN`]; it ends with the browser.
pub fn set(name: &str, value: &str) -> String {
    format!("{name}={value}; {ATTRIBUTES}")
}

/// The header `Set-Cookie` that removes it.
pub fn clear(name: &str) -> String {
    format!("{name}=; Max-Age=0; {ATTRIBUTES}")
}

/// Finds a cookie in the headers `Cookie` of a request.
pub fn find<'a>(headers: impl IntoIterator<Item = &'a [u8]>, name: &str) -> Found<'a> {
    let mut found = Found::None;
    for header in headers {
        // Cookies of others may have any bytes.
        for pair in header.split(|byte| *byte == b';') {
            let pair = pair.trim_ascii();
            let Some(value) = pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) else {
                continue;
            };
            let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            let value = std::str::from_utf8(value).ok();
            let value = value
                .filter(|value| !value.is_empty() && value.len() <= MAX_VALUE && value.as_bytes().iter().all(is_token));
            found = match (found, value) {
                (Found::None, Some(value)) => Found::One(value),
                _ => return Found::Unusable,
            };
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name_and_once() {
        for (headers, expected) in [
            (vec!["__Host-session=abc"], Found::One("abc")),
            (vec!["a=b; __Host-session=abc;c=d"], Found::One("abc")),
            (vec!["a=b", "__Host-session=abc"], Found::One("abc")),
            (vec!["x__Host-session=abc; __Host-sessions=d; __host-session=e"], Found::None),
            (vec!["a=__Host-session=abc"], Found::None),
            (vec!["__Host-session=abc; __Host-session=abc"], Found::Unusable),
            (vec!["__Host-session=abc", "__Host-session=def"], Found::Unusable),
            (vec!["__Host-session="], Found::Unusable),
            (vec!["__Host-session=a b"], Found::Unusable),
            (vec!["__Host-session=\"abc\""], Found::Unusable),
            (vec!["\u{e4}=\u{fc}; __Host-session=abc"], Found::One("abc")),
            (vec![], Found::None),
        ] {
            let found = find(headers.iter().map(|header| header.as_bytes()), "__Host-session");
            assert_eq!(found, expected, "{headers:?}");
        }
        let long = format!("__Host-session={}", "a".repeat(MAX_VALUE + 1));
        assert_eq!(find([long.as_bytes()], "__Host-session"), Found::Unusable);
    }

    #[test]
    fn cookies_are_for_this_host_or_for_the_domain() {
        let own = Cookies::new("");
        assert_eq!(own.set_session("t"), "__Host-session=t; Path=/; Secure; HttpOnly; SameSite=Lax");
        let wide = Cookies::new("example.com");
        assert_eq!(
            wide.set_session("t"),
            "__Secure-session=t; Domain=example.com; Path=/; Secure; HttpOnly; SameSite=Lax"
        );
        // A cookie with a Domain is another one than that without.
        assert_eq!(wide.clear_session().len(), 3);
        assert!(wide.clear_session().iter().all(|header| header.contains("=; Max-Age=0; ")));
    }
}
