//! The pages that mailed links open. The token is in the fragment of the URL, which the browser does not send: a short
//! script copies it into the form and shows whose account it is for, so that somebody who was sent another's link notices;
//! without scripts the person pastes the code of the mail.

use std::sync::Arc;

use serde::Serialize;
use shared::api::accounts::{ConfirmEmail, ConfirmReset, VerifySignUp};
use shared::problem::Code;
use shared::secret::Secret;

use super::form::Form;
use super::templates::{View, draw_alone};
use super::{Page, Tone, explained, failure, sentence, text};
use crate::accounts::Accounts;
use crate::call::Call;
use crate::error::Result;
use crate::transport::pages::Pages;

/// What a link offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Offer {
    Verify,
    Reset,
    Email,
}

/// The form of a link.
#[derive(Serialize)]
pub(super) struct LinkForm {
    offer: Offer,
    /// What was wrong with the one before.
    fault: Option<String>,
    token: String,
}

impl View for LinkForm {
    const TEMPLATE: &'static str = "link.html";

    fn samples() -> Vec<Self> {
        let offers = [Offer::Verify, Offer::Reset, Offer::Email];
        let faults = [None, Some("It did not work.".to_owned())];
        let sample = |(offer, fault)| Self { offer, fault, token: "token".to_owned() };
        offers.into_iter().flat_map(|offer| faults.clone().map(|fault| (offer, fault))).map(sample).collect()
    }
}

/// The form of a link. `fault` says what was wrong with the one before.
pub fn form(pages: &Pages, offer: Offer, fault: Option<&str>, token: &str) -> Result<Page> {
    let status = if fault.is_some() { 422 } else { 200 };
    draw_alone(pages, status, &LinkForm { offer, fault: fault.map(sentence), token: token.to_owned() }, true)
}

/// Does what a link offers.
pub async fn submit(pages: &Pages, call: Call, offer: Offer, body: &[u8]) -> Result<Page> {
    let Some(fields) = std::str::from_utf8(body).ok().and_then(Form::parse) else {
        return form(pages, offer, Some("the form could not be read: open the link of the mail again"), "");
    };
    let field = |name: &str| fields.field(name).unwrap_or_default();
    let (caused_by, token) = ((call.request_id, call.address), field("token").to_owned());
    match act(&pages.accounts, call, offer, field).await {
        Ok(told) => text(pages, 200, "Done", Tone::Good, &[told]),
        Err(error) => match error.code {
            Code::InvalidToken | Code::NameTaken | Code::Forbidden => {
                let hint = "You can close this window.";
                explained(pages, error.code.status(), "This link does not work", &error.detail, hint)
            }
            Code::ValidationFailed | Code::TotpRequired => {
                let detail = error.fields.first().map_or(error.detail.as_str(), |field| field.detail.as_str());
                form(pages, offer, Some(detail), &token)
            }
            _ => failure(pages, caused_by, &error),
        },
    }
}

async fn act<'a>(
    accounts: &Arc<Accounts>,
    call: Call,
    offer: Offer,
    field: impl Fn(&str) -> &'a str,
) -> Result<&'static str> {
    let token = Secret::new(field("token").to_owned());
    let password = Secret::new(field("password").to_owned());
    let totp = Some(field("totp").trim()).filter(|code| !code.is_empty()).map(|code| Secret::new(code.to_owned()));
    let owner = accounts.clone();
    // To its end, as by the operation.
    let done = async move {
        match offer {
            Offer::Verify => {
                owner.verify_without_session(call, VerifySignUp { token, email: None, password, name: None }).await
            }
            Offer::Reset => {
                owner.confirm_reset(call, ConfirmReset { token, email: None, password, totp }).await.map(drop)
            }
            Offer::Email => owner.confirm_email(call, ConfirmEmail { token }).await.map(drop),
        }
    };
    accounts.detached.run(done).await?;
    Ok(match offer {
        Offer::Verify => "Your account is ready. Sign in with your e-mail address and the password.",
        Offer::Reset => "Your password is set, and all your sessions have ended. Sign in with the new password.",
        Offer::Email => "Your new e-mail address is confirmed.",
    })
}
