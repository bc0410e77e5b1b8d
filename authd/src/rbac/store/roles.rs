//! The SQL of roles.

use shared::api::rbac::Role;
use shared::api::users::Status;
use shared::id::RoleId;
use shared::time::Time;

use super::super::AUTHD;
use super::of_authd;
use crate::caller::Permissions;
use uuid::Uuid;

use crate::db::named::named;
use crate::db::{Db, Query, Row, Statement};
use crate::env::Millis;
use crate::error::Result;
use crate::names;
use crate::page::Page;
use crate::users::store as users;

named!("role", "roles", "id, name, status, created_at, updated_at", Role, RoleId);

const INSERT: &str =
    "INSERT INTO roles (id, name, live_name, status, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)";
const UPDATE: &str = "UPDATE roles SET name = COALESCE($2, name), live_name = COALESCE($3, live_name), \
       status = COALESCE($4, status), updated_at = $5 \
     WHERE id = $1 AND deleted_at IS NULL RETURNING id, name, status, created_at, updated_at";
const ON_AUTHD: &str = "SELECT p.name FROM role_permissions rp JOIN permissions p ON p.id = rp.permission_id \
     WHERE rp.role_id = $1";
const COUNTS_ON_AUTHD: &str = "SELECT 1 FROM service_roles WHERE service_id = $2 AND role_id = $1";

/// Duplicate when the name is taken.
pub fn insert(role: &Role, folded: &str) -> Statement {
    Statement::one(
        NAME,
        INSERT,
        [
            role.id.into(),
            role.name.as_str().into(),
            folded.into(),
            role.status.as_str().into(),
            role.created_at.millis().into(),
        ],
    )
}

/// Changes what is given (a name comes with its folded form) and returns the role as it is now, for [`read`]. Fails
/// when there is none, duplicate when the name is taken.
pub fn update(role: RoleId, name: Option<(&str, &str)>, status: Option<Status>, now: Millis) -> Statement {
    let (name, folded) = name.unzip();
    Statement::one(
        NAME,
        UPDATE,
        [role.into(), name.into(), folded.into(), status.map(Status::as_str).into(), now.into()],
    )
}

/// What a role is worth on authd if it counts there.
pub async fn on_authd(db: &dyn Db, role: RoleId) -> Result<Permissions> {
    of_authd(&db.query(Query::new(ON_AUTHD, [role.into()])).await?)
}

/// Whether a role counts on authd, active or not.
pub async fn counts_on_authd(db: &dyn Db, role: RoleId) -> Result<bool> {
    let query = Query::point(COUNTS_ON_AUTHD, [role.into(), AUTHD.to_string().into()]);
    Ok(!db.query(query).await?.is_empty())
}

pub fn read(row: &Row) -> Result<Role> {
    let mut row = row.cursor();
    Ok(Role {
        id: row.id()?,
        name: row.string()?,
        status: users::status(row.text()?),
        created_at: Time::from_millis(row.int()?),
        updated_at: Time::from_millis(row.int()?),
    })
}
