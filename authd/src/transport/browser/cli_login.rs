//! The pages of the CLI login: the callback from the provider, and the Deny button.

use std::net::IpAddr;

use serde::Serialize;
use shared::secret::Secret;
use shared::time::Time;

use super::form::Form;
use super::html::redirect;
use super::templates::{View, draw_alone};
use super::{Page, Tone, explained, failure, minute, provider_answer, sentence, text};
use crate::call::{Call, RequestId};
use crate::cli_login::{Device, Outcome};
use crate::env::{MINUTE, Millis};
use crate::error::Result;
use crate::transport::pages::Pages;

/// `GET /auth/cli/callback?state=…&code=…` or `…&error=…` (RFC 6749 §4.1.2).
pub async fn callback(pages: &Pages, call: Call, query: Option<&str>) -> Result<Page> {
    let Some(answer) = provider_answer(query) else { return unreadable(pages) };
    let (state, caused_by) = (answer.state.clone(), (call.request_id, call.address));
    draw(pages, &state, caused_by, pages.cli_login.clone().complete(call, answer).await)
}

/// `POST /auth/cli/deny` from the page that shows the release.
pub async fn deny(pages: &Pages, call: Call, body: &[u8]) -> Result<Page> {
    let form = std::str::from_utf8(body).ok().and_then(Form::parse);
    let fields = form.as_ref().and_then(|form| Some((form.field("state")?, form.field("release")?)));
    let Some((state, release)) = fields else { return unreadable(pages) };
    let caused_by = (call.request_id, call.address);
    draw(pages, state, caused_by, pages.cli_login.deny(call, state, &Secret::new(release)).await)
}

pub fn draw(
    pages: &Pages,
    state: &str,
    caused_by: (RequestId, Option<IpAddr>),
    outcome: Result<Outcome>,
) -> Result<Page> {
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => return failure(pages, caused_by, &error),
    };
    match outcome {
        Outcome::Gone => text(
            pages,
            410,
            "This sign-in has ended",
            Tone::Plain,
            &["It took too long, or it was used already. If your terminal is still waiting, start again there."],
        ),
        Outcome::Denied { credentials_until, reason } => denied(pages, credentials_until, reason.as_deref()),
        Outcome::TryAgain(reason) => {
            let hint = "Load this page again in a moment, or start again in the terminal.";
            explained(pages, 503, "Not signed in yet", &reason, hint)
        }
        Outcome::SignInAgain(reason) => {
            let hint = "Go back to the terminal and open its link again, or start again there.";
            explained(pages, 503, "Not signed in yet", &reason, hint)
        }
        Outcome::Failed(reason) => explained(pages, 502, "Sign-in failed", &reason, "Start again in the terminal."),
        // The state is authd's and the release has letters, digits and hyphens: nothing needs to be escaped.
        Outcome::ToDevice { port, release } => {
            Ok(redirect(format!("http://127.0.0.1:{port}/?state={state}&release={}", release.expose())))
        }
        Outcome::ToPerson { device, started_at, user, release } => {
            let release = ReleasePage {
                state: state.to_owned(),
                user,
                asks: Asks::new(device, started_at),
                release: release.expose().to_owned(),
            };
            draw_alone(pages, 200, &release, false)
        }
        Outcome::Done => text(pages, 200, "Authentication successful", Tone::Good, &["You can close this window."]),
    }
}

/// What asks for credentials, as it says of itself, and since when.
#[derive(Serialize)]
pub(super) struct Asks {
    device: Option<String>,
    os: Option<String>,
    /// `None` is this machine.
    address: Option<String>,
    started: String,
}

impl Asks {
    pub fn new(device: Device, started_at: Millis) -> Self {
        Self {
            device: device.name,
            os: device.os,
            address: device.address.map(|address| address.to_string()),
            started: minute(Time::from_millis(started_at)),
        }
    }

    /// One that says everything, and one that says nothing.
    pub fn samples() -> [Self; 2] {
        let started = || "2027-01-15 08:00".to_owned();
        let text = |text: &str| Some(text.to_owned());
        [
            Self { device: text("laptop"), os: text("Linux"), address: text("192.0.2.7"), started: started() },
            Self { device: None, os: None, address: None, started: started() },
        ]
    }
}

/// The page with the device, the release to paste, a warning, and the Deny button.
#[derive(Serialize)]
pub(super) struct ReleasePage {
    state: String,
    user: String,
    #[serde(flatten)]
    asks: Asks,
    release: String,
}

impl View for ReleasePage {
    const TEMPLATE: &'static str = "release.html";

    fn samples() -> Vec<Self> {
        let sample =
            |asks| Self { state: "state".to_owned(), user: "ada".to_owned(), asks, release: "ABCD-EFGH".to_owned() };
        Asks::samples().map(sample).into()
    }
}

fn denied(pages: &Pages, credentials_until: Option<Millis>, reason: Option<&str>) -> Result<Page> {
    const NOTHING: &str = "The device gets no credentials. You can close this window.";
    match (credentials_until, reason) {
        (None, None) => text(pages, 200, "Denied", Tone::Plain, &[NOTHING]),
        (None, Some(reason)) => text(pages, 200, "Denied", Tone::Plain, &[&sentence(reason), NOTHING]),
        (Some(until), _) => {
            // The next full minute, when they have expired for certain.
            let until = minute(Time::from_millis(until + MINUTE - 1));
            let given = format!("It got AWS credentials before; they work until {until} UTC. Tell your administrator.");
            text(pages, 200, "Denied", Tone::Bad, &["The device gets no more credentials.", &given])
        }
    }
}

fn unreadable(pages: &Pages) -> Result<Page> {
    text(pages, 400, "This link is incomplete", Tone::Bad, &["Start again in the terminal."])
}
