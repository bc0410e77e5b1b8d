//! Roles.

use serde_json::json;
use shared::api::Done;
use shared::api::rbac::{CreateRole, DeleteRole, ListRoles, Role, RoleList, ShowRole, UpdateRole};
use shared::api::users::Status;
use shared::id::RoleId;
use shared::time::Time;

use super::{explained, renamed, returned};
use crate::app::Ctx;
use crate::audit;
use crate::error::{Error, Result};
use crate::names;
use crate::rbac::change::Change;
use crate::rbac::model::{self, Page};
use crate::rbac::store::{relations, roles as store};
use crate::rbac::{ADMIN_ROLE, ADMIN_ROLE_NAME};

pub async fn create(ctx: Ctx, op: CreateRole) -> Result<Role> {
    let folded = names::check("name", &op.name)?;
    let now = Time::from_millis(ctx.now());
    let role = Role {
        id: RoleId(ctx.app.world.uuid()),
        name: op.name,
        status: op.status.unwrap_or_default(),
        created_at: now,
        updated_at: now,
    };
    let mut change = Change::new(&ctx);
    change.push(store::insert(&role, &folded));
    let detail = audit::detail([("name", Some(json!(role.name))), ("status", Some(json!(role.status)))]);
    match change.commit("roles.create", role.id, detail).await {
        Ok(_) => Ok(role),
        Err(refused) => Err(explained(refused, "role", &role.name)),
    }
}

pub async fn list(ctx: Ctx, op: ListRoles) -> Result<RoleList> {
    let page = Page::new(op.cursor.as_deref(), op.limit)?;
    let roles = store::list(ctx.app.db.as_ref(), &page).await?;
    let (roles, next_cursor) = page.cut(roles, |role| role.id.to_string());
    Ok(RoleList { roles, next_cursor })
}

pub async fn show(ctx: Ctx, op: ShowRole) -> Result<Role> {
    super::role(&ctx, &op.id).await
}

pub async fn update(ctx: Ctx, op: UpdateRole) -> Result<Role> {
    let mut folded = String::new();
    let name = renamed("name", op.name.as_deref(), &mut folded)?;
    let role = super::role(&ctx, &op.id).await?;
    if role.id == ADMIN_ROLE && (op.name.is_some() || op.status == Some(Status::Inactive)) {
        return Err(built_in());
    }
    let change = Change::guarded(&ctx).await?;
    check_held_on_authd(&ctx, &change, role.id).await?;
    let mut change = change;
    change.push(store::update(role.id, name, op.status, ctx.now()));
    let detail = audit::detail([
        ("from", op.name.is_some().then(|| json!(role.name))),
        ("name", Some(json!(op.name.as_ref().unwrap_or(&role.name)))),
        ("status", op.status.map(|status| json!(status))),
    ]);
    match change.commit("roles.update", role.id, detail).await {
        Ok(outcomes) => returned(&outcomes, store::read),
        Err(refused) => Err(explained(refused, "role", op.name.as_deref().unwrap_or_default())),
    }
}

pub async fn delete(ctx: Ctx, op: DeleteRole) -> Result<Done> {
    let role = super::role(&ctx, &op.id).await?;
    if role.id == ADMIN_ROLE {
        return Err(built_in());
    }
    let mut change = Change::guarded(&ctx).await?;
    check_held_on_authd(&ctx, &change, role.id).await?;
    change.push(store::delete(role.id, ctx.now()));
    change.extend(relations::delete_of_role(role.id));
    let detail = audit::detail([("name", Some(json!(role.name)))]);
    match change.commit("roles.delete", role.id, detail).await {
        Ok(_) => Ok(Done::default()),
        Err(refused) => Err(explained(refused, "role", "")),
    }
}

/// A role that counts on authd is changed only by those who hold all that it is worth there.
async fn check_held_on_authd(ctx: &Ctx, change: &Change, role: RoleId) -> Result<()> {
    let db = ctx.app.db.as_ref();
    if store::counts_on_authd(db, role).await? {
        change.check_held(store::on_authd(db, role).await?)?;
    }
    Ok(())
}

fn built_in() -> Error {
    model::built_in(&format!("the role {ADMIN_ROLE_NAME}"))
}
