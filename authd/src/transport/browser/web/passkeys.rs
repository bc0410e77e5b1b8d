//! The sign-in by a passkey, which the page's script asks for. Like a form, it is bound to the browser's cookie.

use ::http::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use shared::api::passkeys::PasskeyAssertion;
use shared::problem::Code;
use shared::secret::Secret;

use super::super::response;
use super::dashboard::target;
use super::{Visit, end_before, session_cookies, signed_in, target_of};
use crate::error::{Error, Result};
use crate::transport::answer::Body;
use crate::transport::pages::Pages;
use crate::web_login::WebLogin;
use crate::web_login::cookies::BINDING;

/// `POST /login/passkey/options`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Begin {
    form_token: String,
    #[serde(rename = "return_to")]
    _return_to: String,
}

/// `POST /login/passkey`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Finish {
    form_token: String,
    return_to: String,
    assertion: PasskeyAssertion,
}

pub(super) async fn begin(web: &WebLogin, visit: &Visit<'_>) -> Result<Response<Body>> {
    let Begin { form_token, .. } = read(visit)?;
    let binding = binding(web, visit, &form_token)?;
    answer(&web.begin_passkey(&visit.call, &binding).await?, [])
}

pub(super) async fn finish(pages: &Pages, visit: &Visit<'_>) -> Result<Response<Body>> {
    let web = &pages.web_login;
    let Finish { form_token, return_to, assertion } = read(visit)?;
    let binding = binding(web, visit, &form_token)?;
    let token = web.finish_passkey(visit.call.clone(), binding, assertion).await?;
    end_before(pages, visit).await?;
    let location = target_of(web.target(&return_to).unwrap_or_default());
    answer(&json!({ "location": location }), session_cookies(web, &token))
}

/// `POST /dashboard/verify/passkey`: the browser gets a new session. The challenge was given to the one that it has.
pub(super) async fn prove(pages: &Pages, visit: &Visit<'_>) -> Result<Response<Body>> {
    let web = &pages.web_login;
    let Finish { form_token, return_to, assertion } = read(visit)?;
    visit.sent_by_own_page(web, web.cookies.session(), &form_token)?.ok_or_else(too_old)?;
    let (caller, _) = signed_in(web, visit).await?;
    let caller = caller.ok_or_else(|| Error::new(Code::InvalidToken, "the session has ended; sign in again"))?;
    let token = web.step_up_by_passkey(visit.call.of(caller), assertion).await?;
    answer(&json!({ "location": target(&return_to) }), session_cookies(web, &token))
}

fn read<T: DeserializeOwned>(visit: &Visit<'_>) -> Result<T> {
    let unreadable = |error| Error::new(Code::MalformedRequest, "the request cannot be read").because(error);
    serde_json::from_slice(visit.body.unwrap_or_default()).map_err(unreadable)
}

/// What only this browser has, if its own page sent the request.
fn binding(web: &WebLogin, visit: &Visit<'_>, form_token: &str) -> Result<Secret> {
    visit.sent_by_own_page(web, BINDING, form_token)?.map(Secret::new).ok_or_else(too_old)
}

fn too_old() -> Error {
    Error::new(Code::Forbidden, "the page was too old; load it again")
}

fn answer(
    value: &impl serde::Serialize,
    headers: impl IntoIterator<Item = (&'static str, String)>,
) -> Result<Response<Body>> {
    let own =
        [("content-type", "application/json"), ("cache-control", "no-store"), ("x-content-type-options", "nosniff")];
    let own = own.map(|(name, value)| (name, value.to_owned()));
    let body = serde_json::to_vec(value).map_err(Error::internal)?;
    response(200, own.into_iter().chain(headers), body.into())
}
