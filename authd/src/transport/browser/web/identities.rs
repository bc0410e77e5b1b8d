//! Linked identities of who is signed in: `/dashboard/identities`.

use minijinja::{Value, context};
use shared::api::identities::{LinkedIdentity, ListOwnIdentities, UnlinkOwnIdentity};
use shared::problem::Code;

use super::super::html::redirect;
use super::super::{Page, minute, sentence};
use super::{Visit, Web, draw, label_of, signed_in, to_sign_in};
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::sessions;
use crate::transport::pages::Pages;
use crate::web_login::cookies::{self, BINDING, STARTED};

pub(super) const PATH: &str = "/dashboard/identities";

pub(super) async fn show(pages: &Pages, visit: Visit<'_>) -> Result<Page> {
    let (caller, is_stale) = signed_in(&pages.web_login, &visit).await?;
    match caller {
        Some(caller) => draw_page(pages, &visit, caller, 200, "").await,
        None => Ok(to_sign_in(&pages.web_login, is_stale)),
    }
}

pub(super) async fn draw_page(
    pages: &Pages,
    visit: &Visit<'_>,
    caller: Caller,
    status: u16,
    fault: &str,
) -> Result<Page> {
    let web = &pages.web_login;
    let list = pages.accounts.list_own_identities(visit.call.of(caller), ListOwnIdentities {}).await?;
    let identities: Vec<Value> = list.identities.iter().map(row).collect();
    let providers: Vec<Value> = web.providers().map(|name| context! { name, label => label_of(name) }).collect();
    let cookie = visit.cookie(web.cookies.session()).one().unwrap_or_default();
    let context = context! { form_token => web.form_token(cookie)?, identities, providers, fault };
    draw(web, status, "identities.html", context)
}

fn row(identity: &LinkedIdentity) -> Value {
    let provider = identity.provider.as_deref().map_or(identity.issuer.as_str(), label_of);
    context! {
        id => identity.id.to_string(),
        provider,
        who => identity.email.as_deref().or(identity.name.as_deref()).unwrap_or(&identity.subject),
        since => minute(identity.created_at),
        used => minute(identity.last_used_at),
    }
}

/// What a button of the page does.
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
        return draw_page(pages, &visit, caller, 403, fault).await;
    }
    let call = visit.call.of(caller.clone());
    let changed = match page {
        Web::LinkIdentity => {
            let (_, session) = sessions::person(&call)?;
            match web.depart_to_link(form.field("provider").unwrap_or_default(), session).await {
                Ok(departure) => {
                    let mut page = draw(web, 200, "leaving.html", context! { url => departure.url })?;
                    if visit.cookie(BINDING).one().is_none() {
                        page.headers.push(("set-cookie", cookies::set(BINDING, &web.new_binding())));
                    }
                    page.headers.push(("set-cookie", cookies::set(STARTED, &departure.started)));
                    return Ok(page);
                }
                Err(error) => Err(error),
            }
        }
        _ => match form.field("id").and_then(|id| id.parse().ok()) {
            Some(id) => pages.accounts.unlink_own_identity(call, UnlinkOwnIdentity { id }).await.map(|_| ()),
            None => Err(Error::not_found("identity")),
        },
    };
    match changed {
        Ok(()) => Ok(redirect(PATH.to_owned())),
        Err(error) if error.code.status() < 500 || error.code == Code::UpstreamFailed => {
            draw_page(pages, &visit, caller, error.code.status(), &sentence(&error.detail)).await
        }
        Err(error) => Err(error),
    }
}
