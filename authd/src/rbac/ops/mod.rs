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

use super::store;
use crate::app::Ctx;
use crate::db::{Committed, Row};
use crate::error::{Error, Result};
use crate::ledger::{Change, Refused};
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

/// Commits a change of people or access. What is cached of access is forgotten whatever it is: who is affected by a
/// role's permission is not quickly told.
async fn commit_rows(ctx: &Ctx, change: Change) -> Result<Committed, Refused> {
    let invalidation = super::invalidation(change.subject());
    ctx.app.ledger.commit(ctx, change.invalidates(invalidation)).await
}

async fn commit(ctx: &Ctx, change: Change) -> Result<(), Refused> {
    commit_rows(ctx, change).await.map(drop)
}

/// What the statement that writes a thing was refused for. The statement is named after the thing.
fn explained(refused: Refused, what: &str, name: &str) -> Error {
    match refused {
        Refused::ExpectationFailed(statement) if statement == what => Error::not_found(what),
        Refused::Duplicate(statement) if statement == what => names::taken(what, name),
        refused => refused.into(),
    }
}

/// The row that the statement which updates a thing returned.
fn returned<T>(committed: &Committed, what: &str, read: fn(&Row) -> Result<T>) -> Result<T> {
    read(committed.rows(what).first().ok_or_else(|| Error::internal("an update returned no row"))?)
}

/// The names of the fields that a request changes, for the audit log: their values may be personal.
fn changed_fields<const N: usize>(fields: [(&str, bool); N]) -> serde_json::Value {
    fields.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect()
}
