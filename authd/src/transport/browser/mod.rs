//! Pages and redirects for browsers, which are not operations.
//!
//! Invariants: no scripts, no loaded resources, no caching, no referrer; every value is escaped by [`html`]; the module
//! of a page decides what it does, this one only parses the request and renders the answer.

pub(crate) mod cli_login;
pub mod form;
pub(super) mod html;

use ::http::Response;
use bytes::Bytes;
use http_body_util::Full;

use super::http::Body;
use crate::error::{Error, Result};

/// The response to a browser. `headers` has every header except the length; HTML is UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub html: String,
}

impl Page {
    pub(super) fn into_response(self) -> Result<Response<Body>> {
        response(self.status, self.headers, self.html.into())
    }
}

/// An answer with these headers.
pub(super) fn response(
    status: u16,
    headers: impl IntoIterator<Item = (&'static str, impl AsRef<str>)>,
    body: Bytes,
) -> Result<Response<Body>> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value.as_ref());
    }
    response.body(Full::new(body)).map_err(Error::internal)
}
