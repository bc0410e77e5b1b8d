//! What `session.Session` and `user.User` have of their own: tokens and passwords travel in base64, and the message of a
//! status is a code.

use std::borrow::Cow;

use ::http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use shared::api::accounts::{AccountFault, TOKEN_HEADER};
use shared::problem::Code;
use shared::secret::Secret;

use super::method::text;
use super::{SESSION, USER};
use crate::error::{Error, Result};
use crate::sessions;

/// Both alphabets, with or without padding.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const ALPHABETS: [GeneralPurpose; 2] =
    [GeneralPurpose::new(&alphabet::STANDARD, LENIENT), GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT)];

/// Whether the path is a method of these services.
pub(super) fn is_method(path: &str) -> bool {
    path.split('/').nth(1).is_some_and(|service| [SESSION, USER].contains(&service))
}

/// The session token of a call.
pub(super) fn token(metadata: &HeaderMap, _: bool) -> Result<Option<Cow<'_, str>>> {
    let Some(token) = sent(metadata)? else { return Ok(None) };
    if !sessions::is_token(&token) {
        return Err(Error::new(Code::InvalidToken, "this is no session token: sign in with session.Session/Login"));
    }
    Ok(Some(Cow::Owned(token)))
}

/// The token of a call, decoded: of a session, or a mailed one.
pub(super) fn sent(metadata: &HeaderMap) -> Result<Option<String>> {
    let mut values = metadata.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let decoded = value.to_str().ok().filter(|_| values.next().is_none()).and_then(decode);
    decoded.map(Some).ok_or_else(|| {
        let detail = "the metadata authorization is not one token in base64";
        Error::new(Code::MalformedRequest, detail).fault(AccountFault::InvalidHeader)
    })
}

/// Whether a call has a token.
pub(super) fn has_token(metadata: &HeaderMap) -> bool {
    metadata.contains_key(AUTHORIZATION)
}

/// The password of a message.
pub(super) fn password(given: String) -> Result<Secret> {
    let given = Secret::new(given);
    let not_base64 = || Error::new(Code::MalformedRequest, "pwd is not a password in base64");
    let decoded = decode(given.expose()).filter(|password| !password.is_empty()).ok_or_else(not_base64)?;
    text("pwd", decoded).map(Secret::new)
}

/// The code of a message; protobuf has no other form of an absent text.
pub(super) fn code(given: String) -> Result<Option<Secret>> {
    if given.is_empty() { Ok(None) } else { text("totp", given).map(Secret::new).map(Some) }
}

/// Adds metadata that no proxy's table of headers should keep.
pub(super) fn add(metadata: &mut HeaderMap, name: &'static str, secret: &str) -> Result<()> {
    let mut value = HeaderValue::from_str(secret).map_err(Error::internal)?;
    value.set_sensitive(true);
    metadata.insert(HeaderName::from_static(name), value);
    Ok(())
}

/// Adds a session token.
pub(super) fn add_token(metadata: &mut HeaderMap, token: &Secret) -> Result<()> {
    add(metadata, TOKEN_HEADER, &STANDARD.encode(token.expose()))
}

fn decode(text: &str) -> Option<String> {
    let decoded = ALPHABETS.iter().find_map(|alphabet| alphabet.decode(text.trim()).ok());
    decoded.and_then(|bytes| String::from_utf8(bytes).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_stays_out_of_the_tables_of_proxies() {
        let mut metadata = HeaderMap::new();
        add_token(&mut metadata, &Secret::new("eyJ")).unwrap();
        assert!(metadata[AUTHORIZATION].is_sensitive() && metadata[AUTHORIZATION] == "ZXlK");
    }

    #[test]
    fn base64_of_both_alphabets_is_read_with_or_without_padding() {
        for (text, expected) in [
            ("YT8+", Some("a?>")),
            ("YT8-", Some("a?>")),
            ("YQ==", Some("a")),
            ("YQ", Some("a")),
            ("", Some("")),
            ("YT8-YT8+", None),
            ("Y", None),
            ("a.b.c", None),
            ("Bearer YQ", None),
            ("//8", None),
        ] {
            assert_eq!(decode(text).as_deref(), expected, "{text}");
        }
    }
}
