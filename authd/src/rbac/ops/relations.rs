//! Which permissions a role has, and in which services it counts.

use serde_json::json;
use shared::api::Done;
use shared::api::rbac::{
    AddRolePermission, AddServiceRole, ListRolePermissions, ListServiceRoles, PermissionList, RemoveRolePermission,
    RemoveServiceRole, RoleList,
};
use shared::id::{RoleId, ServiceId};
use shared::op::{Operation, Permission as Authd};
use shared::problem::Code;

use crate::call::Call;
use crate::caller::Permissions;
use crate::error::{Error, Result};
use crate::ledger::{Change, Refused};
use crate::page::Page;
use crate::rbac::change::Guard;
use crate::rbac::store::relations::{self as store, Relation};
use crate::rbac::store::roles;
use crate::rbac::{ADMIN_ROLE, ADMIN_ROLE_NAME, AUTHD, AUTHD_NAME, Rbac};

impl Rbac {
    pub(in crate::rbac) async fn add_role_permission(&self, call: Call, op: AddRolePermission) -> Result<Done> {
        let (role, permission) =
            (self.stored_role(&op.role_id).await?, self.stored_permission(&op.permission_id).await?);
        let relation = Relation::RolePermission(role.id, permission.id);
        let change = Change::new(AddRolePermission::INFO.name, role.id)
            .with(relation.insert(self.base.now()))
            .detail([("role", Some(json!(role.name))), ("permission", Some(json!(permission.name)))]);
        let committed = self.commit_role_permission(&call, role.id, &permission.name, change).await;
        added(committed, || format!("the role {:?} has the permission {:?} already", role.name, permission.name))
    }

    pub(in crate::rbac) async fn remove_role_permission(&self, call: Call, op: RemoveRolePermission) -> Result<Done> {
        let (role, permission) =
            (self.stored_role(&op.role_id).await?, self.stored_permission(&op.permission_id).await?);
        if role.id == ADMIN_ROLE && on_authd(&permission.name).contain(Authd::Admin) {
            return Err(built_in(&format!("the permission {} of the role {ADMIN_ROLE_NAME}", permission.name)));
        }
        let relation = Relation::RolePermission(role.id, permission.id);
        let change = Change::new(RemoveRolePermission::INFO.name, role.id)
            .with([relation.delete()])
            .detail([("role", Some(json!(role.name))), ("permission", Some(json!(permission.name)))]);
        let committed = self.commit_role_permission(&call, role.id, &permission.name, change).await;
        removed(committed, || format!("the role {:?} does not have the permission {:?}", role.name, permission.name))
    }

    pub(in crate::rbac) async fn list_role_permissions(
        &self,
        _: Call,
        op: ListRolePermissions,
    ) -> Result<PermissionList> {
        let page = Page::new(op.cursor.as_deref(), op.limit)?;
        let role = self.stored_role(&op.id).await?;
        let permissions = store::list_role_permissions(self.base.db.as_ref(), role.id, &page).await?;
        let (permissions, next_cursor) = page.cut(permissions, |permission| permission.id);
        Ok(PermissionList { permissions, next_cursor })
    }

    pub(in crate::rbac) async fn add_service_role(&self, call: Call, op: AddServiceRole) -> Result<Done> {
        let (service, role) = (self.stored_service(&op.service_id).await?, self.stored_role(&op.role_id).await?);
        let change = Change::new(AddServiceRole::INFO.name, service.id)
            .with(Relation::ServiceRole(service.id, role.id).insert(self.base.now()))
            .detail([("service", Some(json!(service.name))), ("role", Some(json!(role.name)))]);
        let committed = self.commit_role(&call, service.id, role.id, change).await;
        added(committed, || format!("the role {:?} counts in the service {:?} already", role.name, service.name))
    }

    pub(in crate::rbac) async fn remove_service_role(&self, call: Call, op: RemoveServiceRole) -> Result<Done> {
        let (service, role) = (self.stored_service(&op.service_id).await?, self.stored_role(&op.role_id).await?);
        if service.id == AUTHD && role.id == ADMIN_ROLE {
            return Err(built_in(&format!("the role {ADMIN_ROLE_NAME} of the service {AUTHD_NAME}")));
        }
        let change = Change::new(RemoveServiceRole::INFO.name, service.id)
            .with([Relation::ServiceRole(service.id, role.id).delete()])
            .detail([("service", Some(json!(service.name))), ("role", Some(json!(role.name)))]);
        let committed = self.commit_role(&call, service.id, role.id, change).await;
        removed(committed, || format!("the role {:?} is none of the service {:?}", role.name, service.name))
    }

    pub(in crate::rbac) async fn list_service_roles(&self, _: Call, op: ListServiceRoles) -> Result<RoleList> {
        let page = Page::new(op.cursor.as_deref(), op.limit)?;
        let service = self.stored_service(&op.id).await?;
        let roles = store::list_service_roles(self.base.db.as_ref(), service.id, &page).await?;
        let (roles, next_cursor) = page.cut(roles, |role| role.id);
        Ok(RoleList { roles, next_cursor })
    }

    /// Commits a change of what a role holds. Only permissions of authd's can matter there.
    async fn commit_role_permission(
        &self,
        call: &Call,
        role: RoleId,
        permission: &str,
        change: Change,
    ) -> Result<(), Refused> {
        let worth = on_authd(permission);
        if worth == Permissions::NONE {
            return self.commit(call, change).await;
        }
        let mut guard = Guard::new(self.base.db.as_ref(), &call.caller).await?;
        // A role that does not count on authd may begin to at the same time.
        let counts = roles::counts_on_authd(self.base.db.as_ref(), role).await?;
        guard.check_changed(if counts { worth } else { Permissions::NONE })?;
        self.commit(call, guard.guard(change)).await
    }

    /// Commits a change of where a role counts, or of who was given it in a service.
    pub(super) async fn commit_role(
        &self,
        call: &Call,
        service: ServiceId,
        role: RoleId,
        change: Change,
    ) -> Result<(), Refused> {
        if service != AUTHD {
            return self.commit(call, change).await;
        }
        let mut guard = Guard::new(self.base.db.as_ref(), &call.caller).await?;
        guard.check_changed(roles::on_authd(self.base.db.as_ref(), role).await?)?;
        self.commit(call, guard.guard(change)).await
    }
}

/// What a permission of this name is worth on authd.
pub fn on_authd(permission: &str) -> Permissions {
    Authd::parse(permission).into_iter().collect()
}

/// The answer to a new relation.
pub fn added(committed: Result<(), Refused>, already: impl FnOnce() -> String) -> Result<Done> {
    match committed {
        Ok(()) => Ok(Done::default()),
        Err(Refused::Duplicate(store::RELATION)) => Err(Error::new(Code::Conflict, already())),
        // What it is between was there a moment ago, and has been deleted at the same time.
        Err(Refused::ExpectationFailed(end)) => Err(Error::not_found(end)),
        Err(refused) => Err(refused.into()),
    }
}

/// The answer to the end of a relation.
pub fn removed(committed: Result<(), Refused>, missing: impl FnOnce() -> String) -> Result<Done> {
    match committed {
        Ok(()) => Ok(Done::default()),
        Err(Refused::ExpectationFailed(store::RELATION)) => Err(Error::new(Code::NotFound, missing())),
        Err(refused) => Err(refused.into()),
    }
}

fn built_in(what: &str) -> Error {
    Error::new(Code::Conflict, format!("{what} is built in: it cannot be taken away"))
}
