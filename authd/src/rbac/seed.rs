//! The built-in objects: authd's own service, its permissions, and the role that has them all.
//!
//! A permission of authd may have been made, and given to people, before a version of authd knew it. The version that
//! introduces it ends what it would mean on authd, once and with an audit row: grants on authd, and its place in the roles
//! that count there (in other services too, if such a role counts in several). Everything else stays. A
//! version that does not know a name leaves it alone.

use shared::api::users::Status;
use shared::op::Permission;

use super::{ADMIN_ROLE, ADMIN_ROLE_NAME, AUTHD, AUTHD_NAME, store};
use crate::caller::Caller;
use crate::db::{Batch, Db, DbError, Query, Statement};
use crate::env::Env;
use crate::ledger::Invalidation;

// Both relations of the built-in role are counted, so that a missing one is found.
const FOUND: &str = "\
    SELECT 'counter' FROM counters WHERE name = $1 \
    UNION ALL SELECT 'service' FROM services WHERE id = $2 \
    UNION ALL SELECT 'role' FROM roles WHERE id = $3 \
    UNION ALL SELECT 'holds' FROM role_permissions rp JOIN permissions p ON p.id = rp.permission_id \
      WHERE rp.role_id = $3 AND p.live_name = $4 \
    UNION ALL SELECT 'counts' FROM service_roles WHERE service_id = $2 AND role_id = $3";
/// How many rows [`FOUND`] finds when nothing is missing.
const ALL: usize = 5;
const INTRODUCED: &str = "SELECT 1 FROM permissions WHERE live_name = $1 AND introduced_at IS NOT NULL";

/// The name of the statements of the seed.
const SEED: &str = "seed";
const COUNTER: &str = "INSERT INTO counters (name, value) VALUES ($1, 0) ON CONFLICT DO NOTHING";
const SERVICE: &str = "INSERT INTO services (id, name, live_name, description, status, created_at, updated_at) \
     VALUES ($1, $2, $2, 'authd itself', $3, $4, $4) ON CONFLICT DO NOTHING";
const ROLE: &str = "INSERT INTO roles (id, name, live_name, status, created_at, updated_at) \
     VALUES ($1, $2, $2, $3, $4, $4) ON CONFLICT DO NOTHING";
const PERMISSION: &str = "INSERT INTO permissions (id, name, live_name, created_at, updated_at) \
     VALUES ($1, $2, $2, $3, $3) ON CONFLICT DO NOTHING";
// Of a permission that is not introduced yet: the grants on authd, and the roles that count there. $1 is its name, $2 the
// service authd.
const REPORT_EARLIER: &str = "INSERT INTO audit (id, at, actor, action, subject, outcome, detail) \
     SELECT $3, CAST($4 AS BIGINT), $5, 'permissions.introduce', p.id, 'ok', \
       '{\"name\":\"' || p.live_name || '\",\"grants_removed\":' || e.grants || ',\"roles_removed\":' || e.roles || '}' \
     FROM permissions p JOIN (SELECT \
       (SELECT COUNT(*) FROM person_service_permissions g JOIN permissions q ON q.id = g.permission_id \
         WHERE q.live_name = $1 AND g.service_id = $2) AS grants, \
       (SELECT COUNT(*) FROM role_permissions rp JOIN permissions q ON q.id = rp.permission_id \
         JOIN service_roles sr ON sr.role_id = rp.role_id WHERE q.live_name = $1 AND sr.service_id = $2) AS roles) e \
       ON e.grants + e.roles > 0 \
     WHERE p.live_name = $1 AND p.introduced_at IS NULL";
const END_GRANTS: &str = "DELETE FROM person_service_permissions WHERE service_id = $2 AND permission_id IN \
     (SELECT id FROM permissions WHERE live_name = $1 AND introduced_at IS NULL)";
const END_ROLES: &str = "DELETE FROM role_permissions WHERE permission_id IN \
       (SELECT id FROM permissions WHERE live_name = $1 AND introduced_at IS NULL) \
     AND role_id IN (SELECT role_id FROM service_roles WHERE service_id = $2)";
const INTRODUCE: &str = "UPDATE permissions SET name = live_name, introduced_at = $2, updated_at = $2 \
     WHERE live_name = $1 AND introduced_at IS NULL";
const HOLDS: &str = "INSERT INTO role_permissions (role_id, permission_id, created_at) \
     SELECT $1, id, CAST($3 AS BIGINT) FROM permissions WHERE live_name = $2 ON CONFLICT DO NOTHING";
const COUNTS: &str = "INSERT INTO service_roles (service_id, role_id, created_at) VALUES ($1, $2, $3) \
     ON CONFLICT DO NOTHING";

/// Inserts missing rows: all at the first start, new permissions after an upgrade, none otherwise.
/// Several nodes may do it concurrently.
pub async fn seed(db: &dyn Db, env: &Env) -> Result<(), DbError> {
    let mut missing = Vec::new();
    for permission in Permission::ALL {
        let name = permission.as_str();
        if db.query(Query::point(INTRODUCED, [name.into()])).await?.is_empty() {
            missing.push(name);
        }
    }
    let (service, role) = (AUTHD.to_string(), ADMIN_ROLE.to_string());
    let admin = Permission::Admin.as_str();
    let params = [store::CHANGES.into(), service.as_str().into(), role.as_str().into(), admin.into()];
    if missing.is_empty() && db.query(Query::new(FOUND, params)).await?.len() == ALL {
        return Ok(());
    }
    let now = env.now();
    let active = Status::Active.as_str();
    let mut batch: Batch = vec![
        Statement::any(SEED, COUNTER, [store::CHANGES.into()]),
        Statement::any(SEED, SERVICE, [service.as_str().into(), AUTHD_NAME.into(), active.into(), now.into()]),
        Statement::any(SEED, ROLE, [role.as_str().into(), ADMIN_ROLE_NAME.into(), active.into(), now.into()]),
    ];
    for name in missing {
        let id = env.uuid().to_string();
        batch.push(Statement::any(SEED, PERMISSION, [id.into(), name.into(), now.into()]));
        let row = env.uuid().to_string();
        let actor = Caller::System.to_string();
        let on_authd = [name.into(), service.as_str().into()];
        let report = [on_authd.as_slice(), &[row.into(), now.into(), actor.into()]].concat();
        batch.push(Statement::any(SEED, REPORT_EARLIER, report));
        batch.push(Statement::any(SEED, END_GRANTS, on_authd.clone()));
        batch.push(Statement::any(SEED, END_ROLES, on_authd));
        batch.push(Statement::any(SEED, INTRODUCE, [name.into(), now.into()]));
    }
    batch.push(Statement::any(SEED, HOLDS, [role.as_str().into(), admin.into(), now.into()]));
    batch.push(Statement::any(SEED, COUNTS, [service.as_str().into(), role.into(), now.into()]));
    batch.extend(Invalidation::access(&service).row(now));
    batch.push(store::count_change());
    db.commit(batch).await.map(drop)
}
