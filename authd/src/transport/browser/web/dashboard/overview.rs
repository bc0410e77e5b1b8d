//! Who somebody is, and where they are signed in.

use serde::Serialize;
use shared::api::sessions::{EndOwnSession, EndOwnSessions, ListOwnSessions, Logout, Session, SessionKind};
use shared::problem::Code;

use super::super::super::html::redirect;
use super::super::super::templates::View;
use super::super::super::{Page, minute};
use super::super::leave;
use super::{DASHBOARD, Told, Visitor, clear_session};
use crate::error::{Error, Result};
use crate::sessions;
use crate::web_login::cookies::{self, BINDING, STARTED};

#[derive(Serialize)]
pub struct Overview {
    email_verified: bool,
    can_change_email: bool,
    sessions: Vec<Row>,
    has_more: bool,
}

/// A session as the page shows it.
#[derive(Serialize)]
struct Row {
    id: String,
    what: String,
    since: String,
    used: String,
    address: Option<String>,
    is_this: bool,
}

impl View for Overview {
    const TEMPLATE: &'static str = "dashboard.html";

    fn samples() -> Vec<Self> {
        let row = |is_this: bool| Row {
            id: "1".to_owned(),
            what: "A browser".to_owned(),
            since: "2027-01-15 08:00".to_owned(),
            used: "2027-01-15 08:00".to_owned(),
            address: is_this.then(|| "192.0.2.7".to_owned()),
            is_this,
        };
        let sample = |full: bool| Self {
            email_verified: full,
            can_change_email: full,
            sessions: vec![row(true), row(false)],
            has_more: full,
        };
        vec![sample(true), sample(false)]
    }
}

impl Row {
    fn new(session: &Session, is_this: bool) -> Self {
        let what = match session.kind {
            SessionKind::Web => "A browser".to_owned(),
            SessionKind::Login => "A program, by the API".to_owned(),
            SessionKind::Device => {
                let device = session.device_name.as_deref().unwrap_or("a device");
                format!("auth-login on {device}")
            }
        };
        Self {
            id: session.id.to_string(),
            what,
            since: minute(session.created_at),
            used: minute(session.last_used_at),
            address: session.address.clone(),
            is_this,
        }
    }
}

pub(super) async fn show(at: &Visitor<'_>, told: &Told) -> Result<Page> {
    let (_, this) = sessions::person(&at.call)?;
    let list = at.pages.sessions.list_own(at.call.clone(), ListOwnSessions::default()).await?;
    let view = Overview {
        email_verified: at.person.email_verified,
        can_change_email: at.pages.accounts.has_mail(),
        sessions: list.sessions.iter().map(|session| Row::new(session, session.id == this)).collect(),
        has_more: list.next_cursor.is_some(),
    };
    at.draw(told, &view)
}

pub(super) async fn end_session(at: &Visitor<'_>) -> Result<Page> {
    let gone = || Error::new(Code::NotFound, "this session has ended already");
    let id = at.field("id").parse().map_err(|_| gone())?;
    match at.pages.sessions.end_own(at.call.clone(), EndOwnSession { id }).await {
        Ok(_) => Ok(redirect(DASHBOARD.to_owned())),
        Err(error) if error.code == Code::NotFound => Err(gone()),
        Err(error) => Err(error),
    }
}

pub(super) async fn end_sessions(at: &Visitor<'_>) -> Result<Page> {
    let provider = at.pages.sessions.provider_of(&at.call).await?;
    at.pages.sessions.end_all_own(at.call.clone(), EndOwnSessions {}).await?;
    signed_out(at, provider).await
}

pub(super) async fn sign_out(at: &Visitor<'_>) -> Result<Page> {
    let provider = at.pages.sessions.provider_of(&at.call).await?;
    at.pages.sessions.logout(at.call.clone(), Logout {}).await?;
    signed_out(at, provider).await
}

/// The provider that had signed the person in may have to sign them out, too.
async fn signed_out(at: &Visitor<'_>, provider: Option<String>) -> Result<Page> {
    let away = match provider {
        Some(provider) => at.web().leave(&provider).await,
        None => None,
    };
    let mut page = match (away, at.web().target(at.field("return_to"))) {
        (Some(url), _) => leave(at.pages, url)?,
        (None, Some(target)) => redirect(format!("/login?return_to={}", shared::wire::percent_encode(&target))),
        (None, None) => redirect("/login".to_owned()),
    };
    forget(at, &mut page);
    Ok(page)
}

/// Removes every cookie of ours.
pub(super) fn forget(at: &Visitor<'_>, page: &mut Page) {
    clear_session(at.web(), page);
    page.headers.extend([BINDING, STARTED].map(|name| ("set-cookie", cookies::clear(name))));
}
