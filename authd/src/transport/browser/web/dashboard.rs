//! The pages of who is signed in.
//!
//! Each form is posted to a page of its own. What it asks for is done by an operation, which decides; what that refuses is
//! shown on the same page again. A change that takes a fresh proof leads to the page for that, and from there to a page
//! with a form: no form is sent again by itself.

mod access;
mod account;
pub mod files;
mod identities;
mod overview;
mod security;
mod totp;
mod verify;

use minijinja::value::Serde;
use minijinja::{Value, context};
use serde::Serialize;
use shared::api::factors::{FactorKind, FactorList, ListFactors};
use shared::problem::Code;
use shared::secret::Secret;

pub(super) use self::verify::target;
use super::super::form::Form;
use super::super::html::redirect;
use super::super::templates::{PageTemplates, View};
use super::super::{Page, sentence};
use super::{DASHBOARD, NOT_OURS, Visit, clear_session, draw, lacks_passkey, session_cookies, signed_in};
use crate::accounts::Accounts;
use crate::call::Call;
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::registry::Handler;
use crate::transport::pages::Pages;
use crate::users::store::Login;
use crate::web_login::WebLogin;

pub(super) const SECURITY: &str = "/dashboard/security";
pub(super) const IDENTITIES: &str = "/dashboard/identities";
const FILES: &str = "/dashboard/files";
const ACCESS: &str = "/dashboard/access";

/// The sections, in the order of their links.
const SECTIONS: &[(&str, &str)] =
    &[(DASHBOARD, "Account"), (SECURITY, "Security"), (IDENTITIES, "Identities"), (FILES, "Files"), (ACCESS, "Access")];

/// A page of who is signed in, or what a form does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Overview,
    SignOut,
    EndSession,
    EndSessions,
    Email,
    Delete,
    Security,
    RemovePasskey,
    RenamePasskey,
    Password,
    /// Mails a link to set a password, to who has none.
    MailPasswordLink,
    Totp,
    ConfirmTotp,
    DisableTotp,
    RecoveryCodes,
    Identities,
    LinkIdentity,
    UnlinkIdentity,
    Files,
    DeleteFile,
    Access,
    Verify,
}

impl Action {
    /// Whether it is open to who has to add a passkey first: the ways to that, and out.
    const fn leads_to_a_passkey(self) -> bool {
        matches!(
            self,
            Self::Security
                | Self::Verify
                | Self::MailPasswordLink
                | Self::SignOut
                | Self::EndSession
                | Self::EndSessions
        )
    }

    /// The section that it belongs to.
    const fn section(self) -> &'static str {
        match self {
            Self::Overview | Self::SignOut | Self::EndSession | Self::EndSessions | Self::Email | Self::Delete => {
                DASHBOARD
            }
            Self::Identities | Self::LinkIdentity | Self::UnlinkIdentity => IDENTITIES,
            Self::Files | Self::DeleteFile => FILES,
            Self::Access => ACCESS,
            Self::Security
            | Self::RemovePasskey
            | Self::RenamePasskey
            | Self::Password
            | Self::MailPasswordLink
            | Self::Totp
            | Self::ConfirmTotp
            | Self::DisableTotp
            | Self::RecoveryCodes
            | Self::Verify => SECURITY,
        }
    }
}

/// Somebody who is signed in, with what they ask for.
struct Visitor<'a> {
    pages: &'a Pages,
    visit: &'a Visit<'a>,
    action: Action,
    call: Call,
    person: Login,
    form_token: String,
    /// Empty where there is none.
    form: Form,
}

impl<'a> Visitor<'a> {
    async fn new(pages: &'a Pages, action: Action, visit: &'a Visit<'a>, caller: Caller) -> Result<Self> {
        let web = &pages.web_login;
        let cookie = visit.cookie(web.cookies.session()).one().unwrap_or_default();
        let call = visit.call.of(caller);
        let person = pages.accounts.person(&call).await?;
        let (form_token, form) = (web.form_token(cookie)?, visit.form());
        Ok(Self { pages, visit, action, call, person, form_token, form })
    }

    fn web(&self) -> &WebLogin {
        &self.pages.web_login
    }

    /// A field of the form; empty where there is none.
    fn field(&self, name: &str) -> &str {
        self.form.field(name).unwrap_or_default()
    }

    fn password(&self) -> Secret {
        Secret::new(self.field("password"))
    }

    /// The code, if one was typed.
    fn code(&self) -> Option<Secret> {
        Some(self.field("code").trim()).filter(|code| !code.is_empty()).map(Secret::new)
    }

    /// Runs an operation on accounts to its end, as by its route.
    async fn run<Op, View, H>(&self, handler: H, op: Op) -> Result<View>
    where
        Op: Send + 'static,
        View: Send + 'static,
        H: for<'b> Handler<'b, Accounts, Op, View>,
    {
        let (owner, call) = (self.pages.accounts.clone(), self.call.clone());
        self.pages.accounts.detached.run(async move { handler.call(&owner, call, op).await }).await
    }

