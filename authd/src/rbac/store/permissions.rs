//! The SQL of permissions.

use shared::api::rbac::{Permission, UpdatePermission};
use shared::id::PermissionId;
use shared::time::Time;

use crate::db::{Row, Statement};
use crate::entities::{Entity, Sql, sql};
use crate::env::Millis;
use crate::error::Result;
use crate::names;

const INSERT: &str =
    "INSERT INTO permissions (id, name, live_name, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)";
const UPDATE: &str = "UPDATE permissions SET name = COALESCE($2, name), live_name = COALESCE($3, live_name), \
       updated_at = $4 \
     WHERE id = $1 AND deleted_at IS NULL RETURNING id, name, created_at, updated_at";

impl Entity for Permission {
    type Id = PermissionId;

    const KIND: &'static str = "permission";
    const SQL: Sql = sql!("permissions", "id, name, created_at, updated_at");

    fn id(&self) -> PermissionId {
        self.id
    }

    fn read(row: &Row) -> Result<Self> {
        let mut row = row.cursor();
        Ok(Self {
            id: row.id()?,
            name: row.string()?,
            created_at: Time::from_millis(row.int()?),
            updated_at: Time::from_millis(row.int()?),
        })
    }
}

/// Inserts a permission; a duplicate if the name is taken.
pub fn insert(permission: &Permission) -> Statement {
    let folded = names::fold(&permission.name);
    Statement::one(
        Permission::KIND,
        INSERT,
        [permission.id.into(), permission.name.as_str().into(), folded.into(), permission.created_at.millis().into()],
    )
}

/// Changes the given fields, and returns the new state. Fails if there is no such permission; a duplicate if the name
/// is taken.
pub fn update(permission: PermissionId, changes: &UpdatePermission, now: Millis) -> Statement {
    let name = changes.name.as_deref();
    let params = [permission.into(), name.into(), name.map(names::fold).into(), now.into()];
    Statement::one(Permission::KIND, UPDATE, params)
}
