//! The pages that mailed links open. The token is in the fragment of the URL, which the browser does not send: a short
//! script copies it into the form and shows whose account it is for, so that somebody who was sent another's link notices;
//! without scripts the person pastes the code of the mail.

use std::sync::Arc;

use shared::api::accounts::{ConfirmEmail, ConfirmReset, VerifySignUp};
use shared::problem::Code;
use shared::secret::Secret;

use super::form::Form;
use super::html::{Escaped, Tone, page, page_with_script};
use super::{Page, explained, failure, sentence};
use crate::accounts::Accounts;
use crate::call::Call;
use crate::error::Error;

/// What a link offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    Verify,
    Reset,
    Email,
}

impl Offer {
    const fn title(self) -> &'static str {
        match self {
            Self::Verify => "Create your account",
            Self::Reset => "Set a new password",
            Self::Email => "Confirm your new e-mail address",
        }
    }
}

/// The form of a link. `fault` says what was wrong with the one before.
pub fn form(offer: Offer, fault: Option<&str>, token: &str) -> Page {
    let status = if fault.is_some() { 422 } else { 200 };
    let fault = fault.map(|fault| format!("<p class=\"bad\" role=\"alert\">{}</p>", Escaped(&sentence(fault))));
    let password = "<label>Password<input name=\"password\" type=\"password\" autocomplete=\"new-password\" required \
         minlength=\"8\" maxlength=\"1024\"></label><p><small>At least 8 characters. A sentence is easier to remember \
         and harder to guess than a short password.</small></p>";
    let (whose, intro, fields, button) = match offer {
        Offer::Verify => {
            ("Account", "Choose the password for your account.", password.to_owned(), "Create the account")
        }
        Offer::Reset => (
            "Account",
            "This ends all your sessions.",
            format!(
                "{password}<label>Code of your authenticator app, or a recovery code<input name=\"totp\" \
                 autocomplete=\"one-time-code\" inputmode=\"numeric\"></label><p><small>Leave it empty if you have not \
                 turned that on.</small></p>"
            ),
            "Set the password",
        ),
        Offer::Email => ("New address", "Mails go to this address from now on.", String::new(), "Confirm the address"),
    };
    let body = format!(
        "{fault}<p>{intro}</p><form method=\"post\"><label id=\"code\">Code of the mail<input id=\"token\" name=\"token\" \
         autocomplete=\"off\" required value=\"{token}\"></label><dl id=\"whose\" hidden><dt>{whose}</dt>\
         <dd id=\"address\"></dd></dl><input id=\"user\" autocomplete=\"username\" hidden>{fields}<p><button class=\"main\" \
         type=\"submit\">{button}</button></p></form>",
        fault = fault.unwrap_or_default(),
        token = Escaped(token),
    );
    page_with_script(status, offer.title(), Tone::Plain, &body)
}

/// Does what a link offers.
pub async fn submit(accounts: &Arc<Accounts>, call: Call, offer: Offer, body: &[u8]) -> Page {
    let Some(fields) = std::str::from_utf8(body).ok().and_then(Form::parse) else {
        return form(offer, Some("the form could not be read: open the link of the mail again"), "");
    };
    let field = |name: &str| fields.field(name).unwrap_or_default();
    let (caused_by, token) = ((call.request_id, call.address), field("token").to_owned());
    match act(accounts, call, offer, field).await {
        Ok(told) => page(200, "Done", Tone::Good, &format!("<p>{}</p>", Escaped(told))),
        Err(error) => match error.code {
            Code::InvalidToken | Code::NameTaken | Code::Forbidden => {
                explained(error.code.status(), "This link does not work", &error.detail, "You can close this window.")
            }
            Code::ValidationFailed | Code::TotpRequired => {
                let detail = error.fields.first().map_or(error.detail.as_str(), |field| field.detail.as_str());
                form(offer, Some(detail), &token)
            }
            _ => failure(caused_by, &error),
        },
    }
}

async fn act<'a>(
    accounts: &Arc<Accounts>,
    call: Call,
    offer: Offer,
    field: impl Fn(&str) -> &'a str,
) -> Result<&'static str, Error> {
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
