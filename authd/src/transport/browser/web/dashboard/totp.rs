//! The authenticator app and its recovery codes.

use minijinja::Value;
use serde::Serialize;
use shared::api::factors::{ConfirmTotp, DisableTotp, EnableTotp, PendingTotp, RecoveryCodes, RenewRecoveryCodes};
use shared::problem::Code;
use shared::secret::Secret;

use super::super::super::Page;
use super::super::super::html::redirect;
use super::super::super::templates::View;
use super::{SECURITY, Told, Visitor, security};
use crate::accounts::Accounts;
use crate::error::Result;

/// The pages to turn it on.
#[derive(Serialize)]
pub struct Totp {
    /// `None` on the first page.
    pending: Option<Pending>,
    needs_code: bool,
}

/// A secret that waits for its first code. It is shown once.
#[derive(Serialize)]
struct Pending {
    secret: Option<String>,
    uri: Option<String>,
    /// The image, in HTML.
    qr: Option<Value>,
}

#[derive(Serialize)]
pub struct DisableForm {
    needs_code: bool,
}

/// The codes, shown once; or the form for new ones, if there are none.
#[derive(Serialize)]
pub struct Codes {
    codes: Vec<String>,
    needs_code: bool,
}

impl View for Totp {
    const TEMPLATE: &'static str = "totp.html";

    fn samples() -> Vec<Self> {
        let text = || Some("ABC".to_owned());
        let shown =
            Pending { secret: text(), uri: text(), qr: Some(Value::from_safe_string("<svg></svg>".to_owned())) };
        [None, Some(Pending::WITHOUT), Some(shown)].map(|pending| Self { pending, needs_code: false }).into()
    }
}

impl View for DisableForm {
    const TEMPLATE: &'static str = "totp_disable.html";

    fn samples() -> Vec<Self> {
        vec![Self { needs_code: true }]
    }
}

impl View for Codes {
    const TEMPLATE: &'static str = "recovery_codes.html";

    fn samples() -> Vec<Self> {
        [Vec::new(), vec!["0123-4567".to_owned()]].map(|codes| Self { codes, needs_code: true }).into()
    }
}

impl Pending {
    /// The secret is known to the app already.
    const WITHOUT: Self = Self { secret: None, uri: None, qr: None };
}

impl From<PendingTotp> for Pending {
    fn from(pending: PendingTotp) -> Self {
        let text = |secret: &Secret| secret.expose().to_owned();
        Self {
            secret: Some(text(&pending.secret)),
            uri: Some(text(&pending.uri)),
            // An image of authd's own making, without style and script.
            qr: Some(Value::from_safe_string(text(&pending.qr_svg))),
        }
    }
}

pub(super) async fn show(at: &Visitor<'_>, told: &Told) -> Result<Page> {
    if at.has_totp().await? {
        return away(at, told).await;
    }
    at.draw(told, &Totp { pending: None, needs_code: false })
}

/// Where a form does not apply.
async fn away(at: &Visitor<'_>, told: &Told) -> Result<Page> {
    match told.fault {
        Some(_) => security::show(at, told).await,
        None => Ok(redirect(SECURITY.to_owned())),
    }
}

/// The form for the first code, without the secret.
pub(super) fn show_code(at: &Visitor<'_>, told: &Told) -> Result<Page> {
    at.draw(told, &Totp { pending: Some(Pending::WITHOUT), needs_code: false })
}

pub(super) async fn enable(at: &Visitor<'_>) -> Result<Page> {
    let pending = at.run(Accounts::enable_totp, EnableTotp { password: at.password() }).await?;
    at.draw(&Told::NOTHING, &Totp { pending: Some(pending.into()), needs_code: false })
}

pub(super) async fn confirm(at: &Visitor<'_>) -> Result<Page> {
    let code = at.code().unwrap_or_else(|| Secret::new(""));
    match at.run(Accounts::confirm_totp, ConfirmTotp { code, password: None }).await {
        // The page has no form but a link: the token of its forms may be the old one's.
        Ok(codes) => at.rotate(show_codes(at, &codes)?).await,
        // Nothing waits for a code any more.
        Err(error) if error.code == Code::Conflict => show(at, &Told::refused(&error)).await,
        Err(error) => Err(error),
    }
}

pub(super) async fn show_disable(at: &Visitor<'_>, told: &Told) -> Result<Page> {
    if !at.has_totp().await? {
        return away(at, told).await;
    }
    at.draw(told, &DisableForm { needs_code: true })
}

pub(super) async fn disable(at: &Visitor<'_>) -> Result<Page> {
    let code = at.code().unwrap_or_else(|| Secret::new(""));
    at.run(Accounts::disable_totp, DisableTotp { password: at.password(), code }).await?;
    at.rotate(redirect(format!("{SECURITY}?done=totp-off"))).await
}

pub(super) async fn show_renew(at: &Visitor<'_>, told: &Told) -> Result<Page> {
    if !at.has_totp().await? {
        return away(at, told).await;
    }
    at.draw(told, &Codes { codes: Vec::new(), needs_code: true })
}

pub(super) async fn renew_codes(at: &Visitor<'_>) -> Result<Page> {
    let code = at.code().unwrap_or_else(|| Secret::new(""));
    let codes = at.run(Accounts::renew_recovery_codes, RenewRecoveryCodes { password: at.password(), code }).await?;
    show_codes(at, &codes)
}

fn show_codes(at: &Visitor<'_>, codes: &RecoveryCodes) -> Result<Page> {
    let codes = codes.recovery_codes.iter().map(|code| code.expose().to_owned()).collect();
    at.draw(&Told::NOTHING, &Codes { codes, needs_code: true })
}
