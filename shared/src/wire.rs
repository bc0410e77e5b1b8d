//! An operation as an HTTP request, both ways: the only place that maps fields to path, query, headers and body.
//!
//! One [`serde::Deserializer`], which chains the parameters and then the body, reads directly into the request struct. Merging
//! them in a JSON map first was rejected: there the last of repeated names wins silently. Here serde's check for
//! duplicate fields covers path, query, headers and body together, and a JSON array is not accepted as a struct.

mod reader;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde_json::{Map, Value};

use self::reader::{Param, Reader};
use crate::op::{Info, Operation};

/// Maximum number of query parameters.
const MAX_PARAMS: usize = 64;

/// A request that cannot become an operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The request cannot be read (400).
    #[error("{0}")]
    Malformed(String),
    /// The request can be read, but a field is invalid (422).
    #[error("{detail}")]
    Invalid { field: Option<String>, detail: String },
}

fn malformed(detail: impl Into<String>) -> WireError {
    WireError::Malformed(detail.into())
}

/// The parts of an HTTP request that hold an operation's fields.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts<'a> {
    /// Path parameters by name, still percent-encoded.
    pub path: &'a [(&'a str, &'a str)],
    pub query: Option<&'a str>,
    /// Fields sent as headers, by field name.
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
}

/// Reads an operation from the parts of a request.
pub fn decode<Op: Operation>(parts: Parts<'_>) -> Result<Op, WireError> {
    let mut params = params(&Op::INFO, parts)?;
    let body = if Op::INFO.oauth {
        let form = std::str::from_utf8(parts.body).map_err(|_| malformed("the form is not UTF-8"))?;
        read_pairs(form, 0, &mut params)?;
        &[]
    } else if has_nul(parts.body) {
        return Err(malformed("the body contains a NUL character"));
    } else {
        parts.body
    };
    let reader = Reader { params, body, headers: Op::INFO.headers };
    Op::deserialize(reader.clone()).map_err(|error| explain::<Op>(reader, &error))
}

/// Whether a text in the JSON has a NUL: refused here as it is in a URL and in a form. A raw one is no JSON.
fn has_nul(json: &[u8]) -> bool {
    let is_escape =
        |backslash: usize| json[..backslash].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0;
    // Few bodies have an escape at all, and finding one byte is fast.
    json.contains(&b'\\')
        && json.windows(6).enumerate().any(|(position, text)| text == b"\\u0000" && is_escape(position))
}

/// Reads again and tracks where the error is; only refused requests pay for that.
fn explain<Op: Operation>(reader: Reader<'_>, error: &serde_json::Error) -> WireError {
    let mut detail = error.to_string();
    if error.line() > 0 && !error.is_data() {
        return malformed(format!("the body is not valid JSON: {detail}"));
    }
    if let Some(position) = detail.rfind(" at line ") {
        detail.truncate(position);
    }
    let field = serde_path_to_error::deserialize::<_, Op>(reader)
        .err()
        .map(|error| error.path().to_string())
        .filter(|path| path != "." && path != "?")
        .or_else(|| detail.split('`').nth(1).map(str::to_owned));
    WireError::Invalid { field, detail }
}

/// Fields outside of the body, in the order path, query, headers.
fn params<'a>(info: &Info, parts: Parts<'a>) -> Result<Vec<Param<'a>>, WireError> {
    let mut params = Vec::new();
    for &(name, value) in parts.path {
        params.push(Param { name: Cow::Borrowed(name), values: vec![percent_decode(value, false)?] });
    }
    if let Some(query) = parts.query.filter(|query| !query.is_empty()) {
        if info.has_body() {
            return Err(malformed("this operation takes its fields in the body, not in the query"));
        }
        read_pairs(query, parts.path.len(), &mut params)?;
        // A header field is not accepted in the query, because URLs are logged.
        if let Some((field, header)) = info.headers.iter().find(|(field, _)| params.iter().any(|p| p.name == *field)) {
            return Err(malformed(format!("send {field} in the header {header}, never in a URL")));
        }
    }
    for &(name, value) in parts.headers {
        params.push(Param { name: Cow::Borrowed(name), values: vec![Cow::Borrowed(value)] });
    }
    Ok(params)
}

