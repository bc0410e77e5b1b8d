//! Sign-in with a provider: to it, and back.

use serde::Serialize;
use shared::problem::Code;

use super::super::form::Form;
use super::super::html::redirect;
use super::super::{Page, provider_answer, sentence};
use super::{Action, Fields, Visit, dashboard, draw_sign_in, return_to, signed_in, welcome};
use crate::error::{Error, Result};
use crate::transport::pages::Pages;
use crate::web_login::cookies::{self, BINDING, STARTED};
use crate::web_login::providers::Arrival;
use crate::web_login::{Outcome, WebLogin};

/// The sign-in with a provider.
#[derive(Serialize)]
pub(super) struct Link {
    pub url: String,
    pub label: String,
}

pub(super) fn provider_link(name: &str, return_to: &str) -> Link {
    let url = match return_to {
        "" => format!("/auth/{name}"),
        target => format!("/auth/{name}?return_to={}", shared::wire::percent_encode(target)),
    };
    Link { url, label: label_of(name).to_owned() }
}

/// The proof of who is signed in, by a new sign-in with a provider that leads to this page of ours.
pub(super) fn again_link(name: &str, return_to: &str) -> Link {
    let url = format!("/auth/{name}?again=true&return_to={}", shared::wire::percent_encode(return_to));
    Link { url, label: label_of(name).to_owned() }
}

/// What people call a provider.
pub(super) fn label_of(name: &str) -> &str {
    match name {
        "google" => "Google",
        other => other,
    }
}

/// The provider that a path names: `/auth/{provider}…`.
fn provider_of<'a>(visit: &Visit<'a>) -> &'a str {
    visit.path.split('/').nth(2).unwrap_or_default()
}

/// `GET /auth/{provider}?return_to=…`, with `again=true&` before it to say anew who one is.
pub(super) async fn depart(pages: &Pages, visit: &Visit<'_>) -> Result<Page> {
    let web = &pages.web_login;
    let return_to = return_to(web, visit).unwrap_or_default();
    let departure = match web.depart(provider_of(visit), return_to.clone(), is_again(visit)).await {
        Ok(departure) => departure,
        Err(error) => return not_signed_in(pages, visit, error, return_to),
    };
    let mut page = redirect(departure.url);
    remember(web, visit, &departure.started, &mut page);
    Ok(page)
}

fn is_again(visit: &Visit<'_>) -> bool {
    visit.query.and_then(Form::parse).is_some_and(|query| query.field("again") == Some("true"))
}

/// Gives the browser what it comes back with. A code that is needed afterwards belongs to this browser too.
pub(super) fn remember(web: &WebLogin, visit: &Visit<'_>, started: &str, page: &mut Page) {
    if visit.cookie(BINDING).one().is_none() {
        page.headers.push(("set-cookie", cookies::set(BINDING, &web.new_binding())));
    }
    page.headers.push(("set-cookie", cookies::set(STARTED, started)));
}

/// `GET /auth/{provider}/callback?state=…&code=…` or `…&error=…` (RFC 6749 §4.1.2).
pub(super) async fn arrive(pages: &Pages, visit: Visit<'_>) -> Result<Page> {
    let web = &pages.web_login;
    let answer = provider_answer(visit.query);
    let (Some(answer), Some(binding)) = (answer, visit.cookie(BINDING).one()) else {
        let fields = Fields { fault: "The sign-in could not be read. Start again.".to_owned(), ..Fields::default() };
        return draw_sign_in(pages, &visit, 400, &fields);
    };
    let started = visit.cookie(STARTED).one();
    let (visitor, _) = signed_in(web, &visit).await?;
    let arrived = web.arrive(visit.call.clone(), visitor.clone(), provider_of(&visit), binding, started, answer).await;
    let mut page = match arrived {
        Ok(Arrival { outcome: Outcome::Linking(linked), .. }) => match (linked, visitor) {
            (Err(error), Some(visitor)) => {
                dashboard::refused(pages, Action::Identities, &visit, visitor, error).await?
            }
            _ => redirect(dashboard::IDENTITIES.to_owned()),
        },
        Ok(Arrival { outcome: Outcome::SignedIn(token), return_to }) => {
            return welcome(pages, &visit, &token, return_to).await;
        }
        Ok(Arrival { outcome: Outcome::NeedsCode(pending), return_to }) => {
            draw_sign_in(pages, &visit, 200, &Fields { return_to, pending, ..Fields::default() })?
        }
        Err(error) => not_signed_in(pages, &visit, error, String::new())?,
    };
    // It has been used.
    page.headers.push(("set-cookie", cookies::clear(STARTED)));
    Ok(page)
}

/// The form to sign in with what went wrong at or with a provider.
fn not_signed_in(pages: &Pages, visit: &Visit<'_>, error: Error, return_to: String) -> Result<Page> {
    let is_told = matches!(
        error.code,
        Code::PasskeyRequired
            | Code::InvalidToken
            | Code::Forbidden
            | Code::Conflict
            | Code::UpstreamFailed
            | Code::Unavailable
            | Code::NotFound
    );
    if !is_told {
        return Err(error);
    }
    let fault = sentence(&error.detail);
    draw_sign_in(pages, visit, error.code.status(), &Fields { return_to, fault, ..Fields::default() })
}
