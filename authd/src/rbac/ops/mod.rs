//! The operations: authorize, load, decide, save.

mod grants;
mod permissions;
mod relations;
mod roles;
mod service_tokens;
mod services;

use shared::api::rbac::{Permission, Role, Service};

use super::{Rbac, store};
use crate::call::Call;
use crate::db::{Committed, Row};
use crate::error::{Error, Result};
use crate::ledger::{Change, Invalidation, Refused};
use crate::names;

impl Rbac {
    /// Finds things by what a request calls them, or says that there are none.
    async fn stored_service(&self, id_or_name: &str) -> Result<Service> {
        let found = store::services::find(self.base.db.as_ref(), id_or_name).await?;
        found.ok_or_else(|| Error::not_found("service"))
    }

    async fn stored_role(&self, id_or_name: &str) -> Result<Role> {
        let found = store::roles::find(self.base.db.as_ref(), id_or_name).await?;
        found.ok_or_else(|| Error::not_found("role"))
    }

    async fn stored_permission(&self, id_or_name: &str) -> Result<Permission> {
        let found = store::permissions::find(self.base.db.as_ref(), id_or_name).await?;
        found.ok_or_else(|| Error::not_found("permission"))
    }

    /// Commits a change of people or access. What is cached of access is forgotten whatever it is: who is affected by a
    /// role's permission is not quickly told.
    pub async fn commit_rows(&self, call: &Call, change: Change) -> Result<Committed, Refused> {
        let invalidation = Invalidation::access(change.subject());
        self.base.ledger.commit(call, change.invalidates(invalidation)).await
    }

    /// Commits a change of one thing. `what` is its kind and the name of the statement that writes it, `name` the name
    /// that it is given: for the errors.
    pub async fn write(&self, call: &Call, change: Change, what: &str, name: &str) -> Result<Committed> {
        let committed = self.commit_rows(call, change).await;
        committed.map_err(|refused| match refused {
            Refused::ExpectationFailed(statement) if statement == what => Error::not_found(what),
            Refused::Duplicate(statement) if statement == what => names::taken(what, name),
            refused => refused.into(),
        })
    }

    pub async fn commit(&self, call: &Call, change: Change) -> Result<(), Refused> {
        self.commit_rows(call, change).await.map(drop)
    }
}

/// A new name with its folded form, if one is given.
pub fn renamed<'a>(field: &str, name: Option<&'a str>, folded: &'a mut String) -> Result<Option<(&'a str, &'a str)>> {
    let Some(name) = name else { return Ok(None) };
    *folded = names::check(field, name)?;
    Ok(Some((name, folded)))
}

/// The row that the statement which updates a thing returned.
pub fn returned<T>(committed: &Committed, what: &str, read: fn(&Row) -> Result<T>) -> Result<T> {
    read(committed.rows(what).first().ok_or_else(|| Error::internal("an update returned no row"))?)
}