/// Appends the pairs of a query or a form. A name that is repeated, after the first `skip` parameters, has several
/// values.
fn read_pairs<'a>(text: &'a str, skip: usize, params: &mut Vec<Param<'a>>) -> Result<(), WireError> {
    for pair in decode_pairs(text) {
        let (name, value) = pair?;
        match params.iter_mut().skip(skip).find(|param| param.name == name) {
            Some(param) => param.values.push(value),
            None => params.push(Param { name, values: vec![value] }),
        }
        if params.len() > MAX_PARAMS || params.last().is_some_and(|param| param.values.len() > MAX_PARAMS) {
            return Err(malformed(format!("more than {MAX_PARAMS} parameters")));
        }
    }
    Ok(())
}

/// The `name=value` pairs of a query or a form, decoded.
pub fn decode_pairs(text: &str) -> impl Iterator<Item = Result<(Cow<'_, str>, Cow<'_, str>), WireError>> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((percent_decode(name, true)?, percent_decode(value, true)?))
    })
}

/// Decodes percent-encoding; a broken escape is refused.
pub fn percent_decode(text: &str, plus_is_space: bool) -> Result<Cow<'_, str>, WireError> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+' | 0)) {
        return Ok(Cow::Borrowed(text));
    }
    if text.contains('\0') || text.contains("%00") {
        // PostgreSQL cannot store it, and no valid name contains it.
        return Err(malformed("the URL contains a NUL character"));
    }
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => match (digit(bytes.next()), digit(bytes.next())) {
                (Some(high), Some(low)) => decoded.push(high << 4 | low),
                _ => return Err(malformed("a % in the URL is not followed by two hex digits")),
            },
            b'+' if plus_is_space => decoded.push(b' '),
            _ => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| malformed("the URL is not UTF-8"))
}

/// Encodes text for a query or a form (RFC 3986 unreserved characters stay).
pub fn percent_encode(text: &str) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        text.bytes().try_for_each(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                f.write_char(char::from(byte))
            } else {
                write!(f, "%{byte:02X}")
            }
        })
    })
}

/// Encodes `name=value` pairs as a query or a form.
pub fn encode_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, impl AsRef<str>)>) -> String {
    let mut encoded = String::new();
    for (name, value) in pairs {
        let separator = if encoded.is_empty() { "" } else { "&" };
        // Writing to a String cannot fail.
        let _ = write!(encoded, "{separator}{}={}", percent_encode(name), percent_encode(value.as_ref()));
    }
    encoded
}

/// An operation encoded as a request.
#[derive(Debug)]
pub struct Encoded {
    /// Path and query.
    pub target: String,
    /// (header, value); values may be secret.
    pub headers: Vec<(&'static str, String)>,
    /// JSON, or a form for an OAuth operation; only for methods that have a body.
    pub body: Option<Vec<u8>>,
}

/// Encodes an operation as a request.
pub fn encode<Op: Operation>(op: &Op) -> Result<Encoded, serde_json::Error> {
    let mut fields = match serde_json::to_value(op)? {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let mut headers = Vec::new();
    for (field, header) in Op::INFO.headers {
        if let Some(value) = fields.remove(*field).filter(|value| !value.is_null()) {
            let value = text(&value);
            headers.push((*header, if *header == "authorization" { format!("Bearer {value}") } else { value }));
        }
    }
    let mut target = String::new();
    for segment in Op::INFO.path.split('/').skip(1) {
        target.push('/');
        match segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}')) {
            Some(name) => {
                let value = text(&fields.remove(name).unwrap_or_default());
                let _ = write!(target, "{}", percent_encode(&value));
            }
            None => target.push_str(segment),
        }
    }
    let mut body = None;
    if Op::INFO.oauth {
        body = Some(query(&fields).into_bytes());
    } else if Op::INFO.has_body() {
        body = Some(serde_json::to_vec(&fields)?);
    } else {
        let query = query(&fields);
        if !query.is_empty() {
            target = format!("{target}?{query}");
        }
    }
    Ok(Encoded { target, headers, body })
}

/// Fields as a query or a form; list elements become separate pairs.
fn query(fields: &Map<String, Value>) -> String {
    let pairs = fields.iter().flat_map(|(name, value)| {
        let values = match value {
            Value::Null => &[],
            Value::Array(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        values.iter().map(move |value| (name.as_str(), text(value)))
    });
    encode_pairs(pairs)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
