//! The SQL of people and access. Deleted rows are not found; they stay for the audit log, without a name.

pub mod access;
pub mod grants;
pub mod permissions;
pub mod relations;
pub mod roles;
pub mod services;

use shared::id::UserId;
use shared::op::Permission;

use super::AUTHD;
use crate::authority;
use crate::caller::Permissions;
use crate::db::{Db, Query, Row, Statement};
use crate::error::{Error, Result};

/// The counter of changes of permissions on authd: see [`count_change`].
pub const CHANGES: &str = "access.changes";

const COUNT_CHANGE: &str = "UPDATE counters SET value = value + 1 WHERE name = $1";
const CHANGES_ARE: &str = "SELECT 1 FROM counters WHERE name = $1 AND value = $2";

/// The number of changes.
pub async fn changes(db: &dyn Db) -> Result<i64> {
    let rows = db.query(Query::point("SELECT value FROM counters WHERE name = $1", [CHANGES.into()])).await?;
    let row = rows.first().ok_or_else(|| Error::internal("the counter of changes of access is missing"))?;
    Ok(row.cursor().int()?)
}

/// Counts a change of permissions on authd.
pub fn count_change() -> Statement {
    Statement::one("count_change", COUNT_CHANGE, [CHANGES.into()])
}

/// Fails, as a proof of authority, if the counter is no longer `seen`.
pub fn no_change_since(seen: i64) -> Statement {
    Statement::exists(authority::PROOF, CHANGES_ARE, [CHANGES.into(), seen.into()])
}

/// Permissions of authd, from rows of names. Other names are ignored.
fn of_authd(rows: &[Row]) -> Result<Permissions> {
    let names = rows.iter().map(|row| row.cursor().text()).collect::<Result<Vec<_>, _>>()?;
    Ok(names.into_iter().filter_map(Permission::parse).collect())
}

const ON_AUTHD: &str = "\
    SELECT p.name FROM person_service_permissions g JOIN permissions p ON p.id = g.permission_id \
     WHERE g.person_id = $1 AND g.service_id = $2 \
    UNION SELECT p.name FROM person_service_roles g \
      JOIN service_roles sr ON sr.service_id = g.service_id AND sr.role_id = g.role_id \
      JOIN role_permissions rp ON rp.role_id = g.role_id JOIN permissions p ON p.id = rp.permission_id \
     WHERE g.person_id = $1 AND g.service_id = $2";

/// The permissions that a user would have on authd if the user and all their roles were active.
pub async fn on_authd(db: &dyn Db, user: UserId) -> Result<Permissions> {
    of_authd(&db.query(Query::new(ON_AUTHD, [user.into(), AUTHD.into()])).await?)
}

const HOLDS_ANYTHING: &str = "SELECT 1 FROM person_service_roles WHERE person_id = $1 \
     UNION ALL SELECT 1 FROM person_service_permissions WHERE person_id = $1 LIMIT 1";

/// Whether a user was granted anything in any service, active or not.
pub async fn holds_anything(db: &dyn Db, user: UserId) -> Result<bool> {
    Ok(!db.query(Query::new(HOLDS_ANYTHING, [user.into()])).await?.is_empty())
}

/// Fails, as a proof of authority, if a user was granted anything.
pub fn holds_nothing(user: UserId) -> Statement {
    Statement::absent(authority::PROOF, HOLDS_ANYTHING, [user.into()])
}