    /// Gives the browser another cookie with the page that tells of a change which has ended every other session.
    async fn rotate(&self, mut page: Page) -> Result<Page> {
        let (owner, call) = (self.pages.accounts.clone(), self.call.clone());
        let token = self.pages.accounts.detached.run(async move { owner.rotate(&call).await }).await?;
        page.headers.extend(session_cookies(self.web(), &token));
        Ok(page)
    }

    async fn factors(&self) -> Result<FactorList> {
        self.pages.accounts.list_factors(self.call.clone(), ListFactors {}).await
    }

    async fn has_totp(&self) -> Result<bool> {
        Ok(self.factors().await?.factors.iter().any(|factor| factor.kind == FactorKind::Totp))
    }

    fn draw<V: View>(&self, told: &Told, view: &V) -> Result<Page> {
        draw(self.pages, told.status, &Value::from(Serde(self.frame(told))), view)
    }

    fn frame(&self, told: &Told) -> Frame {
        let person = &self.person;
        let section = self.action.section();
        let current = |url: &str| match url {
            url if url == self.visit.path => Some("page"),
            url if url == section => Some("true"),
            _ => None,
        };
        let sections = SECTIONS.iter().map(|(url, label)| Section { url, label, current: current(url) });
        Frame {
            who: Some(&person.name).filter(|name| !name.is_empty()).unwrap_or(&person.username).clone(),
            username: person.username.clone(),
            email: person.email.clone(),
            has_password: person.password_hash.is_some(),
            can_mail_link: person.email_verified && self.pages.accounts.has_mail(),
            sections: sections.collect(),
            form_token: self.form_token.clone(),
            fault: told.fault.clone(),
            done: told.done,
        }
    }
}

/// What every page says.
#[derive(Serialize)]
pub(super) struct Frame {
    who: String,
    username: String,
    email: Option<String>,
    has_password: bool,
    can_mail_link: bool,
    sections: Vec<Section>,
    form_token: String,
    fault: Option<String>,
    done: Option<&'static str>,
}

/// A link to a section. `current` is the value of `aria-current`.
#[derive(Serialize)]
struct Section {
    url: &'static str,
    label: &'static str,
    current: Option<&'static str>,
}

impl Frame {
    /// Of a person with everything, and of one with nothing.
    pub(super) fn samples() -> Vec<Self> {
        let sample = |full: bool| Self {
            who: "Ada".to_owned(),
            username: "ada".to_owned(),
            email: full.then(|| "ada@example.com".to_owned()),
            has_password: full,
            can_mail_link: full,
            sections: vec![Section { url: DASHBOARD, label: "Account", current: full.then_some("page") }],
            form_token: "token".to_owned(),
            fault: full.then(|| "It did not work.".to_owned()),
            done: full.then_some("It is done."),
        };
        // A link can be mailed to who has no password.
        vec![sample(true), sample(false), Self { can_mail_link: true, ..sample(false) }]
    }
}

/// What is wrong with the templates of these pages.
pub(super) fn faults(templates: &PageTemplates) -> Vec<String> {
    let frames: Vec<Value> = Frame::samples().into_iter().map(|frame| Serde(frame).into()).collect();
    let mut faults = templates.faults::<overview::Overview>(&frames);
    faults.extend(templates.faults::<account::EmailForm>(&frames));
    faults.extend(templates.faults::<account::DeleteForm>(&frames));
    faults.extend(templates.faults::<account::Deleted>(&[context! {}]));
    faults.extend(templates.faults::<security::Security>(&frames));
    faults.extend(templates.faults::<security::PasswordForm>(&frames));
    faults.extend(templates.faults::<totp::Totp>(&frames));
    faults.extend(templates.faults::<totp::DisableForm>(&frames));
    faults.extend(templates.faults::<totp::Codes>(&frames));
    faults.extend(templates.faults::<identities::Identities>(&frames));
    faults.extend(templates.faults::<files::FilesPage>(&frames));
    faults.extend(templates.faults::<access::Access>(&frames));
    faults.extend(templates.faults::<verify::Verify>(&frames));
    faults
}

/// What a page says of what was asked for before.
struct Told {
    status: u16,
    fault: Option<String>,
    done: Option<&'static str>,
}

impl Told {
    const NOTHING: Self = Self { status: 200, fault: None, done: None };

    fn fault(status: u16, fault: impl Into<String>) -> Self {
        Self { status, fault: Some(fault.into()), done: None }
    }

    /// What an operation has refused.
    fn refused(error: &Error) -> Self {
        let detail = error.fields.first().map_or(error.detail.as_str(), |field| field.detail.as_str());
        let fault = match error.code {
            Code::TotpRequired => "A code is needed too.".to_owned(),
            _ => sentence(detail),
        };
        Self::fault(error.code.status(), fault)
    }
}

