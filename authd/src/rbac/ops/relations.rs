//! The permissions of roles, the roles of services, and the code that adds and removes every relation.

use serde_json::json;
use shared::api::Done;
use shared::api::rbac::{
    AddRolePermission, AddServiceRole, ListRolePermissions, ListServiceRoles, Permission, PermissionList,
    RemoveRolePermission, RemoveServiceRole, Role, RoleList, Service,
};
use shared::op::{Operation, Permission as Authd};
use shared::problem::Code;

use crate::call::Call;
use crate::caller::Permissions;
use crate::db::Committed;
use crate::error::{Error, Result};
use crate::ledger::{Change, Refused};
use crate::page::Page;
use crate::rbac::change::Guard;
use crate::rbac::store::relations::{self as store, Relation};
use crate::rbac::store::roles;
use crate::rbac::{ADMIN_ROLE, ADMIN_ROLE_NAME, AUTHD, AUTHD_NAME, Rbac};

/// A relation that a request adds or removes.
pub struct RelationChange {
    pub relation: Relation,
    /// The change for the audit log, still without the statements of the relation.
    pub change: Change,
    /// The permission on authd that the relation grants, if any.
    pub worth: Permissions,
    /// The error if the relation exists already.
    pub already: String,
    /// The error if the relation does not exist.
    pub missing: String,
}

impl Rbac {
    pub(in crate::rbac) async fn add_role_permission(&self, call: Call, op: AddRolePermission) -> Result<Done> {
        let change = self.role_permission(AddRolePermission::INFO.name, &op.role_id, &op.permission_id).await?;
        self.add_relation(&call, change).await
    }

    pub(in crate::rbac) async fn remove_role_permission(&self, call: Call, op: RemoveRolePermission) -> Result<Done> {
        let change = self.role_permission(RemoveRolePermission::INFO.name, &op.role_id, &op.permission_id).await?;
        self.remove_relation(&call, change).await
    }

    async fn role_permission(&self, action: &'static str, role: &str, permission: &str) -> Result<RelationChange> {
        let (role, permission): (Role, Permission) = (self.stored(role).await?, self.stored(permission).await?);
        Ok(RelationChange {
            relation: Relation::RolePermission(role.id, permission.id),
            change: Change::new(action, role.id)
                .detail([("role", Some(json!(role.name))), ("permission", Some(json!(permission.name)))]),
            worth: on_authd(&permission.name),
            already: format!("the role {:?} has the permission {:?} already", role.name, permission.name),
            missing: format!("the role {:?} does not have the permission {:?}", role.name, permission.name),
        })
    }

    pub(in crate::rbac) async fn list_role_permissions(
        &self,
        _: Call,
        op: ListRolePermissions,
    ) -> Result<PermissionList> {
        let page = Page::new(op.cursor.as_deref(), op.limit)?;
        let role: Role = self.stored(&op.id).await?;
        let (permissions, next_cursor) = store::list_role_permissions(self.base.db.as_ref(), role.id, &page).await?;
        Ok(PermissionList { permissions, next_cursor })
    }

    pub(in crate::rbac) async fn add_service_role(&self, call: Call, op: AddServiceRole) -> Result<Done> {
        let change = self.service_role(AddServiceRole::INFO.name, &op.service_id, &op.role_id).await?;
        self.add_relation(&call, change).await
    }

    pub(in crate::rbac) async fn remove_service_role(&self, call: Call, op: RemoveServiceRole) -> Result<Done> {
        let change = self.service_role(RemoveServiceRole::INFO.name, &op.service_id, &op.role_id).await?;
        self.remove_relation(&call, change).await
    }

    async fn service_role(&self, action: &'static str, service: &str, role: &str) -> Result<RelationChange> {
        let (service, role): (Service, Role) = (self.stored(service).await?, self.stored(role).await?);
        Ok(RelationChange {
            relation: Relation::ServiceRole(service.id, role.id),
            change: Change::new(action, service.id)
                .detail([("service", Some(json!(service.name))), ("role", Some(json!(role.name)))]),
            worth: Permissions::NONE,
            already: format!("the role {:?} counts in the service {:?} already", role.name, service.name),
            missing: format!("the role {:?} is not in the service {:?}", role.name, service.name),
        })
    }

    pub(in crate::rbac) async fn list_service_roles(&self, _: Call, op: ListServiceRoles) -> Result<RoleList> {
        let page = Page::new(op.cursor.as_deref(), op.limit)?;
        let service: Service = self.stored(&op.id).await?;
        let (roles, next_cursor) = store::list_service_roles(self.base.db.as_ref(), service.id, &page).await?;
        Ok(RoleList { roles, next_cursor })
    }

