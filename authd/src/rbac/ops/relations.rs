//! Which permissions a role has, and in which services it counts.

use serde_json::json;
use shared::api::Done;
use shared::api::rbac::{
    AddRolePermission, AddServiceRole, ListRolePermissions, ListServiceRoles, PermissionList, RemoveRolePermission,
    RemoveServiceRole, RoleList,
};
use shared::op::Permission as Authd;
use shared::problem::Code;

use crate::app::Ctx;
use crate::audit;
use crate::caller::Permissions;
use crate::error::{Error, Result};
use crate::rbac::change::{Change, Refused};
use crate::rbac::model::Page;
use crate::rbac::store::relations::{self as store, Relation};
use crate::rbac::store::roles;
use crate::rbac::{ADMIN_ROLE, ADMIN_ROLE_NAME, AUTHD, AUTHD_NAME};

pub async fn add_role_permission(ctx: Ctx, op: AddRolePermission) -> Result<Done> {
    let (role, permission) = (super::role(&ctx, &op.role_id).await?, super::permission(&ctx, &op.permission_id).await?);
    let mut change = Change::guarded(&ctx).await?;
    if roles::counts_on_authd(ctx.app.db.as_ref(), role.id).await? {
        change.check_held(on_authd(&permission.name))?;
    }
    change.extend(Relation::RolePermission(role.id, permission.id).insert(ctx.now()));
    let detail = audit::detail([("role", Some(json!(role.name))), ("permission", Some(json!(permission.name)))]);
    let committed = change.commit("roles.add_permission", role.id, detail).await;
    added(committed.map(drop), &["role", "permission"], || {
        format!("the role {:?} has the permission {:?} already", role.name, permission.name)
    })
}

pub async fn remove_role_permission(ctx: Ctx, op: RemoveRolePermission) -> Result<Done> {
    let (role, permission) = (super::role(&ctx, &op.role_id).await?, super::permission(&ctx, &op.permission_id).await?);
    if role.id == ADMIN_ROLE && on_authd(&permission.name).contain(Authd::Admin) {
        return Err(built_in(&format!("the permission {} of the role {ADMIN_ROLE_NAME}", permission.name)));
    }
    let mut change = Change::guarded(&ctx).await?;
    if roles::counts_on_authd(ctx.app.db.as_ref(), role.id).await? {
        change.check_held(on_authd(&permission.name))?;
    }
    change.push(Relation::RolePermission(role.id, permission.id).delete());
    let detail = audit::detail([("role", Some(json!(role.name))), ("permission", Some(json!(permission.name)))]);
    let committed = change.commit("roles.remove_permission", role.id, detail).await;
    removed(committed.map(drop), || {
        format!("the role {:?} does not have the permission {:?}", role.name, permission.name)
    })
}

pub async fn list_role_permissions(ctx: Ctx, op: ListRolePermissions) -> Result<PermissionList> {
    let page = Page::new(op.cursor.as_deref(), op.limit)?;
    let role = super::role(&ctx, &op.id).await?;
    let permissions = store::list_role_permissions(ctx.app.db.as_ref(), role.id, &page).await?;
    let (permissions, next_cursor) = page.cut(permissions, |permission| permission.id.to_string());
    Ok(PermissionList { permissions, next_cursor })
}

pub async fn add_service_role(ctx: Ctx, op: AddServiceRole) -> Result<Done> {
    let (service, role) = (super::service(&ctx, &op.service_id).await?, super::role(&ctx, &op.role_id).await?);
    let mut change = Change::guarded(&ctx).await?;
    if service.id == AUTHD {
        change.check_held(roles::on_authd(ctx.app.db.as_ref(), role.id).await?)?;
    }
    change.extend(Relation::ServiceRole(service.id, role.id).insert(ctx.now()));
    let detail = audit::detail([("service", Some(json!(service.name))), ("role", Some(json!(role.name)))]);
    let committed = change.commit("services.add_role", service.id, detail).await;
    added(committed.map(drop), &["service", "role"], || {
        format!("the role {:?} counts in the service {:?} already", role.name, service.name)
    })
}

pub async fn remove_service_role(ctx: Ctx, op: RemoveServiceRole) -> Result<Done> {
    let (service, role) = (super::service(&ctx, &op.service_id).await?, super::role(&ctx, &op.role_id).await?);
    if service.id == AUTHD && role.id == ADMIN_ROLE {
        return Err(built_in(&format!("the role {ADMIN_ROLE_NAME} of the service {AUTHD_NAME}")));
    }
    let mut change = Change::guarded(&ctx).await?;
    if service.id == AUTHD {
        change.check_held(roles::on_authd(ctx.app.db.as_ref(), role.id).await?)?;
    }
    change.push(Relation::ServiceRole(service.id, role.id).delete());
    let detail = audit::detail([("service", Some(json!(service.name))), ("role", Some(json!(role.name)))]);
    let committed = change.commit("services.remove_role", service.id, detail).await;
    removed(committed.map(drop), || format!("the role {:?} is none of the service {:?}", role.name, service.name))
}

pub async fn list_service_roles(ctx: Ctx, op: ListServiceRoles) -> Result<RoleList> {
    let page = Page::new(op.cursor.as_deref(), op.limit)?;
    let service = super::service(&ctx, &op.id).await?;
    let roles = store::list_service_roles(ctx.app.db.as_ref(), service.id, &page).await?;
    let (roles, next_cursor) = page.cut(roles, |role| role.id.to_string());
    Ok(RoleList { roles, next_cursor })
}

/// What a permission of this name is worth on authd.
pub fn on_authd(permission: &str) -> Permissions {
    Authd::parse(permission).into_iter().collect()
}

/// The answer to a new relation. `ends` are what it is between, in the order in which the batch looks for them.
pub fn added(committed: Result<(), Refused>, ends: &[&str], already: impl FnOnce() -> String) -> Result<Done> {
    match committed {
        Ok(()) => Ok(Done::default()),
        // It was there a moment ago, and has been deleted at the same time.
        Err(Refused::Unmet(index)) if index < ends.len() => Err(Error::not_found(ends[index])),
        Err(Refused::Duplicate(index)) if index == ends.len() => Err(Error::new(Code::Conflict, already())),
        Err(refused) => Err(refused.into()),
    }
}

/// The answer to the end of a relation.
pub fn removed(committed: Result<(), Refused>, missing: impl FnOnce() -> String) -> Result<Done> {
    match committed {
        Ok(()) => Ok(Done::default()),
        Err(Refused::Unmet(0)) => Err(Error::new(Code::NotFound, missing())),
        Err(refused) => Err(refused.into()),
    }
}

fn built_in(what: &str) -> Error {
    Error::new(Code::Conflict, format!("{what} is built in: it cannot be taken away"))
}
