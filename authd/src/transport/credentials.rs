//! Reads the token of a request.

use std::borrow::Cow;

use ::http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use shared::problem::Code;

use crate::error::{Error, Result};

/// The header for a session token, besides `Authorization: Bearer`.
const TOKEN: HeaderName = HeaderName::from_static("token");

/// How a request carries its token: [`token`], or another encoding's way. The flag is for OAuth endpoints.
pub type Credentials = fn(&HeaderMap, bool) -> Result<Option<Cow<'_, str>>>;

/// The token of a request: the bearer or the header `token`, and for OAuth endpoints also the password of HTTP Basic
/// (RFC 6749 §2.3.1), with any user name.
pub fn token(headers: &HeaderMap, oauth: bool) -> Result<Option<Cow<'_, str>>> {
    let token = match authorization(headers)? {
        Some((scheme, encoded)) if oauth && scheme.eq_ignore_ascii_case("Basic") => {
            return basic_password(encoded).map(|password| Some(Cow::Owned(password)));
        }
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("Bearer") => Some(token.trim()),
        _ => header_token(headers)?,
    };
    Ok(token.map(Cow::Borrowed))
}

/// The token of `Authorization: Bearer`. Other schemes are ignored.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>> {
    let authorization = authorization(headers)?.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"));
    Ok(authorization.map(|(_, token)| token.trim()))
}

/// Scheme and credentials of the header `Authorization`. A repeated or unreadable one is malformed.
fn authorization(headers: &HeaderMap) -> Result<Option<(&str, &str)>> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let parts = value.to_str().ok().and_then(|value| value.split_once(' ')).filter(|_| values.next().is_none());
    parts.map(Some).ok_or_else(malformed)
}

fn malformed() -> Error {
    Error::new(Code::MalformedRequest, "the Authorization header cannot be read")
}

/// The header `token`.
pub fn header_token(headers: &HeaderMap) -> Result<Option<&str>> {
    let mut values = headers.get_all(TOKEN).iter();
    match (values.next().map(HeaderValue::to_str).transpose(), values.next()) {
        (Ok(token), None) => Ok(token),
        _ => Err(Error::new(Code::MalformedRequest, "the header token cannot be read")),
    }
}

/// The password of `Authorization: Basic`, percent-decoded according to RFC 6749 §2.3.1.
fn basic_password(encoded: &str) -> Result<String> {
    let decoded = STANDARD.decode(encoded.trim()).ok().and_then(|decoded| String::from_utf8(decoded).ok());
    let decoded = decoded.ok_or_else(malformed)?;
    let (_, password) = decoded.split_once(':').ok_or_else(malformed)?;
    Ok(shared::wire::percent_decode(password, true)?.into_owned())
}
