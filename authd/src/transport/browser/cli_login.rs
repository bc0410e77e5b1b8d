//! The pages of the CLI login: the callback from the provider, and the Deny button.

use std::net::IpAddr;
use std::sync::Arc;

use shared::secret::Secret;
use shared::time::Time;

use super::form::Form;
use super::html::{Escaped, Tone, page, redirect};
use super::{Page, explained, failure, minute, provider_answer, sentence, text};
use crate::call::{Call, RequestId};
use crate::cli_login::{CliLogin, Device, Outcome};
use crate::env::{MINUTE, Millis};
use crate::error::Result;

/// `GET /auth/cli/callback?state=…&code=…` or `…&error=…` (RFC 6749 §4.1.2).
pub async fn callback(cli_login: &Arc<CliLogin>, call: Call, query: Option<&str>) -> Page {
    let Some(answer) = provider_answer(query) else { return unreadable() };
    let (state, caused_by) = (answer.state.clone(), (call.request_id, call.address));
    draw(&state, caused_by, cli_login.clone().complete(call, answer).await)
}

/// `POST /auth/cli/deny` from the page that shows the release.
pub async fn deny(cli_login: &CliLogin, call: Call, body: &[u8]) -> Page {
    let form = std::str::from_utf8(body).ok().and_then(Form::parse);
    let fields = form.as_ref().and_then(|form| Some((form.field("state")?, form.field("release")?)));
    let Some((state, release)) = fields else { return unreadable() };
    let caused_by = (call.request_id, call.address);
    draw(state, caused_by, cli_login.deny(call, state, &Secret::new(release)).await)
}

pub fn draw(state: &str, caused_by: (RequestId, Option<IpAddr>), outcome: Result<Outcome>) -> Page {
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => return failure(caused_by, &error),
    };
    match outcome {
        Outcome::Gone => text(
            410,
            "This sign-in has ended",
            Tone::Plain,
            &["It took too long, or it was used already. If your terminal is still waiting, start again there."],
        ),
        Outcome::Denied { credentials_until, reason } => denied(credentials_until, reason.as_deref()),
        Outcome::TryAgain(reason) => {
            let hint = "Load this page again in a moment, or start again in the terminal.";
            explained(503, "Not signed in yet", &reason, hint)
        }
        Outcome::SignInAgain(reason) => {
            let hint = "Go back to the terminal and open its link again, or start again there.";
            explained(503, "Not signed in yet", &reason, hint)
        }
        Outcome::Failed(reason) => explained(502, "Sign-in failed", &reason, "Start again in the terminal."),
        // The state is authd's and the release has letters, digits and hyphens: nothing needs to be escaped.
        Outcome::ToDevice { port, release } => {
            redirect(format!("http://127.0.0.1:{port}/?state={state}&release={}", release.expose()))
        }
        Outcome::ToPerson { device, started_at, user, release } => {
            carry(state, &device, Time::from_millis(started_at), &user, &release)
        }
        Outcome::Done => text(200, "Authentication successful", Tone::Good, &["You can close this window."]),
    }
}

/// The page with the device, the release to paste, a warning, and the Deny button.
fn carry(state: &str, device: &Device, started_at: Time, user: &str, release: &Secret) -> Page {
    let unknown = "not said";
    let address = device.address.map_or_else(|| "this machine".to_owned(), |address| address.to_string());
    let (name, os) = (device.name.as_deref().unwrap_or(unknown), device.os.as_deref().unwrap_or(unknown));
    let body = format!(
        "<p>You are signed in as <b>{user}</b>. This device asks for your AWS credentials:</p>\
         <dl><dt>Device</dt><dd>{name}</dd><dt>System</dt><dd>{os}</dd><dt>Address</dt><dd>{address}</dd>\
         <dt>Started</dt><dd>{started} UTC</dd></dl>\
         <p>If you started this sign-in yourself, paste this into the terminal where you started it:</p>\
         <code class=\"copy\" id=\"release\">{release}</code>\
         <p><b>Never send it to anybody.</b> Anybody who asks you for it, or sent you the link to this page, wants to \
         act as you. If you did not start this sign-in, press Deny.</p>\
         <form method=\"post\" action=\"/auth/cli/deny\"><input type=\"hidden\" name=\"state\" value=\"{state}\">\
         <input type=\"hidden\" name=\"release\" value=\"{release}\"><button class=\"danger\" type=\"submit\">Deny</button></form>\
         <p><small>You can close this window once the terminal says that you are signed in.</small></p>",
        user = Escaped(user),
        name = Escaped(name),
        os = Escaped(os),
        address = Escaped(&address),
        started = Escaped(&minute(started_at)),
        state = Escaped(state),
        release = Escaped(release.expose()),
    );
    page(200, "Authentication successful: one more step", Tone::Good, &body)
}

fn denied(credentials_until: Option<Millis>, reason: Option<&str>) -> Page {
    const NOTHING: &str = "The device gets no credentials. You can close this window.";
    match (credentials_until, reason) {
        (None, None) => text(200, "Denied", Tone::Plain, &[NOTHING]),
        (None, Some(reason)) => text(200, "Denied", Tone::Plain, &[&sentence(reason), NOTHING]),
        (Some(until), _) => {
            // The next full minute, when they have expired for certain.
            let until = minute(Time::from_millis(until + MINUTE - 1));
            let given = format!("It got AWS credentials before; they work until {until} UTC. Tell your administrator.");
            text(200, "Denied", Tone::Bad, &["The device gets no more credentials.", &given])
        }
    }
}

fn unreadable() -> Page {
    text(400, "This link is incomplete", Tone::Bad, &["Start again in the terminal."])
}
