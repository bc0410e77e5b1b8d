//! Who was given what in which service.

use serde_json::json;
use shared::api::Done;
use shared::api::rbac::{
    GrantList, GrantPermission, GrantRole, ListGrants, ListPersonRoles, ListPersonServices, ListRolePeople, RoleList,
    ServiceList, UngrantPermission, UngrantRole,
};
use shared::api::users::UserList;

use super::relations::{added, on_authd, removed};
use crate::app::Ctx;
use crate::audit;
use crate::error::Result;
use crate::rbac::AUTHD;
use crate::rbac::change::Change;
use crate::rbac::model::{self, Page};
use crate::rbac::store::grants::{self as store, Filter};
use crate::rbac::store::relations::{self, Relation};
use crate::rbac::store::roles;

pub async fn grant_role(ctx: Ctx, op: GrantRole) -> Result<Done> {
    let person = super::user(&ctx, &op.person_id).await?;
    let (service, role) = (super::service(&ctx, &op.service_id).await?, super::role(&ctx, &op.role_id).await?);
    let mut change = Change::guarded(&ctx).await?;
    if service.id == AUTHD {
        change.check_held(roles::on_authd(ctx.app.db.as_ref(), role.id).await?)?;
    }
    change.extend(Relation::PersonRole(person.id, service.id, role.id).insert(ctx.now()));
    let detail = audit::detail([
        ("person", Some(json!(person.username))),
        ("service", Some(json!(service.name))),
        ("role", Some(json!(role.name))),
    ]);
    let committed = change.commit("grants.add_role", person.id, detail).await;
    added(committed.map(drop), &["user", "service", "role"], || {
        format!("{:?} has the role {:?} in {:?} already", person.username, role.name, service.name)
    })
}

pub async fn ungrant_role(ctx: Ctx, op: UngrantRole) -> Result<Done> {
    let person = super::user(&ctx, &op.person_id).await?;
    let (service, role) = (super::service(&ctx, &op.service_id).await?, super::role(&ctx, &op.role_id).await?);
    let mut change = Change::guarded(&ctx).await?;
    if service.id == AUTHD {
        change.check_held(roles::on_authd(ctx.app.db.as_ref(), role.id).await?)?;
    }
    change.push(Relation::PersonRole(person.id, service.id, role.id).delete());
    let detail = audit::detail([
        ("person", Some(json!(person.username))),
        ("service", Some(json!(service.name))),
        ("role", Some(json!(role.name))),
    ]);
    let committed = change.commit("grants.remove_role", person.id, detail).await;
    removed(committed.map(drop), || {
        format!("{:?} was not given the role {:?} in {:?}", person.username, role.name, service.name)
    })
}

pub async fn grant_permission(ctx: Ctx, op: GrantPermission) -> Result<Done> {
    let (person, service) = (super::user(&ctx, &op.person_id).await?, super::service(&ctx, &op.service_id).await?);
    let permission = super::permission(&ctx, &op.permission_id).await?;
    let mut change = Change::guarded(&ctx).await?;
    if service.id == AUTHD {
        change.check_held(on_authd(&permission.name))?;
    }
    change.extend(Relation::PersonPermission(person.id, service.id, permission.id).insert(ctx.now()));
    let detail = audit::detail([
        ("person", Some(json!(person.username))),
        ("service", Some(json!(service.name))),
        ("permission", Some(json!(permission.name))),
    ]);
    let committed = change.commit("grants.add_permission", person.id, detail).await;
    added(committed.map(drop), &["user", "service", "permission"], || {
        format!("{:?} was given {:?} in {:?} already", person.username, permission.name, service.name)
    })
}

pub async fn ungrant_permission(ctx: Ctx, op: UngrantPermission) -> Result<Done> {
    let (person, service) = (super::user(&ctx, &op.person_id).await?, super::service(&ctx, &op.service_id).await?);
    let permission = super::permission(&ctx, &op.permission_id).await?;
    let mut change = Change::guarded(&ctx).await?;
    if service.id == AUTHD {
        change.check_held(on_authd(&permission.name))?;
    }
    change.push(Relation::PersonPermission(person.id, service.id, permission.id).delete());
    let detail = audit::detail([
        ("person", Some(json!(person.username))),
        ("service", Some(json!(service.name))),
        ("permission", Some(json!(permission.name))),
    ]);
    let committed = change.commit("grants.remove_permission", person.id, detail).await;
    removed(committed.map(drop), || {
        format!("{:?} was not given {:?} in {:?} directly", person.username, permission.name, service.name)
    })
}

/// Person by person. The cursor is the place of the last grant of the page before.
pub async fn list(ctx: Ctx, op: ListGrants) -> Result<GrantList> {
    let page = Page::new(None, op.limit)?;
    let after = op.cursor.unwrap_or_default();
    let is_place = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
    if !after.is_empty() && (after.len() != store::PLACE || !after.bytes().all(is_place)) {
        return Err(model::not_a_cursor());
    }
    let person = match &op.person_id {
        Some(person) => Some(super::user(&ctx, person).await?.id),
        None => None,
    };
    let service = match &op.service_id {
        Some(service) => Some(super::service(&ctx, service).await?.id),
        None => None,
    };
    let grants = store::list(ctx.app.db.as_ref(), &Filter { after, person, service }, page.rows()).await?;
    let (grants, next_cursor) = page.cut(grants, |(place, _)| place.clone());
    Ok(GrantList { grants: grants.into_iter().map(|(_, grant)| grant).collect(), next_cursor })
}

pub async fn list_person_roles(ctx: Ctx, op: ListPersonRoles) -> Result<RoleList> {
    let page = Page::new(op.cursor.as_deref(), op.limit)?;
    let (person, service) = (super::user(&ctx, &op.id).await?, super::service(&ctx, &op.service_id).await?);
    let roles = relations::list_person_roles(ctx.app.db.as_ref(), person.id, service.id, &page).await?;
    let (roles, next_cursor) = page.cut(roles, |role| role.id.to_string());
    Ok(RoleList { roles, next_cursor })
}

pub async fn list_role_people(ctx: Ctx, op: ListRolePeople) -> Result<UserList> {
    let page = Page::new(op.cursor.as_deref(), op.limit)?;
    let (service, role) = (super::service(&ctx, &op.id).await?, super::role(&ctx, &op.role_id).await?);
    let users = relations::list_role_people(ctx.app.db.as_ref(), service.id, role.id, &page).await?;
    let (users, next_cursor) = page.cut(users, |user| user.id.to_string());
    Ok(UserList { users, next_cursor })
}

pub async fn list_person_services(ctx: Ctx, op: ListPersonServices) -> Result<ServiceList> {
    let page = Page::new(op.cursor.as_deref(), op.limit)?;
    let person = super::user(&ctx, &op.id).await?;
    let services = relations::list_person_services(ctx.app.db.as_ref(), person.id, &page).await?;
    let (services, next_cursor) = page.cut(services, |service| service.id.to_string());
    Ok(ServiceList { services, next_cursor })
}
