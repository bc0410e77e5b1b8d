//! The page of who is signed in.

use minijinja::{Value, context};
use shared::api::factors::{FactorKind, ListFactors};
use shared::api::passkeys::{ListPasskeys, Passkey, RemovePasskey};
use shared::api::sessions::{EndOwnSession, EndOwnSessions, ListOwnSessions, Logout, Session, SessionKind};
use shared::problem::Code;

use super::super::html::redirect;
use super::super::{Page, minute, sentence};
use super::{DASHBOARD, Visit, Web, clear_session, draw, signed_in, to_sign_in};
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::sessions;
use crate::transport::pages::Pages;
use crate::web_login::cookies::{self, BINDING};

pub(super) async fn show(pages: &Pages, visit: Visit<'_>) -> Result<Page> {
    let (caller, is_stale) = signed_in(&pages.web_login, &visit).await?;
    match caller {
        Some(caller) => draw_page(pages, &visit, caller, 200, None).await,
        None => Ok(to_sign_in(&pages.web_login, is_stale)),
    }
}

async fn draw_page(pages: &Pages, visit: &Visit<'_>, caller: Caller, status: u16, fault: Option<&str>) -> Result<Page> {
    let web = &pages.web_login;
    let call = visit.call.of(caller);
    let (_, this) = sessions::person(&call)?;
    let person = pages.accounts.person(&call).await?;
    let list = pages.sessions.list_own(call.clone(), ListOwnSessions::default()).await?;
    let factors = pages.accounts.list_factors(call.clone(), ListFactors {}).await?;
    let passkeys = pages.accounts.list_passkeys(call.clone(), ListPasskeys {}).await?.passkeys;
    let passkeys: Vec<Value> = passkeys.iter().map(passkey_row).collect();
    let rows: Vec<Value> = list.sessions.iter().map(|session| row(session, session.id == this)).collect();
    // A passkey is no second factor: it signs in alone.
    let second = factors.factors.iter().filter(|factor| factor.kind == FactorKind::Totp);
    let shown: Vec<Value> =
        second.map(|factor| context! { name => &factor.name, since => minute(factor.created_at) }).collect();
    let cookie = visit.cookie(web.cookies.session()).one().unwrap_or_default();
    let context = context! {
        form_token => web.form_token(cookie)?,
        name => person.name,
        username => person.username,
        email => person.email,
        email_verified => person.email_verified,
        codes_left => (!shown.is_empty()).then_some(factors.recovery_codes),
        factors => shown,
        passkeys,
        has_passkeys => web.has_passkeys(),
        sessions => rows,
        has_more => list.next_cursor.is_some(),
        fault,
    };
    draw(web, status, "dashboard.html", context)
}

fn passkey_row(passkey: &Passkey) -> Value {
    context! {
        id => passkey.id.to_string(),
        name => passkey.name.as_str(),
        since => minute(passkey.created_at),
        used => passkey.last_used_at.map(minute),
    }
}

/// A session as the dashboard shows it.
fn row(session: &Session, is_this: bool) -> Value {
    let what = match session.kind {
        SessionKind::Web => "A browser".to_owned(),
        SessionKind::Login => "A program, by the API".to_owned(),
        SessionKind::Device => {
            let device = session.device_name.as_deref().unwrap_or("a device");
            format!("auth-login on {device}")
        }
    };
    context! {
        id => session.id.to_string(),
        what,
        since => minute(session.created_at),
        used => minute(session.last_used_at),
        address => session.address.as_deref(),
        is_this,
    }
}

/// What a button of the dashboard does.
pub(super) async fn change(pages: &Pages, page: Web, visit: Visit<'_>) -> Result<Page> {
    let web = &pages.web_login;
    let (caller, is_stale) = signed_in(web, &visit).await?;
    let Some(caller) = caller else { return Ok(to_sign_in(web, is_stale)) };
    let form = visit.form();
    let cookie = visit.cookie(web.cookies.session()).one().unwrap_or_default();
    let is_ours =
        !visit.is_foreign(&web.origin) && web.accepts_form(cookie, form.field("form_token").unwrap_or_default())?;
    if !is_ours {
        let fault = "Nothing was done: the form was not sent by this page, or it was too old. Try again.";
        return draw_page(pages, &visit, caller, 403, Some(fault)).await;
    }
    let call = visit.call.of(caller.clone());
    let provider = pages.sessions.provider_of(&call).await?;
    match page {
        Web::EndSession => {
            let ended = match form.field("id").and_then(|id| id.parse().ok()) {
                Some(id) => pages.sessions.end_own(call, EndOwnSession { id }).await,
                None => Err(Error::not_found("session")),
            };
            return match ended {
                Ok(_) => Ok(redirect(DASHBOARD.to_owned())),
                Err(error) if error.code == Code::NotFound => {
                    draw_page(pages, &visit, caller, 404, Some("This session has ended already.")).await
                }
                Err(error) => Err(error),
            };
        }
        Web::RemovePasskey => {
            let removed = match form.field("id").and_then(|id| id.parse().ok()) {
                Some(id) => pages.accounts.remove_passkey(call, RemovePasskey { id }).await,
                None => Err(Error::not_found("passkey")),
            };
            return match removed {
                Ok(_) => Ok(redirect(DASHBOARD.to_owned())),
                Err(error) if error.code.status() < 500 => {
                    let fault = sentence(&error.detail);
                    draw_page(pages, &visit, caller, error.code.status(), Some(&fault)).await
                }
                Err(error) => Err(error),
            };
        }
        Web::EndSessions => {
            pages.sessions.end_all_own(call, EndOwnSessions {}).await?;
        }
        _ => {
            pages.sessions.logout(call, Logout {}).await?;
        }
    }
    let again = match form.field("return_to").and_then(|target| web.target(target)) {
        Some(target) => format!("/login?return_to={}", shared::wire::percent_encode(&target)),
        None => "/login".to_owned(),
    };
    let away = match provider {
        Some(provider) => web.leave(&provider).await,
        None => None,
    };
    let mut page = match away {
        Some(url) => draw(web, 200, "leaving.html", context! { url })?,
        None => redirect(again),
    };
    clear_session(web, &mut page);
    page.headers.push(("set-cookie", cookies::clear(BINDING)));
    Ok(page)
}
