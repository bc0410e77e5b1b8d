//! Pages and redirects for browsers, which are not operations.
//!
//! Invariants: no scripts but a short one, nothing loaded but authd's own style sheet, no caching, no referrer for others;
//! every value is escaped; the module of a page decides what it does, this one only parses the request and renders the answer.

pub(crate) mod accounts;
pub(crate) mod cli_login;
pub mod form;
pub(super) mod html;
pub(super) mod mount;
mod templates;
pub(crate) mod web;

use std::net::IpAddr;

use ::http::Response;
use bytes::Bytes;
use serde::Serialize;
use shared::secret::Secret;
use shared::time::Time;

use self::form::Form;
use self::mount::Mount;
pub use self::templates::PageTemplates;
use self::templates::{View, draw_alone};
use super::answer::Body;
use super::pages::Pages;
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
fn failure(pages: &Pages, (request_id, address): (RequestId, Option<IpAddr>), error: &Error) -> Result<Page> {
    caused!(
        address,
        warn,
        %request_id,
        code = error.code.as_str(),
        source = error.source_text().map(|text| text.to_string()),
        "a page failed"
    );
    let hint = format!("Load this page again in a moment. In authd's log this is request {request_id}.");
    explained(pages, error.code.status(), "This page is not available", &error.detail, &hint)
}

/// A page with the error as a sentence, and what to do about it.
fn explained(pages: &Pages, status: u16, title: &'static str, reason: &str, hint: &str) -> Result<Page> {
    text(pages, status, title, Tone::Bad, &[&sentence(reason), hint])
}

/// The page under a name that is not known (RFC 9110 §15.5.20).
pub(super) fn misdirected(pages: &Pages) -> Result<Page> {
    let there = format!("It is at {}.", pages.public_url);
    let hint = "For the operator: AUTHD_PUBLIC_URL is the address that people use; AUTHD_HOSTS names more hosts.";
    text(pages, 421, "This page is not at this address", Tone::Bad, &[&there, hint])
}

fn text(pages: &Pages, status: u16, title: &'static str, tone: Tone, paragraphs: &[&str]) -> Result<Page> {
    let paragraphs = paragraphs.iter().map(|text| (*text).to_owned()).collect();
    draw_alone(pages, status, &Message { title, tone, paragraphs }, false)
}

/// What happened, in words.
#[derive(Serialize)]
struct Message {
    title: &'static str,
    tone: Tone,
    paragraphs: Vec<String>,
}

/// The colour of a heading, as the class of the style sheet.
#[derive(Clone, Copy, Serialize)]
enum Tone {
    #[serde(rename = "good")]
    Good,
    #[serde(rename = "bad")]
    Bad,
    #[serde(rename = "")]
    Plain,
}

impl View for Message {
    const TEMPLATE: &'static str = "message.html";

    fn samples() -> Vec<Self> {
        let sample = |tone| Self { title: "Done", tone, paragraphs: vec!["You can close this window.".to_owned()] };
        vec![sample(Tone::Good), sample(Tone::Bad), sample(Tone::Plain)]
    }
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
