//! The SQL of what belongs to what, and of who was given what.

use shared::api::rbac::{Permission, Role, Service};
use shared::api::users::User;
use shared::id::{PermissionId, RoleId, ServiceId, UserId};

use uuid::Uuid;

use super::{permissions, roles, services};
use crate::db::{Db, Query, Row, Statement, Value};
use crate::env::Millis;
use crate::error::Result;
use crate::page::Page;
use crate::users::store as users;

/// The name of the statement that makes or ends a relation.
pub const RELATION: &str = "relation";

/// A relation by the ids that make it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// A role has a permission.
    RolePermission(RoleId, PermissionId),
    /// A role counts in a service.
    ServiceRole(ServiceId, RoleId),
    /// A person was given a role in a service.
    PersonRole(UserId, ServiceId, RoleId),
    /// A person was given a permission in a service directly.
    PersonPermission(UserId, ServiceId, PermissionId),
}

impl Relation {
    /// The statements that make it: its ends must be alive (the statement of the end's name fails otherwise), and then
    /// it must not be there already ([`RELATION`] is a duplicate).
    pub fn insert(self, now: Millis) -> Vec<Statement> {
        let (ends, sql) = match self {
            Self::RolePermission(role, permission) => (
                vec![roles::alive(role), permissions::alive(permission)],
                "INSERT INTO role_permissions (role_id, permission_id, created_at) VALUES ($1, $2, $3)",
            ),
            Self::ServiceRole(service, role) => (
                vec![services::alive(service), roles::alive(role)],
                "INSERT INTO service_roles (service_id, role_id, created_at) VALUES ($1, $2, $3)",
            ),
            Self::PersonRole(person, service, role) => (
                vec![users::alive(person), services::alive(service), roles::alive(role)],
                "INSERT INTO person_service_roles (person_id, service_id, role_id, created_at) VALUES ($1, $2, $3, $4)",
            ),
            Self::PersonPermission(person, service, permission) => (
                vec![users::alive(person), services::alive(service), permissions::alive(permission)],
                "INSERT INTO person_service_permissions (person_id, service_id, permission_id, created_at) \
                 VALUES ($1, $2, $3, $4)",
            ),
        };
        let mut batch = ends;
        let mut params = self.ids();
        params.push(now.into());
        batch.push(Statement::one(RELATION, sql, params));
        batch
    }

    /// Ends it; fails when it is not there.
    pub fn delete(self) -> Statement {
        let sql = match self {
            Self::RolePermission(..) => "DELETE FROM role_permissions WHERE role_id = $1 AND permission_id = $2",
            Self::ServiceRole(..) => "DELETE FROM service_roles WHERE service_id = $1 AND role_id = $2",
            Self::PersonRole(..) => {
                "DELETE FROM person_service_roles WHERE person_id = $1 AND service_id = $2 AND role_id = $3"
            }
            Self::PersonPermission(..) => {
                "DELETE FROM person_service_permissions WHERE person_id = $1 AND service_id = $2 AND permission_id = $3"
            }
        };
        Statement::one(RELATION, sql, self.ids())
    }

    fn ids(self) -> Vec<Value> {
        match self {
            Self::RolePermission(role, permission) => vec![role.into(), permission.into()],
            Self::ServiceRole(service, role) => vec![service.into(), role.into()],
            Self::PersonRole(person, service, role) => {
                vec![person.into(), service.into(), role.into()]
            }
            Self::PersonPermission(person, service, permission) => {
                vec![person.into(), service.into(), permission.into()]
            }
        }
    }
}

