//! Who was given what in which service.

use serde_json::json;
use shared::api::Done;
use shared::api::rbac::{
    GrantList, GrantPermission, GrantRole, ListGrants, ListPersonRoles, ListPersonServices, ListRolePeople, RoleList,
    ServiceList, UngrantPermission, UngrantRole,
};
use shared::api::rbac::{Role, Service};
use shared::api::users::{User, UserList};
use shared::id::ServiceId;
use shared::op::Operation;

use super::relations::{added, on_authd, removed};
use crate::call::Call;
use crate::error::Result;
use crate::ledger::{Change, Refused};
use crate::page::Page;
use crate::rbac::change::Guard;
use crate::rbac::store::grants::{self as store, Filter, GrantKey};
use crate::rbac::store::relations::{self, Relation};
use crate::rbac::{AUTHD, Rbac};

impl Rbac {
    pub(in crate::rbac) async fn grant_role(&self, call: Call, op: GrantRole) -> Result<Done> {
        let (person, service, role) = self.role_in_service(&op.person_id, &op.service_id, &op.role_id).await?;
        let relation = Relation::PersonRole(person.id, service.id, role.id);
        let change = Change::new(GrantRole::INFO.name, person.id).with(relation.insert(self.base.now())).detail([
            ("person", Some(json!(person.username))),
            ("service", Some(json!(service.name))),
            ("role", Some(json!(role.name))),
        ]);
        let committed = self.commit_role(&call, service.id, role.id, change).await;
        added(committed, || format!("{:?} has the role {:?} in {:?} already", person.username, role.name, service.name))
    }

    pub(in crate::rbac) async fn ungrant_role(&self, call: Call, op: UngrantRole) -> Result<Done> {
        let (person, service, role) = self.role_in_service(&op.person_id, &op.service_id, &op.role_id).await?;
        let relation = Relation::PersonRole(person.id, service.id, role.id);
        let change = Change::new(UngrantRole::INFO.name, person.id).with([relation.delete()]).detail([
            ("person", Some(json!(person.username))),
            ("service", Some(json!(service.name))),
            ("role", Some(json!(role.name))),
        ]);
        let committed = self.commit_role(&call, service.id, role.id, change).await;
        removed(committed, || {
            format!("{:?} was not given the role {:?} in {:?}", person.username, role.name, service.name)
        })
    }

    pub(in crate::rbac) async fn grant_permission(&self, call: Call, op: GrantPermission) -> Result<Done> {
        let (person, service) = (self.users.find(&op.person_id).await?, self.stored_service(&op.service_id).await?);
        let permission = self.stored_permission(&op.permission_id).await?;
        let relation = Relation::PersonPermission(person.id, service.id, permission.id);
        let change =
            Change::new(GrantPermission::INFO.name, person.id).with(relation.insert(self.base.now())).detail([
                ("person", Some(json!(person.username))),
                ("service", Some(json!(service.name))),
                ("permission", Some(json!(permission.name))),
            ]);
        let committed = self.commit_person_permission(&call, service.id, &permission.name, change).await;
        added(committed, || {
            format!("{:?} was given {:?} in {:?} already", person.username, permission.name, service.name)
        })
    }

    pub(in crate::rbac) async fn ungrant_permission(&self, call: Call, op: UngrantPermission) -> Result<Done> {
        let (person, service) = (self.users.find(&op.person_id).await?, self.stored_service(&op.service_id).await?);
        let permission = self.stored_permission(&op.permission_id).await?;
        let relation = Relation::PersonPermission(person.id, service.id, permission.id);
        let change = Change::new(UngrantPermission::INFO.name, person.id).with([relation.delete()]).detail([
            ("person", Some(json!(person.username))),
            ("service", Some(json!(service.name))),
            ("permission", Some(json!(permission.name))),
        ]);
        let committed = self.commit_person_permission(&call, service.id, &permission.name, change).await;
        removed(committed, || {
            format!("{:?} was not given {:?} in {:?} directly", person.username, permission.name, service.name)
        })
    }

    /// Person by person. The cursor is the place of the last grant of the page before.
    pub(in crate::rbac) async fn list_grants(&self, _: Call, op: ListGrants) -> Result<GrantList> {
        let page = Page::<GrantKey>::new(op.cursor.as_deref(), op.limit)?;
        let person = match &op.person_id {
            Some(person) => Some(self.users.find(person).await?.id),
            None => None,
        };
        let service = match &op.service_id {
            Some(service) => Some(self.stored_service(service).await?.id),
            None => None,
        };
        let grants = store::list(self.base.db.as_ref(), &Filter { person, service }, &page).await?;
        let (grants, next_cursor) = page.cut(grants, |(key, _)| key.clone());
        Ok(GrantList { grants: grants.into_iter().map(|(_, grant)| grant).collect(), next_cursor })
    }

    pub(in crate::rbac) async fn list_person_roles(&self, _: Call, op: ListPersonRoles) -> Result<RoleList> {
        let page = Page::new(op.cursor.as_deref(), op.limit)?;
        let (person, service) = (self.users.find(&op.id).await?, self.stored_service(&op.service_id).await?);
        let roles = relations::list_person_roles(self.base.db.as_ref(), person.id, service.id, &page).await?;
        let (roles, next_cursor) = page.cut(roles, |role| role.id);
        Ok(RoleList { roles, next_cursor })
    }

    pub(in crate::rbac) async fn list_role_people(&self, _: Call, op: ListRolePeople) -> Result<UserList> {
        let page = Page::new(op.cursor.as_deref(), op.limit)?;
        let (service, role) = (self.stored_service(&op.id).await?, self.stored_role(&op.role_id).await?);
        let users = relations::list_role_people(self.base.db.as_ref(), service.id, role.id, &page).await?;
        let (users, next_cursor) = page.cut(users, |user| user.id);
        Ok(UserList { users, next_cursor })
    }

    pub(in crate::rbac) async fn list_person_services(&self, _: Call, op: ListPersonServices) -> Result<ServiceList> {
        let page = Page::new(op.cursor.as_deref(), op.limit)?;
        let person = self.users.find(&op.id).await?;
        let services = relations::list_person_services(self.base.db.as_ref(), person.id, &page).await?;
        let (services, next_cursor) = page.cut(services, |service| service.id);
        Ok(ServiceList { services, next_cursor })
    }

    async fn role_in_service(&self, person: &str, service: &str, role: &str) -> Result<(User, Service, Role)> {
        let person = self.users.find(person).await?;
        Ok((person, self.stored_service(service).await?, self.stored_role(role).await?))
    }

    /// Commits a change of who has a permission in a service.
    async fn commit_person_permission(
        &self,
        call: &Call,
        service: ServiceId,
        permission: &str,
        change: Change,
    ) -> Result<(), Refused> {
        if service != AUTHD {
            return self.commit(call, change).await;
        }
        let mut guard = Guard::new(self.base.db.as_ref(), &call.caller).await?;
        guard.check_changed(on_authd(permission))?;
        self.commit(call, guard.guard(change)).await
    }
}
