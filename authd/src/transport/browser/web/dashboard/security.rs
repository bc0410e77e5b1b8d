//! How somebody signs in: the password, the second factor, and passkeys.

use serde::Serialize;
use shared::api::accounts::RequestReset;
use shared::api::factors::FactorKind;
use shared::api::passkeys::{ListPasskeys, Passkey, RemovePasskey, RenamePasskey};
use shared::api::sessions::ChangePassword;
use shared::problem::Code;
use shared::secret::Secret;

use super::super::super::html::redirect;
use super::super::super::templates::View;
use super::super::super::{Page, minute};
use super::{SECURITY, Told, Visitor, lacks_passkey};
use crate::accounts::Accounts;
use crate::error::{Error, Result};
use crate::sessions;

#[derive(Serialize)]
pub struct Security {
    totp_since: Option<String>,
    codes_left: u32,
    has_passkeys: bool,
    passkeys: Vec<Row>,
    /// Whether a passkey has to be added before anything else.
    lacks_passkey: bool,
}

/// A passkey as the page shows it.
#[derive(Serialize)]
struct Row {
    id: String,
    name: String,
    since: String,
    used: Option<String>,
}

#[derive(Serialize)]
pub struct PasswordForm {
    needs_code: bool,
}

impl View for Security {
    const TEMPLATE: &'static str = "security.html";

    fn samples() -> Vec<Self> {
        let row = |used: Option<&str>| Row {
            id: "1".to_owned(),
            name: "laptop".to_owned(),
            since: "2027-01-15 08:00".to_owned(),
            used: used.map(str::to_owned),
        };
        let full = Self {
            totp_since: Some("2027-01-15 08:00".to_owned()),
            codes_left: 2,
            has_passkeys: true,
            passkeys: vec![row(None), row(Some("2027-01-15 08:00"))],
            lacks_passkey: false,
        };
        let totp_since = full.totp_since.clone();
        let without_keys = Self { codes_left: 10, passkeys: Vec::new(), totp_since, lacks_passkey: true, ..full };
        let bare = Self { totp_since: None, codes_left: 0, has_passkeys: false, passkeys: Vec::new(), ..full };
        vec![full, without_keys, bare]
    }
}

impl View for PasswordForm {
    const TEMPLATE: &'static str = "password.html";

    fn samples() -> Vec<Self> {
        [true, false].map(|needs_code| Self { needs_code }).into()
    }
}

impl From<&Passkey> for Row {
    fn from(passkey: &Passkey) -> Self {
        Self {
            id: passkey.id.to_string(),
            name: passkey.name.clone(),
            since: minute(passkey.created_at),
            used: passkey.last_used_at.map(minute),
        }
    }
}

pub(super) async fn show(at: &Visitor<'_>, told: &Told) -> Result<Page> {
    let factors = at.factors().await?;
    // A passkey is no second factor: it signs in alone.
    let totp = factors.factors.iter().find(|factor| factor.kind == FactorKind::Totp);
    let passkeys = at.pages.accounts.list_passkeys(at.call.clone(), ListPasskeys {}).await?.passkeys;
    let view = Security {
        totp_since: totp.map(|factor| minute(factor.created_at)),
        codes_left: factors.recovery_codes,
        has_passkeys: at.web().has_passkeys(),
        passkeys: passkeys.iter().map(Row::from).collect(),
        lacks_passkey: lacks_passkey(at.pages, &at.call).await?,
    };
    at.draw(told, &view)
}

pub(super) async fn remove_passkey(at: &Visitor<'_>) -> Result<Page> {
    let id = at.field("id").parse().map_err(|_| Error::not_found("passkey"))?;
    at.pages.accounts.remove_passkey(at.call.clone(), RemovePasskey { id }).await?;
    at.rotate(redirect(format!("{SECURITY}?done=passkey"))).await
}

pub(super) async fn rename_passkey(at: &Visitor<'_>) -> Result<Page> {
    let id = at.field("id").parse().map_err(|_| Error::not_found("passkey"))?;
    let name = at.field("name").trim().to_owned();
    at.pages.accounts.rename_passkey(at.call.clone(), RenamePasskey { id, name }).await?;
    Ok(redirect(SECURITY.to_owned()))
}

pub(super) async fn show_password(at: &Visitor<'_>, told: &Told) -> Result<Page> {
    let (_, session) = sessions::person(&at.call)?;
    let needs_code = at.has_totp().await? && !at.pages.sessions.is_fresh(session).await?;
    at.draw(told, &PasswordForm { needs_code })
}

pub(super) async fn change_password(at: &Visitor<'_>) -> Result<Page> {
    let new_password = Secret::new(at.field("new_password"));
    let op = ChangePassword { password: at.password(), new_password, totp: at.code() };
    at.run(Accounts::change_password, op).await?;
    at.rotate(redirect(format!("{SECURITY}?done=password"))).await
}

pub(super) async fn mail_password_link(at: &Visitor<'_>) -> Result<Page> {
    let email = at.person.email.clone().filter(|_| at.person.email_verified);
    let none = || Error::new(Code::Conflict, "your account has no e-mail address that is verified");
    at.run(Accounts::request_reset, RequestReset { email: email.ok_or_else(none)? }).await?;
    Ok(redirect(format!("{SECURITY}?done=password-link")))
}