    pub(super) async fn add_relation(&self, call: &Call, to_add: RelationChange) -> Result<Done> {
        let RelationChange { relation, change, worth, already, .. } = to_add;
        self.check_known(relation, worth).await?;
        let change = change.with(relation.insert(self.base.now()));
        match self.commit_relation(call, relation, worth, change).await {
            Ok(_) => Ok(Done::default()),
            Err(Refused::Duplicate(store::RELATION)) => Err(Error::new(Code::Conflict, already)),
            // An end of the relation was deleted concurrently.
            Err(Refused::ExpectationFailed(end)) => Err(Error::not_found(end)),
            Err(refused) => Err(refused.into()),
        }
    }

    pub(super) async fn remove_relation(&self, call: &Call, to_remove: RelationChange) -> Result<Done> {
        let RelationChange { relation, change, worth, missing, .. } = to_remove;
        let change = change.urgent();
        let built_in = match relation {
            Relation::RolePermission(role, _) if role == ADMIN_ROLE && worth.contain(Authd::Admin) => {
                Some(format!("the permission {} of the role {ADMIN_ROLE_NAME}", Authd::Admin.as_str()))
            }
            Relation::ServiceRole(service, role) if service == AUTHD && role == ADMIN_ROLE => {
                Some(format!("the role {ADMIN_ROLE_NAME} of the service {AUTHD_NAME}"))
            }
            _ => None,
        };
        if let Some(what) = built_in {
            return Err(Error::new(Code::Conflict, format!("{what} is built in: it cannot be removed")));
        }
        match self.commit_relation(call, relation, worth, change.with([relation.delete()])).await {
            Ok(_) => Ok(Done::default()),
            Err(Refused::ExpectationFailed(store::RELATION)) => Err(Error::new(Code::NotFound, missing)),
            Err(refused) => Err(refused.into()),
        }
    }

    /// Refuses a relation that gives a permission on authd which authd does not know: a later version may give the name a
    /// meaning.
    async fn check_known(&self, relation: Relation, worth: Permissions) -> Result<()> {
        let db = self.base.db.as_ref();
        let unknown = match relation {
            Relation::PersonPermission(_, service, _) if service == AUTHD && worth == Permissions::NONE => {
                Some(("permission_id", "this"))
            }
            Relation::RolePermission(role, _)
                if worth == Permissions::NONE && roles::counts_on_authd(db, role).await? =>
            {
                Some(("permission_id", "the role counts in the service authd, and this"))
            }
            Relation::ServiceRole(service, role) if service == AUTHD && roles::has_unknown(db, role).await? => {
                Some(("role_id", "a permission of the role"))
            }
            _ => None,
        };
        let Some((field, what)) = unknown else { return Ok(()) };
        let known: Vec<&str> = Authd::ALL.iter().map(|permission| permission.as_str()).collect();
        Err(Error::field(field, format!("{what} is no permission of authd, which has: {}", known.join(", "))))
    }

    /// Commits a change of a relation. If it affects authd, the caller must have the permissions concerned.
    async fn commit_relation(
        &self,
        call: &Call,
        relation: Relation,
        worth: Permissions,
        change: Change,
    ) -> Result<Committed, Refused> {
        let matters = match relation {
            Relation::RolePermission(..) => worth != Permissions::NONE,
            Relation::ServiceRole(service, _)
            | Relation::PersonRole(_, service, _)
            | Relation::PersonPermission(_, service, _) => service == AUTHD,
        };
        if !matters {
            return self.commit(call, change).await;
        }
        let db = self.base.db.as_ref();
        let mut guard = Guard::new(db, &call.caller).await?;
        let changed = match relation {
            // A role that does not count on authd may be added there concurrently: this still increments the counter.
            Relation::RolePermission(role, _) if !roles::counts_on_authd(db, role).await? => Permissions::NONE,
            Relation::RolePermission(..) | Relation::PersonPermission(..) => worth,
            Relation::ServiceRole(_, role) | Relation::PersonRole(_, _, role) => roles::on_authd(db, role).await?,
        };
        guard.check_changed(changed)?;
        self.commit(call, guard.guard(change)).await
    }
}

/// The permission of authd with this name.
pub fn on_authd(permission: &str) -> Permissions {
    Authd::parse(permission).into_iter().collect()
}
