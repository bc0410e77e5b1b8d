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

use super::commit;
use super::relations::{added, commit_role, on_authd, removed};
use crate::app::Ctx;
use crate::error::Result;
use crate::ledger::{Change, Refused};
use crate::rbac::AUTHD;
use crate::rbac::change::Guard;
use crate::rbac::model::{self, Page};
use crate::rbac::store::grants::{self as store, Filter};
use crate::rbac::store::relations::{self, Relation};

pub async fn grant_role(ctx: Ctx, op: GrantRole) -> Result<Done> {
    let (person, service, role) = role_in_service(&ctx, &op.person_id, &op.service_id, &op.role_id).await?;
    let relation = Relation::PersonRole(person.id, service.id, role.id);
    let change = Change::new("grants.add_role", person.id).with(relation.insert(ctx.now())).detail([
        ("person", Some(json!(person.username))),
        ("service", Some(json!(service.name))),
        ("role", Some(json!(role.name))),
    ]);
    let committed = commit_role(&ctx, service.id, role.id, change).await;
    added(committed, || format!("{:?} has the role {:?} in {:?} already", person.username, role.name, service.name))
}

pub async fn ungrant_role(ctx: Ctx, op: UngrantRole) -> Result<Done> {
    let (person, service, role) = role_in_service(&ctx, &op.person_id, &op.service_id, &op.role_id).await?;
    let relation = Relation::PersonRole(person.id, service.id, role.id);
    let change = Change::new("grants.remove_role", person.id).with([relation.delete()]).detail([
        ("person", Some(json!(person.username))),
        ("service", Some(json!(service.name))),
        ("role", Some(json!(role.name))),
    ]);
    let committed = commit_role(&ctx, service.id, role.id, change).await;
    removed(committed, || format!("{:?} was not given the role {:?} in {:?}", person.username, role.name, service.name))
}

async fn role_in_service(ctx: &Ctx, person: &str, service: &str, role: &str) -> Result<(User, Service, Role)> {
    let person = super::user(ctx, person).await?;
    Ok((person, super::service(ctx, service).await?, super::role(ctx, role).await?))
}

pub async fn grant_permission(ctx: Ctx, op: GrantPermission) -> Result<Done> {
    let (person, service) = (super::user(&ctx, &op.person_id).await?, super::service(&ctx, &op.service_id).await?);
    let permission = super::permission(&ctx, &op.permission_id).await?;
    let relation = Relation::PersonPermission(person.id, service.id, permission.id);
    let change = Change::new("grants.add_permission", person.id).with(relation.insert(ctx.now())).detail([
        ("person", Some(json!(person.username))),
        ("service", Some(json!(service.name))),
        ("permission", Some(json!(permission.name))),
    ]);
    let committed = commit_permission(&ctx, service.id, &permission.name, change).await;
    added(committed, || format!("{:?} was given {:?} in {:?} already", person.username, permission.name, service.name))
}

pub async fn ungrant_permission(ctx: Ctx, op: UngrantPermission) -> Result<Done> {
    let (person, service) = (super::user(&ctx, &op.person_id).await?, super::service(&ctx, &op.service_id).await?);
    let permission = super::permission(&ctx, &op.permission_id).await?;
    let relation = Relation::PersonPermission(person.id, service.id, permission.id);
    let change = Change::new("grants.remove_permission", person.id).with([relation.delete()]).detail([
        ("person", Some(json!(person.username))),
        ("service", Some(json!(service.name))),
        ("permission", Some(json!(permission.name))),
    ]);
    let committed = commit_permission(&ctx, service.id, &permission.name, change).await;
    removed(committed, || {
        format!("{:?} was not given {:?} in {:?} directly", person.username, permission.name, service.name)
    })
}

/// Commits a change of who has a permission in a service.
async fn commit_permission(ctx: &Ctx, service: ServiceId, permission: &str, change: Change) -> Result<(), Refused> {
    if service != AUTHD {
        return commit(ctx, change).await;
    }
    let mut guard = Guard::new(ctx).await?;
    guard.check_changed(on_authd(permission))?;
    commit(ctx, guard.guard(change)).await
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
