//! Where the browser of a CLI login begins: its short address, and the way past a provider that still knows somebody.

use shared::time::Time;

use super::super::cli_login::draw as draw_outcome;
use super::super::html::{Escaped, Tone, page, redirect};
use super::super::{Page, minute, text};
use super::{Form, Visit};
use crate::cli_login::{Outcome, SHORT};
use crate::error::Result;
use crate::transport::pages::Pages;
use crate::web_login::cookies::{self, AGAIN};

/// `GET /d/{code}`: what asks, before the provider is. A press goes there.
pub(super) async fn short(pages: &Pages, visit: &Visit<'_>) -> Result<Page> {
    let code = visit.path.strip_prefix(SHORT).unwrap_or_default();
    let Some(entrance) = pages.cli_login.find_short(&visit.call, code).await? else {
        let hint =
            "Compare it with the one in your terminal. It works until somebody has signed in, and for a few minutes.";
        return Ok(text(404, "There is no sign-in at this address", Tone::Plain, &[hint]));
    };
    let device = &entrance.device;
    let unknown = "not said";
    let address = device.address.map_or_else(|| "this machine".to_owned(), |address| address.to_string());
    let body = format!(
        "<p>This device asks for your AWS credentials:</p>\
         <dl><dt>Device</dt><dd>{name}</dd><dt>System</dt><dd>{os}</dd><dt>Address</dt><dd>{address}</dd>\
         <dt>Started</dt><dd>{started} UTC</dd></dl>\
         <p>If you did not start this sign-in in a terminal yourself, close this page: whoever sent you the address wants to \
         act as you.</p>\
         <p><a class=\"button main\" data-step=\"continue\" href=\"{url}\" rel=\"noreferrer\">Continue</a></p>",
        name = Escaped(device.name.as_deref().unwrap_or(unknown)),
        os = Escaped(device.os.as_deref().unwrap_or(unknown)),
        address = Escaped(&address),
        started = Escaped(&minute(Time::from_millis(entrance.started_at))),
        url = Escaped(&entrance.auth_url),
    );
    Ok(page(200, "Sign in for a device?", Tone::Plain, &body))
}

/// `GET /auth/cli/again?state=…`: ends the browser's session at the provider. The browser comes back to `/login`.
pub(super) async fn leave(pages: &Pages, visit: &Visit<'_>) -> Result<Page> {
    let form = visit.query.and_then(Form::parse).unwrap_or_default();
    let state = form.field("state").unwrap_or_default();
    let back = format!("{}/login", pages.public_url);
    let Some(url) = pages.cli_login.leave_provider(state, &back).await? else {
        let caused_by = (visit.call.request_id, visit.call.address);
        return Ok(draw_outcome(state, caused_by, Ok(Outcome::Gone)));
    };
    let mut page = redirect(url);
    // Only letters, digits, hyphens and underscores are in a state that was found.
    page.headers.push(("set-cookie", cookies::set(AGAIN, state)));
    Ok(page)
}

/// The way on to the sign-in of a browser that [`leave`] has sent away; `None` for any other one.
pub(super) async fn resume(pages: &Pages, visit: &Visit<'_>) -> Result<Option<Page>> {
    let Some(state) = visit.cookie(AGAIN).one() else { return Ok(None) };
    let Some(url) = pages.cli_login.enter_anew(state).await? else { return Ok(None) };
    let mut page = redirect(url);
    page.headers.push(("set-cookie", cookies::clear(AGAIN)));
    Ok(Some(page))
}
