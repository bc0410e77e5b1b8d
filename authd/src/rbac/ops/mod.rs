//! The operations: authorize, load, decide, save.

mod grants;
mod permissions;
mod relations;
mod roles;
mod service_tokens;
mod services;

use super::Rbac;
use crate::call::Call;
use crate::db::Committed;
use crate::entities::{self, Entity};
use crate::error::{Error, Result};
use crate::ledger::{Change, Invalidation, Refused};
use crate::names;

impl Rbac {
    /// Finds an entity by id or name; 404 if there is none.
    async fn stored<T: Entity>(&self, id_or_name: &str) -> Result<T> {
        entities::stored(self.base.db.as_ref(), id_or_name).await
    }

    /// Commits a change of people or access. It clears all cached access, because the people affected by a role's
    /// permission are expensive to find.
    async fn commit(&self, call: &Call, change: Change) -> Result<Committed, Refused> {
        let invalidation = Invalidation::access(change.subject());
        self.base.ledger.commit(call, change.invalidates(invalidation)).await
    }

    /// Commits a change of one entity. `name` is its new name, for the error.
    pub async fn write<T: Entity>(&self, call: &Call, change: Change, name: &str) -> Result<Committed> {
        self.commit(call, change).await.map_err(|refused| match refused {
            Refused::ExpectationFailed(statement) if statement == T::KIND => Error::not_found(T::KIND),
            Refused::Duplicate(statement) if statement == T::KIND => names::taken(T::KIND, name),
            Refused::ExpectationFailed(entities::NAME_TAKEN) => names::taken(T::KIND, name),
            refused => refused.into(),
        })
    }

    /// [`Rbac::write`] of an update, which returns the new state of the entity.
    pub async fn update<T: Entity>(&self, call: &Call, change: Change, name: Option<&str>) -> Result<T> {
        let committed = self.write::<T>(call, change, name.unwrap_or_default()).await?;
        T::read(committed.rows(T::KIND).first().ok_or_else(|| Error::internal("an update returned no row"))?)
    }
}
