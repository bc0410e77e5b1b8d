//! The SQL of permissions.

use shared::api::rbac::Permission;
use shared::id::PermissionId;
use shared::time::Time;

use uuid::Uuid;

use crate::db::named::named;
use crate::db::{Db, Query, Row, Statement};
use crate::env::Millis;
use crate::error::Result;
use crate::names;
use crate::page::Page;

named!("permission", "permissions", "id, name, created_at, updated_at", Permission, PermissionId);

const INSERT: &str =
    "INSERT INTO permissions (id, name, live_name, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)";
const UPDATE: &str = "UPDATE permissions SET name = COALESCE($2, name), live_name = COALESCE($3, live_name), \
       updated_at = $4 \
     WHERE id = $1 AND deleted_at IS NULL RETURNING id, name, created_at, updated_at";

/// Duplicate when the name is taken.
pub fn insert(permission: &Permission, folded: &str) -> Statement {
    Statement::one(
        NAME,
        INSERT,
        [permission.id.into(), permission.name.as_str().into(), folded.into(), permission.created_at.millis().into()],
    )
}

/// Changes the name, if one is given (with its folded form), and returns the permission as it is now, for [`read`].
/// Fails when there is none, duplicate when the name is taken.
pub fn update(permission: PermissionId, name: Option<(&str, &str)>, now: Millis) -> Statement {
    let (name, folded) = name.unzip();
    Statement::one(NAME, UPDATE, [permission.into(), name.into(), folded.into(), now.into()])
}

pub fn read(row: &Row) -> Result<Permission> {
    let mut row = row.cursor();
    Ok(Permission {
        id: row.id()?,
        name: row.string()?,
        created_at: Time::from_millis(row.int()?),
        updated_at: Time::from_millis(row.int()?),
    })
}