fn all(statements: &[&'static str], id: String) -> Vec<Statement> {
    statements.iter().map(|sql| Statement::any("delete_relations", sql, [Value::from(id.as_str())])).collect()
}

/// Everything that a user was given.
pub fn delete_of_user(user: UserId) -> Vec<Statement> {
    all(
        &[
            "DELETE FROM person_service_roles WHERE person_id = $1",
            "DELETE FROM person_service_permissions WHERE person_id = $1",
        ],
        user.to_string(),
    )
}

/// A service's roles, and everything that was given in it.
pub fn delete_of_service(service: ServiceId) -> Vec<Statement> {
    all(
        &[
            "DELETE FROM service_roles WHERE service_id = $1",
            "DELETE FROM person_service_roles WHERE service_id = $1",
            "DELETE FROM person_service_permissions WHERE service_id = $1",
        ],
        service.to_string(),
    )
}

/// A role's permissions, where it counts, and who was given it.
pub fn delete_of_role(role: RoleId) -> Vec<Statement> {
    all(
        &[
            "DELETE FROM role_permissions WHERE role_id = $1",
            "DELETE FROM service_roles WHERE role_id = $1",
            "DELETE FROM person_service_roles WHERE role_id = $1",
        ],
        role.to_string(),
    )
}

/// Which roles have a permission, and who was given it.
pub fn delete_of_permission(permission: PermissionId) -> Vec<Statement> {
    all(
        &[
            "DELETE FROM role_permissions WHERE permission_id = $1",
            "DELETE FROM person_service_permissions WHERE permission_id = $1",
        ],
        permission.to_string(),
    )
}

const ROLE_PERMISSIONS: &str = "SELECT p.id, p.name, p.created_at, p.updated_at FROM role_permissions rp \
     JOIN permissions p ON p.id = rp.permission_id WHERE rp.role_id = $3 AND p.id > $1 ORDER BY p.id LIMIT $2";
const SERVICE_ROLES: &str = "SELECT r.id, r.name, r.status, r.created_at, r.updated_at FROM service_roles sr \
     JOIN roles r ON r.id = sr.role_id WHERE sr.service_id = $3 AND r.id > $1 ORDER BY r.id LIMIT $2";
const PERSON_ROLES: &str = "SELECT r.id, r.name, r.status, r.created_at, r.updated_at FROM person_service_roles g \
     JOIN roles r ON r.id = g.role_id WHERE g.person_id = $3 AND g.service_id = $4 AND r.id > $1 \
     ORDER BY r.id LIMIT $2";
const ROLE_PEOPLE: &str = "SELECT u.id, u.username, u.name, u.status, \
       CASE WHEN u.password_hash IS NULL THEN 0 ELSE 1 END, u.person_type, u.document_type, u.document_number, \
       u.created_at, u.updated_at \
     FROM person_service_roles g JOIN users u ON u.id = g.person_id \
     WHERE g.service_id = $3 AND g.role_id = $4 AND u.id > $1 ORDER BY u.id LIMIT $2";
const PERSON_SERVICES: &str = "SELECT s.id, s.name, s.description, s.status, s.created_at, s.updated_at FROM services s \
     WHERE s.id > $1 AND (EXISTS (SELECT 1 FROM person_service_roles g WHERE g.person_id = $3 AND g.service_id = s.id) \
       OR EXISTS (SELECT 1 FROM person_service_permissions g WHERE g.person_id = $3 AND g.service_id = s.id)) \
     ORDER BY s.id LIMIT $2";

async fn list<T, const N: usize>(
    db: &dyn Db,
    sql: &'static str,
    page: &Page<Uuid>,
    of: [String; N],
    read: fn(&Row) -> Result<T>,
) -> Result<Vec<T>> {
    let mut params = vec![page.after_or(""), page.rows()];
    params.extend(of.map(Value::from));
    db.query(Query::new(sql, params)).await?.iter().map(read).collect()
}

pub async fn list_role_permissions(db: &dyn Db, role: RoleId, page: &Page<Uuid>) -> Result<Vec<Permission>> {
    list(db, ROLE_PERMISSIONS, page, [role.to_string()], permissions::read).await
}

pub async fn list_service_roles(db: &dyn Db, service: ServiceId, page: &Page<Uuid>) -> Result<Vec<Role>> {
    list(db, SERVICE_ROLES, page, [service.to_string()], roles::read).await
}

pub async fn list_person_roles(
    db: &dyn Db,
    person: UserId,
    service: ServiceId,
    page: &Page<Uuid>,
) -> Result<Vec<Role>> {
    list(db, PERSON_ROLES, page, [person.to_string(), service.to_string()], roles::read).await
}

pub async fn list_role_people(db: &dyn Db, service: ServiceId, role: RoleId, page: &Page<Uuid>) -> Result<Vec<User>> {
    list(db, ROLE_PEOPLE, page, [service.to_string(), role.to_string()], users::read).await
}

pub async fn list_person_services(db: &dyn Db, person: UserId, page: &Page<Uuid>) -> Result<Vec<Service>> {
    list(db, PERSON_SERVICES, page, [person.to_string()], services::read).await
}