/// What was done by the form before, by the word in the query.
fn notice(word: &str) -> Option<&'static str> {
    Some(match word {
        "email" => "A link was mailed to the new address. Open it to confirm the address.",
        "password" => "Your password is changed, and you are signed out everywhere else.",
        "password-link" => "A link to set a password was mailed to you.",
        "totp-off" => "The authenticator app is turned off.",
        "identity" => "The identity is unlinked, and you are signed out everywhere else.",
        "passkey" => "The passkey is removed, and you are signed out everywhere else.",
        _ => return None,
    })
}

pub(super) async fn respond(pages: &Pages, action: Action, visit: Visit<'_>) -> Result<Page> {
    let web = &pages.web_login;
    let (caller, is_stale) = signed_in(web, &visit).await?;
    let Some(caller) = caller else {
        // A form cannot be returned to.
        let return_to = if visit.body.is_some() { action.section() } else { visit.path };
        return Ok(to_sign_in(web, return_to, is_stale));
    };
    let at = Visitor::new(pages, action, &visit, caller).await?;
    if !action.leads_to_a_passkey() && lacks_passkey(pages, &at.call).await? {
        return Ok(redirect(SECURITY.to_owned()));
    }
    if visit.body.is_none() {
        // A link of another site must not say that something was done.
        let query = visit.query.filter(|_| !visit.is_foreign(&web.origin)).and_then(Form::parse);
        let done = query.as_ref().and_then(|query| query.field("done")).and_then(notice);
        return show(&at, action, &Told { done, ..Told::NOTHING }).await;
    }
    if visit.sent_by_own_page(web, web.cookies.session(), at.field("form_token"))?.is_none() {
        return show(&at, action, &Told::fault(403, NOT_OURS)).await;
    }
    match submit(&at).await {
        Err(error) => told(&at, error).await,
        answer => answer,
    }
}

/// The page with the form of an action that somebody who is signed in could not do.
pub(super) async fn refused(
    pages: &Pages,
    action: Action,
    visit: &Visit<'_>,
    caller: Caller,
    error: Error,
) -> Result<Page> {
    told(&Visitor::new(pages, action, visit, caller).await?, error).await
}

/// Tells why nothing was done.
async fn told(at: &Visitor<'_>, error: Error) -> Result<Page> {
    match error.code {
        Code::StepUpRequired => Ok(redirect(format!("/dashboard/verify?return_to={}", at.action.section()))),
        code if code.status() < 500 || code == Code::UpstreamFailed => {
            show(at, at.action, &Told::refused(&error)).await
        }
        _ => Err(error),
    }
}

/// The page with the form of an action.
async fn show(at: &Visitor<'_>, action: Action, told: &Told) -> Result<Page> {
    match action {
        Action::Overview | Action::SignOut | Action::EndSession | Action::EndSessions => overview::show(at, told).await,
        Action::Email => account::show_email(at, told).await,
        Action::Delete => account::show_delete(at, told).await,
        Action::Security | Action::RemovePasskey | Action::RenamePasskey | Action::MailPasswordLink => {
            security::show(at, told).await
        }
        Action::Password => security::show_password(at, told).await,
        Action::Totp => totp::show(at, told).await,
        Action::ConfirmTotp => totp::show_code(at, told),
        Action::DisableTotp => totp::show_disable(at, told).await,
        Action::RecoveryCodes => totp::show_renew(at, told).await,
        Action::Identities | Action::LinkIdentity | Action::UnlinkIdentity => identities::show(at, told).await,
        Action::Files | Action::DeleteFile => files::show(at, told).await,
        Action::Access => access::show(at, told).await,
        Action::Verify => verify::show(at, told).await,
    }
}

/// Does what a form asks for.
async fn submit(at: &Visitor<'_>) -> Result<Page> {
    match at.action {
        Action::SignOut => overview::sign_out(at).await,
        Action::EndSession => overview::end_session(at).await,
        Action::EndSessions => overview::end_sessions(at).await,
        Action::Email => account::change_email(at).await,
        Action::Delete => account::delete(at).await,
        Action::RemovePasskey => security::remove_passkey(at).await,
        Action::RenamePasskey => security::rename_passkey(at).await,
        Action::Password => security::change_password(at).await,
        Action::MailPasswordLink => security::mail_password_link(at).await,
        Action::Totp => totp::enable(at).await,
        Action::ConfirmTotp => totp::confirm(at).await,
        Action::DisableTotp => totp::disable(at).await,
        Action::RecoveryCodes => totp::renew_codes(at).await,
        Action::LinkIdentity => identities::link(at).await,
        Action::UnlinkIdentity => identities::unlink(at).await,
        Action::DeleteFile => files::delete(at).await,
        Action::Verify => verify::submit(at).await,
        Action::Overview | Action::Security | Action::Identities | Action::Files | Action::Access => {
            show(at, at.action, &Told::NOTHING).await
        }
    }
}

/// Sends who is not signed in to the sign-in, and back.
fn to_sign_in(web: &WebLogin, return_to: &str, is_stale: bool) -> Page {
    let mut page = redirect(format!("/login?return_to={return_to}"));
    if is_stale {
        clear_session(web, &mut page);
    }
    page
}
