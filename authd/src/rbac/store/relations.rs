//! The SQL of relations and grants.

use shared::api::rbac::{Permission, Role, Service};
use shared::api::users::User;
use shared::id::{PermissionId, RoleId, ServiceId, UserId};

use crate::db::{Db, Statement, Value};
use crate::entities::{self, Entity, alive, list_by};
use crate::env::Millis;
use crate::error::Result;
use crate::page::{Listed, Page};

/// The name of the statement that adds or removes a relation.
pub const RELATION: &str = "relation";

/// A relation, by its ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// A role has a permission.
    RolePermission(RoleId, PermissionId),
    /// A role counts in a service.
    ServiceRole(ServiceId, RoleId),
    /// A person was granted a role in a service.
    PersonRole(UserId, ServiceId, RoleId),
    /// A person was granted a permission in a service directly.
    PersonPermission(UserId, ServiceId, PermissionId),
}

impl Relation {
    /// The statements that require each end to exist; the insert of these ids and the time; the delete by these ids.
    fn sql(self) -> (Vec<Statement>, &'static str, &'static str) {
        match self {
            Self::RolePermission(role, permission) => (
                vec![alive::<Role>(role), alive::<Permission>(permission)],
                "INSERT INTO role_permissions (role_id, permission_id, created_at) VALUES ($1, $2, $3)",
                "DELETE FROM role_permissions WHERE role_id = $1 AND permission_id = $2",
            ),
            Self::ServiceRole(service, role) => (
                vec![alive::<Service>(service), alive::<Role>(role)],
                "INSERT INTO service_roles (service_id, role_id, created_at) VALUES ($1, $2, $3)",
                "DELETE FROM service_roles WHERE service_id = $1 AND role_id = $2",
            ),
            Self::PersonRole(person, service, role) => (
                vec![alive::<User>(person), alive::<Service>(service), alive::<Role>(role)],
                "INSERT INTO person_service_roles (person_id, service_id, role_id, created_at) VALUES ($1, $2, $3, $4)",
                "DELETE FROM person_service_roles WHERE person_id = $1 AND service_id = $2 AND role_id = $3",
            ),
            Self::PersonPermission(person, service, permission) => (
                vec![alive::<User>(person), alive::<Service>(service), alive::<Permission>(permission)],
                "INSERT INTO person_service_permissions (person_id, service_id, permission_id, created_at) \
                 VALUES ($1, $2, $3, $4)",
                "DELETE FROM person_service_permissions WHERE person_id = $1 AND service_id = $2 AND permission_id = $3",
            ),
        }
    }

    /// The statements that add it: its ends must exist (the statement of the end's name fails otherwise), and the
    /// relation must not ([`RELATION`] is a duplicate).
    pub fn insert(self, now: Millis) -> Vec<Statement> {
        let (mut batch, insert, _) = self.sql();
        let params: Vec<Value> = ids(&batch).chain([now.into()]).collect();
        batch.push(Statement::one(RELATION, insert, params));
        batch
    }

    /// Removes it; fails if it does not exist.
    pub fn delete(self) -> Statement {
        let (ends, _, delete) = self.sql();
        Statement::one(RELATION, delete, ids(&ends).collect::<Vec<_>>())
    }
}

fn ids(ends: &[Statement]) -> impl Iterator<Item = Value> {
    ends.iter().flat_map(|end| end.params.iter().cloned())
}

/// The relations that are deleted with an entity of each kind.
const DELETE_OF: [(&str, &str); 10] = [
    (User::KIND, "DELETE FROM person_service_roles WHERE person_id = $1"),
    (User::KIND, "DELETE FROM person_service_permissions WHERE person_id = $1"),
    (Service::KIND, "DELETE FROM service_roles WHERE service_id = $1"),
    (Service::KIND, "DELETE FROM person_service_roles WHERE service_id = $1"),
    (Service::KIND, "DELETE FROM person_service_permissions WHERE service_id = $1"),
    (Role::KIND, "DELETE FROM role_permissions WHERE role_id = $1"),
    (Role::KIND, "DELETE FROM service_roles WHERE role_id = $1"),
    (Role::KIND, "DELETE FROM person_service_roles WHERE role_id = $1"),
    (Permission::KIND, "DELETE FROM role_permissions WHERE permission_id = $1"),
    (Permission::KIND, "DELETE FROM person_service_permissions WHERE permission_id = $1"),
];

/// Deletes an entity and all its relations; fails if it is already deleted.
pub fn delete_with_relations<T: Entity>(id: T::Id, now: Millis) -> Vec<Statement> {
    let relations = DELETE_OF.iter().filter(|(kind, _)| *kind == T::KIND);
    let deletes = relations.map(|(_, sql)| Statement::any("delete_relations", sql, [id.into()]));
    std::iter::once(entities::delete::<T>(id, now)).chain(deletes).collect()
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
       u.created_at, u.updated_at, u.email, CASE WHEN u.email_verified_at IS NULL THEN 0 ELSE 1 END \
     FROM person_service_roles g JOIN users u ON u.id = g.person_id \
     WHERE g.service_id = $3 AND g.role_id = $4 AND u.id > $1 ORDER BY u.id LIMIT $2";
const PERSON_SERVICES: &str = "SELECT s.id, s.name, s.description, s.status, s.created_at, s.updated_at FROM services s \
     WHERE s.id > $1 AND (EXISTS (SELECT 1 FROM person_service_roles g WHERE g.person_id = $3 AND g.service_id = s.id) \
       OR EXISTS (SELECT 1 FROM person_service_permissions g WHERE g.person_id = $3 AND g.service_id = s.id)) \
     ORDER BY s.id LIMIT $2";

pub async fn list_role_permissions(db: &dyn Db, role: RoleId, page: &Page<PermissionId>) -> Result<Listed<Permission>> {
    list_by(db, ROLE_PERMISSIONS, page, [role.into()]).await
}

pub async fn list_service_roles(db: &dyn Db, service: ServiceId, page: &Page<RoleId>) -> Result<Listed<Role>> {
    list_by(db, SERVICE_ROLES, page, [service.into()]).await
}

pub async fn list_person_roles(
    db: &dyn Db,
    person: UserId,
    service: ServiceId,
    page: &Page<RoleId>,
) -> Result<Listed<Role>> {
    list_by(db, PERSON_ROLES, page, [person.into(), service.into()]).await
}

pub async fn list_role_people(
    db: &dyn Db,
    service: ServiceId,
    role: RoleId,
    page: &Page<UserId>,
) -> Result<Listed<User>> {
    list_by(db, ROLE_PEOPLE, page, [service.into(), role.into()]).await
}

pub async fn list_person_services(db: &dyn Db, person: UserId, page: &Page<ServiceId>) -> Result<Listed<Service>> {
    list_by(db, PERSON_SERVICES, page, [person.into()]).await
}
