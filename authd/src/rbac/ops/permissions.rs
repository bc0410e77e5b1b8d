//! Permissions.

use serde_json::json;
use shared::api::Done;
use shared::api::rbac::{
    CreatePermission, DeletePermission, ListPermissions, Permission, PermissionList, ShowPermission, UpdatePermission,
};
use shared::id::PermissionId;
use shared::time::Time;

use super::{commit, commit_rows, explained, renamed, returned};
use crate::app::Ctx;
use crate::error::{Error, Result};
use crate::ledger::Change;
use crate::names;
use crate::rbac::model::{self, Page};
use crate::rbac::store::{permissions as store, relations};

pub async fn create(ctx: Ctx, op: CreatePermission) -> Result<Permission> {
    let folded = names::check("name", &op.name)?;
    let now = Time::from_millis(ctx.now());
    let permission =
        Permission { id: PermissionId(ctx.app.world.uuid()), name: op.name, created_at: now, updated_at: now };
    let change = Change::new("permissions.create", permission.id)
        .with([store::insert(&permission, &folded)])
        .detail([("name", Some(json!(permission.name)))]);
    match commit(&ctx, change).await {
        Ok(()) => Ok(permission),
        Err(refused) => Err(explained(refused, store::NAME, &permission.name)),
    }
}

pub async fn list(ctx: Ctx, op: ListPermissions) -> Result<PermissionList> {
    let page = Page::new(op.cursor.as_deref(), op.limit)?;
    let permissions = store::list(ctx.app.db.as_ref(), &page).await?;
    let (permissions, next_cursor) = page.cut(permissions, |permission| permission.id.to_string());
    Ok(PermissionList { permissions, next_cursor })
}

pub async fn show(ctx: Ctx, op: ShowPermission) -> Result<Permission> {
    super::permission(&ctx, &op.id).await
}

pub async fn update(ctx: Ctx, op: UpdatePermission) -> Result<Permission> {
    let mut folded = String::new();
    let name = renamed("name", op.name.as_deref(), &mut folded)?;
    let permission = super::permission(&ctx, &op.id).await?;
    if model::is_authd_permission(&permission.name) && op.name.is_some() {
        return Err(built_in(&permission));
    }
    let update = store::update(permission.id, name, ctx.now());
    let change = Change::new("permissions.update", permission.id).with([update]).detail([
        ("from", op.name.is_some().then(|| json!(permission.name))),
        ("name", Some(json!(op.name.as_ref().unwrap_or(&permission.name)))),
    ]);
    match commit_rows(&ctx, change).await {
        Ok(committed) => returned(&committed, store::NAME, store::read),
        Err(refused) => Err(explained(refused, store::NAME, op.name.as_deref().unwrap_or_default())),
    }
}

pub async fn delete(ctx: Ctx, op: DeletePermission) -> Result<Done> {
    let permission = super::permission(&ctx, &op.id).await?;
    if model::is_authd_permission(&permission.name) {
        return Err(built_in(&permission));
    }
    let change = Change::new("permissions.delete", permission.id)
        .with([store::delete(permission.id, ctx.now())])
        .with(relations::delete_of_permission(permission.id))
        .detail([("name", Some(json!(permission.name)))]);
    match commit(&ctx, change).await {
        Ok(()) => Ok(Done::default()),
        Err(refused) => Err(explained(refused, store::NAME, "")),
    }
}

fn built_in(permission: &Permission) -> Error {
    model::built_in(&format!("authd's own permission {}", permission.name))
}
