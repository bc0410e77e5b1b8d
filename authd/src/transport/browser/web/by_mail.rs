//! The pages on which somebody who is not signed in asks for a mail: to sign up, or for another password. What they say does
//! not depend on whether an address is known.

use minijinja::context;
use serde::Serialize;
use shared::api::accounts::{RequestReset, SignUp};
use shared::problem::Code;

use super::super::templates::View;
use super::super::{Page, explained, sentence};
use super::{NOT_OURS, Visit, bound, draw};
use crate::error::Result;
use crate::transport::pages::Pages;
use crate::web_login::cookies::BINDING;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    SignUp,
    Reset,
}

#[derive(Serialize)]
pub(super) struct ByMail {
    form_token: String,
    is_sign_up: bool,
    email: String,
    /// What was wrong; empty if nothing was.
    fault: String,
    is_sent: bool,
}

impl View for ByMail {
    const TEMPLATE: &'static str = "by_mail.html";

    fn samples() -> Vec<Self> {
        let sample = |full: bool, is_sent: bool| Self {
            form_token: "token".to_owned(),
            is_sign_up: full,
            email: if full { "ada@example.com".to_owned() } else { String::new() },
            fault: if full { "It did not work.".to_owned() } else { String::new() },
            is_sent,
        };
        vec![sample(true, false), sample(false, false), sample(true, true), sample(false, true)]
    }
}

/// `GET` shows the form, `POST` sends it.
pub(super) async fn respond(pages: &Pages, asked: Asked, visit: Visit<'_>) -> Result<Page> {
    let accounts = &pages.accounts;
    if !accounts.has_mail() || (asked == Asked::SignUp && !accounts.may_sign_up()) {
        let (title, reason) = match asked {
            Asked::SignUp => ("You cannot sign up here", "people do not create accounts here themselves"),
            Asked::Reset => ("No mail is sent here", "a password cannot be reset by mail"),
        };
        return explained(pages, 404, title, reason, "Ask an administrator.");
    }
    let form = visit.form();
    let email = form.field("email").unwrap_or_default().trim().to_owned();
    let page = |status, fault: String, is_sent| {
        bound(pages, &visit, |form_token| {
            let (is_sign_up, email) = (asked == Asked::SignUp, email.clone());
            draw(pages, status, &context! {}, &ByMail { form_token, is_sign_up, email, fault, is_sent })
        })
    };
    if visit.body.is_none() {
        return page(200, String::new(), false);
    }
    let (web, token) = (&pages.web_login, form.field("form_token").unwrap_or_default());
    if visit.sent_by_own_page(web, BINDING, token)?.is_none() {
        return page(403, NOT_OURS.to_owned(), false);
    }
    let (owner, call, email) = (accounts.clone(), visit.call.clone(), email.clone());
    // To its end, as by the operation.
    let requested = accounts.detached.run(async move {
        match asked {
            Asked::SignUp => owner.sign_up(call, SignUp { email }).await,
            Asked::Reset => owner.request_reset(call, RequestReset { email }).await,
        }
    });
    match requested.await {
        Ok(_) => page(200, String::new(), true),
        Err(error) if matches!(error.code, Code::ValidationFailed | Code::Forbidden | Code::RateLimited) => {
            let detail = error.fields.first().map_or(error.detail.as_str(), |field| field.detail.as_str());
            page(error.code.status(), sentence(detail), false)
        }
        Err(error) => Err(error),
    }
}
