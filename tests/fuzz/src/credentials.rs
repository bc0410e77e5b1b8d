//! The headers with credentials. Input: the values of `Authorization`, then one of `token`.
//!
//! What one reader refuses, all refuse; what they read is the same. A password of Basic is read as it was sent.

use authd::transport::credentials::{bearer, header_token, token};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use shared::wire::percent_encode;

pub fn check(input: &[u8]) {
    let mut values: Vec<HeaderValue> =
        crate::parts(input).filter_map(|part| HeaderValue::from_bytes(part).ok()).collect();
    let mut headers = HeaderMap::new();
    if let Some(value) = values.pop().filter(|value| !value.is_empty()) {
        headers.append(HeaderName::from_static("token"), value);
    }
    let is_repeated = values.len() > 1;
    for value in values {
        headers.append(AUTHORIZATION, value);
    }
    let (api, oauth) = (token(&headers, false), token(&headers, true));
    match bearer(&headers) {
        Err(_) => assert!(api.is_err() && oauth.is_err()),
        Ok(Some(found)) => {
            assert!(!is_repeated && found == found.trim());
            assert!(api.is_ok_and(|token| token.as_deref() == Some(found)));
            assert!(oauth.is_ok_and(|token| token.as_deref() == Some(found)));
        }
        // Another scheme, or none: the header `token` counts, and for OAuth a password.
        Ok(None) => {
            assert!(!is_repeated);
            let header = header_token(&headers);
            assert_eq!(api.as_ref().ok().map(|token| token.as_deref()), header.ok());
            let is_basic = headers
                .get(AUTHORIZATION)
                .is_some_and(|value| value.as_bytes().to_ascii_lowercase().starts_with(b"basic "));
            assert!(is_basic || api.is_ok() == oauth.is_ok());
        }
    }
    if let Ok(password) = std::str::from_utf8(input) {
        let pair = format!("{}:{}", percent_encode("user"), percent_encode(password));
        let value = format!("Basic {}", STANDARD.encode(pair));
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().expect("base64 is a header's value"))]);
        match token(&headers, true) {
            Ok(read) => assert_eq!(read.as_deref(), Some(password)),
            Err(_) => assert!(password.contains('\0')),
        }
        assert!(bearer(&headers).is_ok_and(|token| token.is_none()));
    }
}
