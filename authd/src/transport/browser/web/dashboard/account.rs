//! The e-mail address of an account, and its end.

use minijinja::context;
use serde::Serialize;
use shared::api::accounts::{ChangeEmail, DeleteAccount};

use super::super::super::Page;
use super::super::super::html::redirect;
use super::super::super::templates::View;
use super::super::draw;
use super::overview::forget;
use super::{DASHBOARD, Told, Visitor};
use crate::accounts::Accounts;
use crate::error::Result;

#[derive(Serialize)]
pub struct EmailForm {
    new_email: String,
    needs_code: bool,
}

#[derive(Serialize)]
pub struct DeleteForm {
    needs_code: bool,
}

#[derive(Serialize)]
pub struct Deleted {}

impl View for EmailForm {
    const TEMPLATE: &'static str = "email.html";

    fn samples() -> Vec<Self> {
        [true, false].map(|needs_code| Self { new_email: String::new(), needs_code }).into()
    }
}

impl View for DeleteForm {
    const TEMPLATE: &'static str = "delete.html";

    fn samples() -> Vec<Self> {
        [true, false].map(|needs_code| Self { needs_code }).into()
    }
}

impl View for Deleted {
    const TEMPLATE: &'static str = "deleted.html";

    fn samples() -> Vec<Self> {
        vec![Self {}]
    }
}

pub(super) async fn show_email(at: &Visitor<'_>, told: &Told) -> Result<Page> {
    let view = EmailForm { new_email: at.field("email").to_owned(), needs_code: at.has_totp().await? };
    at.draw(told, &view)
}

pub(super) async fn change_email(at: &Visitor<'_>) -> Result<Page> {
    let op = ChangeEmail { email: at.field("email").trim().to_owned(), password: at.password(), totp: at.code() };
    at.run(Accounts::change_email, op).await?;
    Ok(redirect(format!("{DASHBOARD}?done=email")))
}

pub(super) async fn show_delete(at: &Visitor<'_>, told: &Told) -> Result<Page> {
    at.draw(told, &DeleteForm { needs_code: at.has_totp().await? })
}

pub(super) async fn delete(at: &Visitor<'_>) -> Result<Page> {
    let op = DeleteAccount { password: at.password(), totp: at.code() };
    at.run(Accounts::delete_account, op).await?;
    let mut page = draw(at.pages, 200, &context! {}, &Deleted {})?;
    forget(at, &mut page);
    Ok(page)
}
