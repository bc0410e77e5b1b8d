//! Parsing of proxied requests and matching of rules: no I/O, no clock.
//!
//! A path is decoded once and then compared. An ambiguous path is refused, since the service behind the proxy may
//! interpret it differently.

use serde::{Deserialize, Serialize};

use super::policy::{Policy, Rule};
use crate::rbac::Access;

/// The longest URI that is accepted, in bytes.
pub const MAX_URI: usize = 8 << 10;
const MAX_METHOD: usize = 32;

/// A request that a proxy asks about: the method unchanged, the path decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedRequest {
    pub method: String,
    pub path: String,
}

/// The path of a rule: `/x` matches only that path, `/x/*` that path and everything below.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPattern {
    /// Decoded; empty for `/*`.
    path: String,
    with_below: bool,
}

impl PathPattern {
    pub fn covers(&self, path: &str) -> bool {
        match path.strip_prefix(self.path.as_str()) {
            Some("") => true,
            Some(rest) => self.with_below && rest.starts_with('/'),
            None => false,
        }
    }
}

impl TryFrom<String> for PathPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (path, with_below) = match text.strip_suffix("/*") {
            Some(path) => (path, true),
            None => (text.as_str(), false),
        };
        let fault = |why: &str| format!("path {text:?}: {why}");
        if path.contains('*') {
            return Err(fault("a * is allowed only at the end, after a slash: \"/api/*\""));
        }
        if path.bytes().any(|byte| b"%\\;?#".contains(&byte)) || path.chars().any(char::is_control) {
            return Err(fault("write it decoded; % \\ ; ? # are not allowed in paths"));
        }
        if with_below && path.ends_with('/') {
            return Err(fault("it has an empty segment"));
        }
        if !(with_below && path.is_empty()) {
            check_segments(path).map_err(fault)?;
        }
        Ok(Self { path: path.to_owned(), with_below })
    }
}

impl From<PathPattern> for String {
    fn from(place: PathPattern) -> Self {
        if place.with_below { place.path + "/*" } else { place.path }
    }
}

/// A method: capital letters, since services differ on whether `get` is GET.
pub fn method(text: &[u8]) -> Result<&str, &'static str> {
    let is_plain = text.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-');
    match std::str::from_utf8(text) {
        Ok(method) if is_plain && !text.is_empty() && text.len() <= MAX_METHOD => Ok(method),
        _ => Err("the method is not in capital letters"),
    }
}

/// The decoded path of a URI, in origin form (RFC 9112 §3.2.1) or absolute form (§3.2.2).
pub fn path_of(uri: &[u8]) -> Result<String, &'static str> {
    if uri.len() > MAX_URI {
        return Err("the URI is too long");
    }
    let uri = std::str::from_utf8(uri).ok().filter(|uri| uri.bytes().all(|byte| byte.is_ascii_graphic()));
    let uri = uri.ok_or("the URI is not of visible ASCII characters")?;
    if uri.contains('#') {
        return Err("the URI has a fragment");
    }
    let target = if uri.starts_with('/') { uri } else { without_authority(uri)? };
    let path = target.split('?').next().unwrap_or_default();
    decode(path)
}

/// The part after scheme and host.
fn without_authority(uri: &str) -> Result<&str, &'static str> {
    let (scheme, rest) = uri.split_once("://").ok_or("the URI has neither a path nor a scheme")?;
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err("the URI is not one of http or https");
    }
    let slash = rest.find('/').ok_or("the URI has no path")?;
    let (authority, path) = rest.split_at(slash);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if authority.is_empty() || !authority.bytes().all(is_plain) {
        return Err("the host of the URI cannot be read");
    }
    Ok(path)
}

const CONTROL: &str = "the path has a control character";

/// Decodes percent-encoding once. Refuses characters that must be encoded in a path (RFC 3986 §3.3), and escapes of
/// characters that another decoder could interpret differently.
fn decode(path: &str) -> Result<String, &'static str> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => match (digit(bytes.next()), digit(bytes.next())) {
                (Some(high), Some(low)) => match high << 4 | low {
                    hidden @ (0..=0x1f | 0x7f | b'/' | b'\\' | b'.' | b'%' | b';' | b'?' | b'#') => {
                        return Err(if hidden < 0x20 { CONTROL } else { "the path has an encoded special character" });
                    }
                    byte => byte,
                },
                _ => return Err("a % in the path is not followed by two hex digits"),
            },
            b'/' | b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'='
            | b':' | b'@' => byte,
            _ if byte.is_ascii_alphanumeric() => byte,
            // A semicolon begins parameters in some services, and is an ordinary character in others.
            _ => return Err("the path has a character that must be encoded"),
        });
    }
    let path = String::from_utf8(decoded).map_err(|_| "the path is not UTF-8")?;
    if path.chars().any(char::is_control) {
        return Err(CONTROL);
    }
    check_segments(&path)?;
    Ok(path)
}

/// Refuses empty segments, `.` and `..` (also with blanks or more dots, which some services strip), which services
/// interpret differently. One slash at the end is allowed.
fn check_segments(path: &str) -> Result<(), &'static str> {
    let rest = path.strip_prefix('/').ok_or("it does not begin with a slash")?;
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if segment.is_empty() && !is_last {
            return Err("the path has an empty segment");
        }
        if !segment.is_empty() && segment.chars().all(|c| c == '.' || c.is_whitespace()) {
            return Err("the path has a segment of dots or blanks");
        }
    }
    Ok(())
}

impl Policy {
    /// The first rule that matches; `None` if the request is denied.
    pub fn rule(&self, request: &ForwardedRequest) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.fits(request))
    }
}

impl Rule {
    pub fn fits(&self, request: &ForwardedRequest) -> bool {
        let is_method = |methods: &Vec<String>| methods.contains(&request.method);
        self.methods.as_ref().is_none_or(is_method) && self.paths.iter().any(|pattern| pattern.covers(&request.path))
    }

    /// Whether the rule allows an API token with these scopes.
    pub fn admits_token(&self, scopes: &[String]) -> bool {
        self.scopes.as_ref().is_some_and(|needed| needed.iter().all(|scope| scopes.contains(scope)))
    }

    /// Whether the rule allows a person with this access to the policy's service.
    pub fn admits_person(&self, access: &Access) -> bool {
        self.permissions.as_ref().is_some_and(|needed| needed.iter().all(|name| access.contains(name)))
    }
}

#[cfg(test)]
mod tests;
