//! The SQL of roles.

use shared::api::rbac::{Role, UpdateRole};
use shared::api::users::Status;
use shared::id::RoleId;
use shared::op::Permission;
use shared::time::Time;

use super::super::AUTHD;
use super::of_authd;
use crate::caller::Permissions;
use crate::db::{Db, Query, Row, Statement};
use crate::entities::{Entity, Sql, sql};
use crate::env::Millis;
use crate::error::Result;
use crate::names;
use crate::users::store as users;

const INSERT: &str =
    "INSERT INTO roles (id, name, live_name, status, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)";
const UPDATE: &str = "UPDATE roles SET name = COALESCE($2, name), live_name = COALESCE($3, live_name), \
       status = COALESCE($4, status), updated_at = $5 \
     WHERE id = $1 AND deleted_at IS NULL RETURNING id, name, status, created_at, updated_at";
const ON_AUTHD: &str = "SELECT p.name FROM role_permissions rp JOIN permissions p ON p.id = rp.permission_id \
     WHERE rp.role_id = $1";
const COUNTS_ON_AUTHD: &str = "SELECT 1 FROM service_roles WHERE service_id = $2 AND role_id = $1";

impl Entity for Role {
    type Id = RoleId;

    const KIND: &'static str = "role";
    const SQL: Sql = sql!("roles", "id, name, status, created_at, updated_at");

    fn id(&self) -> RoleId {
        self.id
    }

    fn read(row: &Row) -> Result<Self> {
        let mut row = row.cursor();
        Ok(Self {
            id: row.id()?,
            name: row.string()?,
            status: users::status(row.text()?),
            created_at: Time::from_millis(row.int()?),
            updated_at: Time::from_millis(row.int()?),
        })
    }
}

/// Inserts a role; a duplicate if the name is taken.
pub fn insert(role: &Role) -> Statement {
    Statement::one(
        Role::KIND,
        INSERT,
        [
            role.id.into(),
            role.name.as_str().into(),
            names::fold(&role.name).into(),
            role.status.as_str().into(),
            role.created_at.millis().into(),
        ],
    )
}

/// Changes the given fields, and returns the new state. Fails if there is no role; a duplicate if the name is taken.
pub fn update(role: RoleId, changes: &UpdateRole, now: Millis) -> Statement {
    let (name, status) = (changes.name.as_deref(), changes.status.map(Status::as_str));
    let params = [role.into(), name.into(), name.map(names::fold).into(), status.into(), now.into()];
    Statement::one(Role::KIND, UPDATE, params)
}

/// The permissions of a role on authd if it counts there.
pub async fn on_authd(db: &dyn Db, role: RoleId) -> Result<Permissions> {
    of_authd(&db.query(Query::new(ON_AUTHD, [role.into()])).await?)
}

/// Whether a role has a permission that authd does not know.
pub async fn has_unknown(db: &dyn Db, role: RoleId) -> Result<bool> {
    let rows = db.query(Query::new(ON_AUTHD, [role.into()])).await?;
    let names = rows.iter().map(|row| row.cursor().text()).collect::<Result<Vec<_>, _>>()?;
    Ok(names.into_iter().any(|name| Permission::parse(name).is_none()))
}

/// Whether a role counts on authd, active or not.
pub async fn counts_on_authd(db: &dyn Db, role: RoleId) -> Result<bool> {
    let query = Query::point(COUNTS_ON_AUTHD, [role.into(), AUTHD.into()]);
    Ok(!db.query(query).await?.is_empty())
}
