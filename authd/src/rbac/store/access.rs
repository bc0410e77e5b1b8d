//! The SQL of a person's access to a service, and of services by id or name.

use shared::id::{ServiceId, UserId};
use shared::op::Permission;

use super::super::AUTHD;
use super::super::access::{Access, Named, Service};
use crate::db::{Db, Query};
use crate::error::Result;
use crate::names;

const ACCESS: &str = "\
    WITH involved AS (SELECT u.id FROM users u, services s WHERE u.id = $1 AND s.id = $2 AND u.status = 'active' \
      AND s.status = 'active' AND u.deleted_at IS NULL AND s.deleted_at IS NULL), \
    held AS (SELECT r.id, r.name FROM involved i \
      JOIN person_service_roles g ON g.person_id = i.id AND g.service_id = $2 \
      JOIN service_roles sr ON sr.service_id = $2 AND sr.role_id = g.role_id \
      JOIN roles r ON r.id = g.role_id AND r.status = 'active' AND r.deleted_at IS NULL) \
    SELECT 0, h.name FROM held h \
    UNION SELECT 1, p.name FROM held h JOIN role_permissions rp ON rp.role_id = h.id \
      JOIN permissions p ON p.id = rp.permission_id AND p.deleted_at IS NULL \
    UNION SELECT 1, p.name FROM involved i \
      JOIN person_service_permissions g ON g.person_id = i.id AND g.service_id = $2 \
      JOIN permissions p ON p.id = g.permission_id AND p.deleted_at IS NULL";

const SERVICE_BY_ID: &str = "SELECT id, name, status FROM services WHERE id = $1 AND deleted_at IS NULL";
const SERVICE_BY_NAME: &str = "SELECT id, name, status FROM services WHERE live_name = $1";

/// A person's access to a service; empty if either does not exist or is not active.
pub async fn find(db: &dyn Db, user: UserId, service: ServiceId) -> Result<Access> {
    let rows = db.query(Query::new(ACCESS, [user.into(), service.into()])).await?;
    let (mut roles, mut permissions) = (Vec::new(), Vec::new());
    for row in &rows {
        let mut row = row.cursor();
        let names = if row.int()? == 0 { &mut roles } else { &mut permissions };
        names.push(row.string()?);
    }
    let mut access = Access::new(roles, permissions)?;
    if service == AUTHD {
        access.authd = access.permissions.iter().filter_map(|name| Permission::parse(name)).collect();
    }
    Ok(access)
}

/// A service that is not deleted.
pub async fn find_service(db: &dyn Db, named: Named<'_>) -> Result<Option<Service>> {
    let query = match named {
        Named::Id(id) => Query::point(SERVICE_BY_ID, [id.into()]),
        Named::Name(name) => Query::point(SERVICE_BY_NAME, [names::fold(name).into()]),
    };
    let rows = db.query(query).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let mut row = row.cursor();
    Ok(Some(Service { id: row.id()?, name: row.string()?, is_active: row.text()? == "active" }))
}
