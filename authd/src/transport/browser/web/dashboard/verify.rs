//! The proof of somebody who is signed in that it is still them. Their browser gets a new session.

use serde::Serialize;
use shared::api::factors::Reauthenticate;
use shared::api::identities::ListOwnIdentities;
use shared::api::passkeys::ListPasskeys;
use shared::id::SessionId;
use shared::op::Method;

use super::super::super::Page;
use super::super::super::form::Form;
use super::super::super::html::redirect;
use super::super::super::templates::View;
use super::super::label_of;
use super::super::providers::{Link, again_link};
use super::{DASHBOARD, Told, Visitor, session_cookies};
use crate::cli_login::local::PAGE;
use crate::cli_login::model::is_token;
use crate::error::Result;
use crate::sessions;
use crate::transport::pages::PAGES;

const VERIFY: &str = "/dashboard/verify";

#[derive(Serialize)]
pub struct Verify {
    return_to: String,
    needs_code: bool,
    has_passkeys: bool,
    /// Of who has no password.
    providers: Vec<Link>,
}

impl View for Verify {
    const TEMPLATE: &'static str = "verify.html";

    fn samples() -> Vec<Self> {
        let sample = |full: bool| Self {
            return_to: DASHBOARD.to_owned(),
            needs_code: full,
            has_passkeys: full,
            providers: if full { vec![again_link("google", VERIFY)] } else { Vec::new() },
        };
        vec![sample(true), sample(false)]
    }
}

/// Where the browser goes after the proof: to a page of the account or that of a device, and nowhere else; the overview if
/// it asks for another.
pub(in super::super) fn target(asked: &str) -> String {
    if asked.strip_prefix(PAGE).is_some_and(is_token) {
        return asked.to_owned();
    }
    let pages = PAGES.iter().filter(|(method, path, _)| *method == Method::Get && path.starts_with(DASHBOARD));
    let mut paths = pages.map(|(_, path, _)| *path).filter(|path| *path != VERIFY);
    paths.find(|path| *path == asked).unwrap_or(DASHBOARD).to_owned()
}

pub(super) async fn show(at: &Visitor<'_>, told: &Told) -> Result<Page> {
    let query = at.visit.query.and_then(Form::parse).unwrap_or_default();
    let asked = at.form.field("return_to").or_else(|| query.field("return_to"));
    let return_to = target(asked.unwrap_or_default());
    let (_, session) = sessions::person(&at.call)?;
    if told.fault.is_none() && is_proved(at, session, &return_to).await? {
        return Ok(redirect(return_to));
    }
    let passkeys = at.pages.accounts.list_passkeys(at.call.clone(), ListPasskeys {}).await?.passkeys;
    let has_password = at.person.password_hash.is_some();
    let told = match query.field("by").filter(|by| told.fault.is_none() && at.web().proving().any(|name| name == *by)) {
        // Back from there.
        Some(by) => {
            let by = label_of(by);
            &Told::fault(403, format!("{by} does not say that you have signed in there just now. Use another proof."))
        }
        None => told,
    };
    let view = Verify {
        providers: if has_password { Vec::new() } else { providers(at, &return_to).await? },
        return_to,
        needs_code: has_password && at.has_totp().await?,
        has_passkeys: at.web().has_passkeys() && !passkeys.is_empty(),
    };
    at.draw(told, &view)
}

/// Whether the proof that the page takes has been given, to which the browser returns. A device may ask for a later one.
async fn is_proved(at: &Visitor<'_>, session: SessionId, return_to: &str) -> Result<bool> {
    let cli_login = &at.pages.cli_login;
    let waiting = match return_to.strip_prefix(PAGE) {
        Some(state) => cli_login.find_waiting(state).await?,
        None => None,
    };
    match waiting {
        Some(waiting) => cli_login.is_proved(session, waiting.since).await,
        None => at.pages.sessions.is_fresh(session).await,
    }
}

/// The providers of the person's identities.
async fn providers(at: &Visitor<'_>, return_to: &str) -> Result<Vec<Link>> {
    let list = at.pages.accounts.list_own_identities(at.call.clone(), ListOwnIdentities {}).await?;
    let is_linked = |name: &&str| list.identities.iter().any(|own| own.provider.as_deref() == Some(*name));
    let link = |name: &str| again_link(name, &format!("{VERIFY}?by={name}&return_to={return_to}"));
    Ok(at.web().proving().filter(is_linked).map(link).collect())
}

pub(super) async fn submit(at: &Visitor<'_>) -> Result<Page> {
    let op = Reauthenticate { password: at.password(), totp: at.code() };
    let token = at.pages.web_login.step_up(at.call.clone(), op).await?;
    let mut page = redirect(target(at.field("return_to")));
    page.headers.extend(session_cookies(at.web(), &token));
    Ok(page)
}
