//! The page on which a person of authd's own lets a device in: `/auth/cli/local`.

use minijinja::context;
use serde::Serialize;
use shared::problem::Code;

use super::super::Page;
use super::super::cli_login::{Asks, draw as draw_outcome};
use super::super::html::redirect;
use super::super::templates::View;
use super::dashboard::SECURITY;
use super::{NOT_OURS, Visit, draw_with, lacks_passkey, signed_in};
use crate::cli_login::Outcome;
use crate::cli_login::local::PAGE;
use crate::error::Result;
use crate::sessions;
use crate::transport::pages::Pages;

#[derive(Serialize)]
pub(super) struct DeviceForm {
    form_token: String,
    state: String,
    /// Who is signed in.
    user: String,
    #[serde(flatten)]
    asks: Asks,
    /// The page itself.
    here: String,
    fault: Option<&'static str>,
}

impl View for DeviceForm {
    const TEMPLATE: &'static str = "device.html";

    fn samples() -> Vec<Self> {
        let sample = |asks, fault| Self {
            form_token: "token".to_owned(),
            state: "state".to_owned(),
            user: "ada".to_owned(),
            asks,
            here: "/auth/cli/local?state=state".to_owned(),
            fault,
        };
        let [full, bare] = Asks::samples();
        vec![sample(full, Some("It did not work.")), sample(bare, None)]
    }
}

/// `GET /auth/cli/local?state=…`: what asks, and whether it may. Who is not signed in does so first.
pub(super) async fn ask(pages: &Pages, visit: Visit<'_>) -> Result<Page> {
    let form = visit.query.and_then(super::Form::parse).unwrap_or_default();
    let state = form.field("state").unwrap_or_default().to_owned();
    draw_form(pages, &visit, &state, 200, None).await
}

async fn draw_form(
    pages: &Pages,
    visit: &Visit<'_>,
    state: &str,
    status: u16,
    fault: Option<&'static str>,
) -> Result<Page> {
    let web = &pages.web_login;
    let caused_by = (visit.call.request_id, visit.call.address);
    let Some(waiting) = pages.cli_login.find_waiting(state).await? else {
        return draw_outcome(pages, state, caused_by, Ok(Outcome::Gone));
    };
    let (caller, is_stale) = signed_in(web, visit).await?;
    // Only letters, digits, hyphens and underscores are in a state that was found.
    let here = format!("{PAGE}{state}");
    let Some(caller) = caller else {
        let mut page = redirect(format!("/login?return_to={}", shared::wire::percent_encode(&here)));
        if is_stale {
            super::clear_session(web, &mut page);
        }
        return Ok(page);
    };
    let call = visit.call.of(caller);
    let (_, session) = sessions::person(&call)?;
    if lacks_passkey(pages, &call).await? {
        return Ok(redirect(SECURITY.to_owned()));
    }
    if !pages.cli_login.is_proved(session, waiting.since).await? {
        return Ok(redirect(format!("/dashboard/verify?return_to={}", shared::wire::percent_encode(&here))));
    }
    let person = pages.accounts.person(&call).await?;
    let cookie = visit.cookie(web.cookies.session()).one().unwrap_or_default();
    let view = DeviceForm {
        form_token: web.form_token(cookie)?,
        state: state.to_owned(),
        user: person.email.filter(|_| person.email_verified).unwrap_or(person.username),
        asks: Asks::new(waiting.device, waiting.started_at),
        here,
        fault,
    };
    // The form's answer sends the browser to the terminal that listens on this machine.
    let listener = waiting.loopback_port.map(|port| format!(" http://127.0.0.1:{port}")).unwrap_or_default();
    draw_with(pages, status, &context! {}, &view, &listener)
}

/// `POST /auth/cli/local`: the answer.
pub(super) async fn answer(pages: &Pages, visit: Visit<'_>) -> Result<Page> {
    let web = &pages.web_login;
    let form = visit.form();
    let field = |name: &str| form.field(name).unwrap_or_default();
    let state = field("state").to_owned();
    let (caller, _) = signed_in(web, &visit).await?;
    // Who has been signed out meanwhile signs in, and is asked again.
    let Some(caller) = caller else { return draw_form(pages, &visit, &state, 200, None).await };
    if visit.sent_by_own_page(web, web.cookies.session(), field("form_token"))?.is_none() {
        return draw_form(pages, &visit, &state, 403, Some(NOT_OURS)).await;
    }
    let (call, caused_by) = (visit.call.of(caller), (visit.call.request_id, visit.call.address));
    let outcome = match field("answer") {
        "continue" if lacks_passkey(pages, &call).await? => return Ok(redirect(SECURITY.to_owned())),
        "continue" => match pages.cli_login.clone().confirm(call, state.clone()).await {
            Err(error) if error.code == Code::StepUpRequired => {
                return draw_form(pages, &visit, &state, 200, None).await;
            }
            outcome => outcome,
        },
        _ => pages.cli_login.decline(call, &state).await,
    };
    draw_outcome(pages, &state, caused_by, outcome)
}
