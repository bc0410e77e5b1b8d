//! The operations: authorize, load, decide, save.

pub mod grants;
pub mod permissions;
pub mod relations;
pub mod roles;
pub mod service_tokens;
pub mod services;
pub mod users;

use shared::api::rbac::{Permission, Role, Service};
use shared::api::users::User;

use super::change::Refused;
use super::store;
use crate::app::Ctx;
use crate::db::{Outcome, Row};
use crate::error::{Error, Result};
use crate::names;

/// Finds things by what a request calls them, or says that there are none.
async fn user(ctx: &Ctx, id_or_name: &str) -> Result<User> {
    store::users::find(ctx.app.db.as_ref(), id_or_name).await?.ok_or_else(|| Error::not_found("user"))
}

async fn service(ctx: &Ctx, id_or_name: &str) -> Result<Service> {
    store::services::find(ctx.app.db.as_ref(), id_or_name).await?.ok_or_else(|| Error::not_found("service"))
}

async fn role(ctx: &Ctx, id_or_name: &str) -> Result<Role> {
    store::roles::find(ctx.app.db.as_ref(), id_or_name).await?.ok_or_else(|| Error::not_found("role"))
}

async fn permission(ctx: &Ctx, id_or_name: &str) -> Result<Permission> {
    store::permissions::find(ctx.app.db.as_ref(), id_or_name).await?.ok_or_else(|| Error::not_found("permission"))
}

/// A new name with its folded form, if one is given.
fn renamed<'a>(field: &str, name: Option<&'a str>, folded: &'a mut String) -> Result<Option<(&'a str, &'a str)>> {
    let Some(name) = name else { return Ok(None) };
    *folded = names::check(field, name)?;
    Ok(Some((name, folded)))
}

/// What the first statement of an insert, an update or a delete was refused for.
fn explained(refused: Refused, what: &str, name: &str) -> Error {
    match refused {
        Refused::Unmet(0) => Error::not_found(what),
        Refused::Duplicate(0) => names::taken(what, name),
        refused => refused.into(),
    }
}

/// The row that the first statement of an update returned.
fn returned<T>(outcomes: &[Outcome], read: fn(&Row) -> Result<T>) -> Result<T> {
    let row = outcomes.first().and_then(|outcome| outcome.rows.first());
    read(row.ok_or_else(|| Error::internal("an update returned no row"))?)
}

/// The names of the fields that a request changes, for the audit log: their values may be personal.
fn changed_fields<const N: usize>(fields: [(&str, bool); N]) -> serde_json::Value {
    fields.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect()
}
