//! Parsing of proxied requests: no I/O, no clock.
//!
//! A path is decoded once and then compared. An ambiguous path is refused, since the service behind the proxy may
//! interpret it differently.

use percent_encoding::percent_decode_str;

use super::path::Path;

/// The longest URI that is accepted, in bytes.
pub const MAX_URI: usize = 8 << 10;
const MAX_METHOD: usize = 32;
/// Maximum number of ways in which services may read one request.
const MAX_READINGS: usize = 16;
/// The headers with which services let a client override the method. ASP.NET takes them from the query, too.
pub const METHOD_HEADERS: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// A request that a proxy asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedRequest {
    pub method: String,
    pub path: Path,
}

impl ForwardedRequest {
    pub fn new(method: &[u8], uri: &[u8]) -> Result<Self, &'static str> {
        Ok(Self { method: self::method(method)?.to_owned(), path: path_of(uri)? })
    }

    /// This request, and after it what services make of it that let a header or the query override method and path.
    pub fn readings(self, methods: &[String], uris: &[&[u8]]) -> Result<Vec<Self>, &'static str> {
        if methods.is_empty() && uris.is_empty() {
            return Ok(vec![self]);
        }
        if (methods.len() + 1) * (uris.len() + 1) > MAX_READINGS {
            return Err("the request has too many headers that override its method or path");
        }
        let mut paths = vec![self.path];
        for uri in uris {
            paths.push(path_of(uri).map_err(|_| "a header that overrides the path cannot be read")?);
        }
        let mut all = vec![self.method];
        for name in methods {
            let name = name.trim().to_ascii_uppercase();
            let name = method(name.as_bytes()).map_err(|_| "what overrides the method is no method")?;
            all.push(name.to_owned());
        }
        let with = |path: &Path| all.iter().map(|method| Self { method: method.clone(), path: path.clone() }).collect();
        Ok(paths.iter().flat_map(|path| -> Vec<Self> { with(path) }).collect())
    }
}

/// The methods that a query names for services that take one from there: `?_method=DELETE`, or like a header.
pub fn methods_of_query(query: &str) -> impl Iterator<Item = String> {
    let text = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
    query.split(['&', ';']).filter_map(move |pair| {
        // Decoded as leniently as some service does. PHP ends a name at a NUL or at the bracket of an array, and reads
        // other characters as the underscore, too.
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = text(name);
        let name = name.split(['\0', '[']).next().unwrap_or_default().trim_start().to_ascii_lowercase();
        let name = name.replace(['.', ' ', '_'], "-");
        (name == "-method" || METHOD_HEADERS.contains(&name.as_str())).then(|| text(value))
    })
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
pub fn path_of(uri: &[u8]) -> Result<Path, &'static str> {
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
    Path::new(&decode(path)?)
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
            | b':' | b'@'
            // RFC 3986 would have these encoded, but browsers send them as they are, and nobody reads them differently.
            | b'|' | b'[' | b']' | b'^' => byte,
            _ if byte.is_ascii_alphanumeric() => byte,
            // A semicolon begins parameters in some services, and is an ordinary character in others.
            _ => return Err("the path has a character that must be encoded"),
        });
    }
    let path = String::from_utf8(decoded).map_err(|_| "the path is not UTF-8")?;
    if path.chars().any(char::is_control) {
        return Err(CONTROL);
    }
    Ok(path)
}

#[cfg(test)]
mod tests;
