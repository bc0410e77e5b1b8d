//! Grants of roles and permissions to people in services.

use serde_json::json;
use shared::api::Done;
use shared::api::rbac::{
    GrantList, GrantPermission, GrantRole, ListGrants, ListPersonRoles, ListPersonServices, ListRolePeople, Permission,
    Role, RoleList, Service, ServiceList, UngrantPermission, UngrantRole,
};
use shared::api::users::{User, UserList};
use shared::op::Operation;

use super::relations::{RelationChange, on_authd};
use crate::call::Call;
use crate::caller::Permissions;
use crate::error::Result;
use crate::ledger::Change;
use crate::page::Page;
use crate::rbac::Rbac;
use crate::rbac::store::grants::{self as store, GrantKey};
use crate::rbac::store::relations::{self, Relation};

impl Rbac {
    pub(in crate::rbac) async fn grant_role(&self, call: Call, op: GrantRole) -> Result<Done> {
        let action = GrantRole::INFO.name;
        let change = self.person_role(action, &op.person_id, &op.service_id, &op.role_id).await?;
        self.add_relation(&call, change).await
    }

    pub(in crate::rbac) async fn ungrant_role(&self, call: Call, op: UngrantRole) -> Result<Done> {
        let action = UngrantRole::INFO.name;
        let change = self.person_role(action, &op.person_id, &op.service_id, &op.role_id).await?;
        self.remove_relation(&call, change).await
    }

    async fn person_role(
        &self,
        action: &'static str,
        person: &str,
        service: &str,
        role: &str,
    ) -> Result<RelationChange> {
        let (person, service): (User, Service) = (self.stored(person).await?, self.stored(service).await?);
        let role: Role = self.stored(role).await?;
        let (username, service_name, role_name) = (&person.username, &service.name, &role.name);
        Ok(RelationChange {
            relation: Relation::PersonRole(person.id, service.id, role.id),
            change: Change::new(action, person.id).detail([
                ("person", Some(json!(username))),
                ("service", Some(json!(service_name))),
                ("role", Some(json!(role_name))),
            ]),
            worth: Permissions::NONE,
            already: format!("{username:?} has the role {role_name:?} in {service_name:?} already"),
            missing: format!("{username:?} was not granted the role {role_name:?} in {service_name:?}"),
        })
    }

    pub(in crate::rbac) async fn grant_permission(&self, call: Call, op: GrantPermission) -> Result<Done> {
        let action = GrantPermission::INFO.name;
        let change = self.person_permission(action, &op.person_id, &op.service_id, &op.permission_id).await?;
        self.add_relation(&call, change).await
    }

    pub(in crate::rbac) async fn ungrant_permission(&self, call: Call, op: UngrantPermission) -> Result<Done> {
        let action = UngrantPermission::INFO.name;
        let change = self.person_permission(action, &op.person_id, &op.service_id, &op.permission_id).await?;
        self.remove_relation(&call, change).await
    }

    async fn person_permission(
        &self,
        action: &'static str,
        person: &str,
        service: &str,
        permission: &str,
    ) -> Result<RelationChange> {
        let (person, service): (User, Service) = (self.stored(person).await?, self.stored(service).await?);
        let permission: Permission = self.stored(permission).await?;
        let (username, service_name, name) = (&person.username, &service.name, &permission.name);
        Ok(RelationChange {
            relation: Relation::PersonPermission(person.id, service.id, permission.id),
            change: Change::new(action, person.id).detail([
                ("person", Some(json!(username))),
                ("service", Some(json!(service_name))),
                ("permission", Some(json!(name))),
            ]),
            worth: on_authd(name),
            already: format!("{username:?} was granted {name:?} in {service_name:?} already"),
            missing: format!("{username:?} was not granted {name:?} in {service_name:?} directly"),
        })
    }

    /// Sorted by person. The cursor is the key of the last grant of the previous page.
    pub(in crate::rbac) async fn list_grants(&self, _: Call, op: ListGrants) -> Result<GrantList> {
        let page = Page::<GrantKey>::new(op.cursor.as_deref(), op.limit)?;
        let person = match &op.person_id {
            Some(person) => Some(self.stored::<User>(person).await?.id),
            None => None,
        };
        let service = match &op.service_id {
            Some(service) => Some(self.stored::<Service>(service).await?.id),
            None => None,
        };
        let grants = store::list(self.base.db.as_ref(), person, service, &page).await?;
        let (grants, next_cursor) = page.cut(grants, |(key, _)| key.clone());
        Ok(GrantList { grants: grants.into_iter().map(|(_, grant)| grant).collect(), next_cursor })
    }

    pub(in crate::rbac) async fn list_person_roles(&self, _: Call, op: ListPersonRoles) -> Result<RoleList> {
        let page = Page::new(op.cursor.as_deref(), op.limit)?;
        let (person, service): (User, Service) = (self.stored(&op.id).await?, self.stored(&op.service_id).await?);
        let (roles, next_cursor) =
            relations::list_person_roles(self.base.db.as_ref(), person.id, service.id, &page).await?;
        Ok(RoleList { roles, next_cursor })
    }

    pub(in crate::rbac) async fn list_role_people(&self, _: Call, op: ListRolePeople) -> Result<UserList> {
        let page = Page::new(op.cursor.as_deref(), op.limit)?;
        let (service, role): (Service, Role) = (self.stored(&op.id).await?, self.stored(&op.role_id).await?);
        let (users, next_cursor) =
            relations::list_role_people(self.base.db.as_ref(), service.id, role.id, &page).await?;
        Ok(UserList { users, next_cursor })
    }

    pub(in crate::rbac) async fn list_person_services(&self, _: Call, op: ListPersonServices) -> Result<ServiceList> {
        let page = Page::new(op.cursor.as_deref(), op.limit)?;
        let person: User = self.stored(&op.id).await?;
        let (services, next_cursor) = relations::list_person_services(self.base.db.as_ref(), person.id, &page).await?;
        Ok(ServiceList { services, next_cursor })
    }
}
