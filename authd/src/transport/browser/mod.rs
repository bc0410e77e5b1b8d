//! Pages and redirects for browsers, which are not operations.
//!
//! Invariants: no scripts but a short one, nothing loaded but authd's own style sheet, no caching, no referrer for others;
//! every value is escaped; the module of a page decides what it does, this one only parses the request and renders the answer.

pub(crate) mod accounts;
pub(crate) mod cli_login;
pub mod form;
pub(super) mod html;
pub(super) mod mount;
pub(crate) mod web;

use std::net::IpAddr;

use ::http::Response;
use bytes::Bytes;
use shared::secret::Secret;
use shared::time::Time;

use self::form::Form;
use self::html::{Escaped, Tone, page};
use self::mount::Mount;
use super::answer::Body;
use crate::call::RequestId;
use crate::error::{Error, Result};
use crate::log::caused;
use crate::oidc_client::{Answer, Refusal};

/// The response to a browser. `headers` has every header except the length; HTML is UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub html: String,
}

impl Page {
    pub(super) fn into_response(self, mount: &Mount) -> Result<Response<Body>> {
        let Self { status, headers, html } = mount.page(self);
        response(status, headers, html.into())
    }
}

/// The page for an error that the person did not cause.
fn failure((request_id, address): (RequestId, Option<IpAddr>), error: &Error) -> Page {
    caused!(
        address,
        warn,
        %request_id,
        code = error.code.as_str(),
        source = error.source_text().map(|text| text.to_string()),
        "a page failed"
    );
    let hint = format!("Load this page again in a moment. In authd's log this is request {request_id}.");
    explained(error.code.status(), "This page is not available", &error.detail, &hint)
}

/// A page with the error as a sentence, and what to do about it.
fn explained(status: u16, title: &str, reason: &str, hint: &str) -> Page {
    text(status, title, Tone::Bad, &[&sentence(reason), hint])
}

fn text(status: u16, title: &str, tone: Tone, paragraphs: &[&str]) -> Page {
    let body: String = paragraphs.iter().map(|text| format!("<p>{}</p>", Escaped(text))).collect();
    page(status, title, tone, &body)
}

/// The detail of an error as a sentence.
fn sentence(detail: &str) -> String {
    let mut chars = detail.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars).chain(['.']).collect()
}

/// What a provider sends the browser back with; `None` if it cannot be read.
fn provider_answer(query: Option<&str>) -> Option<Answer> {
    let form = Form::parse(query.unwrap_or_default())?;
    let result = match (form.field("code"), form.field("error")) {
        (Some(code), None) if !code.is_empty() => Ok(Secret::new(code)),
        (None, Some(error)) => {
            let code: String = error.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
            Err(Refusal::new(code, form.field("error_description")))
        }
        _ => return None,
    };
    Some(Answer { state: form.field("state")?.to_owned(), result, issuer: form.field("iss").map(str::to_owned) })
}

/// A time to the minute, for people.
fn minute(time: Time) -> String {
    time.to_string().chars().take(16).collect::<String>().replace('T', " ")
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
    response.body(body.into()).map_err(Error::internal)
}
