//! Where a request carries a token.

use std::borrow::Cow;

use ::http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use shared::problem::Code;

use crate::error::{Error, Result};

/// Where a session's token may travel, beside `Authorization: Bearer`.
const TOKEN: HeaderName = HeaderName::from_static("token");

/// The token of a request: as the bearer or in the header `token`, and for OAuth's endpoints also as the password of
/// HTTP Basic (RFC 6749 §2.3.1), whatever the user name.
pub fn token(headers: &HeaderMap, oauth: bool) -> Result<Option<Cow<'_, str>>> {
    // First, since it refuses a second Authorization header, of whatever scheme.
    let bearer = bearer(headers)?;
    if oauth && let Some(password) = basic_password(headers)? {
        return Ok(Some(Cow::Owned(password)));
    }
    let token = match bearer {
        Some(bearer) => Some(bearer),
        None => header_token(headers)?,
    };
    Ok(token.map(Cow::Borrowed))
}

/// The token of `Authorization: Bearer`. Another scheme is no credential; a header that cannot be read is malformed.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let malformed = || Error::new(Code::MalformedRequest, "the Authorization header cannot be read");
    if values.next().is_some() {
        return Err(malformed());
    }
    let (scheme, token) = value.to_str().map_err(|_| malformed())?.split_once(' ').ok_or_else(malformed)?;
    Ok(scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim()))
}

/// The header `token`.
pub fn header_token(headers: &HeaderMap) -> Result<Option<&str>> {
    let mut values = headers.get_all(TOKEN).iter();
    match (values.next().map(HeaderValue::to_str).transpose(), values.next()) {
        (Ok(token), None) => Ok(token),
        _ => Err(Error::new(Code::MalformedRequest, "the header token cannot be read")),
    }
}

/// The password of `Authorization: Basic`, percent-decoded as RFC 6749 §2.3.1 wants it. Another scheme is none.
fn basic_password(headers: &HeaderMap) -> Result<Option<String>> {
    let malformed = || Error::new(Code::MalformedRequest, "the Authorization header cannot be read");
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let (scheme, encoded) = value.to_str().map_err(|_| malformed())?.split_once(' ').ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return Ok(None);
    }
    let decoded = STANDARD.decode(encoded.trim()).map_err(|_| malformed())?;
    let decoded = String::from_utf8(decoded).map_err(|_| malformed())?;
    let (_, password) = decoded.split_once(':').ok_or_else(malformed)?;
    Ok(Some(shared::wire::percent_decode(password, true)?.into_owned()))
}
