//! The SQL of grants, with all names, for lists and explanations.

use std::fmt;
use std::str::FromStr;

use shared::api::rbac::{GRANT_CURSOR, Grant};
use shared::id::{PermissionId, ServiceId, UserId};
use shared::time::Time;

use crate::db::{Cursor, Db, Query, Row};
use crate::env::Millis;
use crate::error::Result;
use crate::page::Page;

// Ids have one length, so the keys sort by person, service, kind and role or permission. Only the smaller part is
// sorted at a time: the person of the cursor bounds both halves by their primary keys.
const LIST: &str = "\
    SELECT person_id, username, service_id, service, role, permission, created_at, place FROM (\
      SELECT g.person_id AS person_id, u.username AS username, g.service_id AS service_id, s.name AS service, \
          r.name AS role, NULL AS permission, g.created_at AS created_at, \
          g.person_id || g.service_id || 'r' || g.role_id AS place \
        FROM person_service_roles g JOIN users u ON u.id = g.person_id JOIN services s ON s.id = g.service_id \
        JOIN roles r ON r.id = g.role_id \
        WHERE g.person_id >= $2 AND ($3 = '' OR g.person_id = $3) AND ($4 = '' OR g.service_id = $4) \
      UNION ALL \
      SELECT g.person_id, u.username, g.service_id, s.name, NULL, p.name, g.created_at, \
          g.person_id || g.service_id || 'p' || g.permission_id \
        FROM person_service_permissions g JOIN users u ON u.id = g.person_id JOIN services s ON s.id = g.service_id \
        JOIN permissions p ON p.id = g.permission_id \
        WHERE g.person_id >= $2 AND ($3 = '' OR g.person_id = $3) AND ($4 = '' OR g.service_id = $4)\
    ) AS grants WHERE place > $1 ORDER BY place LIMIT $5";
const DIRECT: &str = "SELECT created_at FROM person_service_permissions \
     WHERE person_id = $1 AND service_id = $2 AND permission_id = $3";
const GIVEN_ROLES: &str = "SELECT r.name, r.status, g.created_at, \
       CASE WHEN EXISTS (SELECT 1 FROM service_roles sr WHERE sr.service_id = g.service_id AND sr.role_id = g.role_id) \
         THEN 1 ELSE 0 END, \
       CASE WHEN EXISTS (SELECT 1 FROM role_permissions rp WHERE rp.role_id = g.role_id AND rp.permission_id = $3) \
         THEN 1 ELSE 0 END \
     FROM person_service_roles g JOIN roles r ON r.id = g.role_id \
     WHERE g.person_id = $1 AND g.service_id = $2 ORDER BY r.name";
const OTHER_ROLES: &str = "SELECT r.name, r.status FROM service_roles sr JOIN roles r ON r.id = sr.role_id \
       JOIN role_permissions rp ON rp.role_id = r.id AND rp.permission_id = $3 \
     WHERE sr.service_id = $2 AND NOT EXISTS (SELECT 1 FROM person_service_roles g \
       WHERE g.person_id = $1 AND g.service_id = $2 AND g.role_id = r.id) \
     ORDER BY r.name LIMIT 10";

/// The sort key of a grant: the ids of person and service, the kind, and the id of the role or permission.
#[derive(Clone, Debug)]
pub struct GrantKey(String);

impl GrantKey {
    fn person(&self) -> &str {
        self.0.get(..uuid::fmt::Hyphenated::LENGTH).unwrap_or_default()
    }
}

impl FromStr for GrantKey {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_plain = text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        if is_plain && text.len() == GRANT_CURSOR { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

impl fmt::Display for GrantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Grants with their keys, sorted by person: all, or those of a person, or in a service.
pub async fn list(
    db: &dyn Db,
    person: Option<UserId>,
    service: Option<ServiceId>,
    page: &Page<GrantKey>,
) -> Result<Vec<(GrantKey, Grant)>> {
    let from = page.after.as_ref().map(GrantKey::person).unwrap_or_default();
    let person = person.map(|person| person.to_string()).unwrap_or_default();
    let service = service.map(|service| service.to_string()).unwrap_or_default();
    let params = [page.after_or(""), from.into(), person.into(), service.into(), page.rows()];
    let read = |row: &Row| -> Result<(GrantKey, Grant)> {
        let mut row = row.cursor();
        let grant = Grant {
            person_id: row.id()?,
            username: row.string()?,
            service_id: row.id()?,
            service: row.string()?,
            role: row.opt(Cursor::string)?,
            permission: row.opt(Cursor::string)?,
            created_at: Time::from_millis(row.int()?),
        };
        Ok((GrantKey(row.string()?), grant))
    };
    db.query(Query::new(LIST, params)).await?.iter().map(read).collect()
}

/// When a person was granted a permission in a service directly.
pub async fn find_direct(
    db: &dyn Db,
    person: UserId,
    service: ServiceId,
    permission: PermissionId,
) -> Result<Option<Millis>> {
    let query = Query::point(DIRECT, [person.into(), service.into(), permission.into()]);
    Ok(db.query(query).await?.first().map(|row| row.cursor().int()).transpose()?)
}

/// A role that a person was granted in a service.
#[derive(Debug)]
pub struct GivenRole {
    pub name: String,
    pub is_active: bool,
    pub granted_at: Millis,
    /// The service has the role.
    pub counts: bool,
    /// The role has the requested permission.
    pub has_permission: bool,
}

/// The roles that a person was granted in a service, and whether they give a permission.
pub async fn list_given_roles(
    db: &dyn Db,
    person: UserId,
    service: ServiceId,
    permission: PermissionId,
) -> Result<Vec<GivenRole>> {
    let query = Query::new(GIVEN_ROLES, [person.into(), service.into(), permission.into()]);
    let read = |row: &Row| -> Result<GivenRole> {
        let mut row = row.cursor();
        Ok(GivenRole {
            name: row.string()?,
            is_active: row.text()? == "active",
            granted_at: row.int()?,
            counts: row.bool()?,
            has_permission: row.bool()?,
        })
    };
    db.query(query).await?.iter().map(read).collect()
}

/// Names of roles that would give the permission in the service, but were not granted to the person: at most ten, and
/// whether each is active.
pub async fn list_other_roles(
    db: &dyn Db,
    person: UserId,
    service: ServiceId,
    permission: PermissionId,
) -> Result<Vec<(String, bool)>> {
    let query = Query::new(OTHER_ROLES, [person.into(), service.into(), permission.into()]);
    let read = |row: &Row| -> Result<(String, bool)> {
        let mut row = row.cursor();
        Ok((row.string()?, row.text()? == "active"))
    };
    db.query(query).await?.iter().map(read).collect()
}
