//! Where the browser of a CLI login begins: its short address, and the way past a provider that still knows somebody.

use serde::Serialize;

use super::super::cli_login::{Asks, draw as draw_outcome};
use super::super::html::redirect;
use super::super::templates::{View, draw_alone};
use super::super::{Page, Tone, text};
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
        return text(pages, 404, "There is no sign-in at this address", Tone::Plain, &[hint]);
    };
    let view = Entrance { asks: Asks::new(entrance.device, entrance.started_at), url: entrance.auth_url };
    draw_alone(pages, 200, &view, false)
}

/// Which device asks, and where its sign-in is.
#[derive(Serialize)]
pub(super) struct Entrance {
    #[serde(flatten)]
    asks: Asks,
    url: String,
}

impl View for Entrance {
    const TEMPLATE: &'static str = "entrance.html";

    fn samples() -> Vec<Self> {
        Asks::samples().map(|asks| Self { asks, url: "https://id.example.com/".to_owned() }).into()
    }
}

/// `GET /auth/cli/again?state=…`: ends the browser's session at the provider. The browser comes back to `/login`.
pub(super) async fn leave(pages: &Pages, visit: &Visit<'_>) -> Result<Page> {
    let form = visit.query.and_then(Form::parse).unwrap_or_default();
    let state = form.field("state").unwrap_or_default();
    let back = format!("{}/login", pages.public_url);
    let Some(url) = pages.cli_login.leave_provider(state, &back).await? else {
        let caused_by = (visit.call.request_id, visit.call.address);
        return draw_outcome(pages, state, caused_by, Ok(Outcome::Gone));
    };
    let mut page = redirect(url);
    // Only letters, digits, hyphens and underscores are in a state that was found.
    page.headers.push(("set-cookie", cookies::set(AGAIN, state)));
    Ok(page)
}

/// The way on to the sign-in of a browser that [`leave`] has sent away; `None` for any other one.
pub(super) async fn resume(pages: &Pages, visit: &Visit<'_>) -> Result<Option<Page>> {
    let Some(state) = visit.cookie(AGAIN).one() else { return Ok(None) };
    // A sign-in that cannot go on keeps nobody from this page.
    let Ok(Some(url)) = pages.cli_login.enter_anew(state).await else { return Ok(None) };
    let mut page = redirect(url);
    page.headers.push(("set-cookie", cookies::clear(AGAIN)));
    Ok(Some(page))
}
