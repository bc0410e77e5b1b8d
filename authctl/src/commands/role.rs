//! Roles and their permissions.

use shared::api::Done;
use shared::api::rbac::{
    AddRolePermission, CreateRole, DeleteRole, ListRolePermissions, ListRoles, RemoveRolePermission, Role, RoleList,
    ShowRole, UpdateRole,
};
use shared::api::users::Status;
use shared::cli::{Column, Exit, Grid, clean, moment, relative};

use super::permission::write_permissions;
use super::{Context, listing};
use crate::args;
use crate::error::Error;
use crate::output::write_record;

listing!(ListRoles, roles);
listing!(ListRolePermissions, permissions);

pub(super) async fn run(command: args::Role, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        args::Role::Create(args) => create(args, context).await,
        args::Role::List(limit) => {
            let list = context.pages(ListRoles::default(), limit.limit).await?;
            write_roles(&list, "No roles. `authctl role create NAME` makes one", context)
        }
        args::Role::Show(args) => {
            let role = context.call(&ShowRole { id: args.role }).await?;
            show(&role, context).await
        }
        args::Role::Update(args) => {
            let request = UpdateRole { id: args.role, name: Some(args.name), status: None };
            let role = context.call(&request).await?;
            show(&role, context).await
        }
        args::Role::Delete(args) => delete(args.role, args.consent, context).await,
        args::Role::Enable(args) => set_status(args.role, Status::Active, context).await,
        args::Role::Disable(args) => set_status(args.role, Status::Inactive, context).await,
        args::Role::Allow(args) => {
            for permission in args.permissions {
                allow(&args.role, permission, context).await?;
            }
            context.print_object(&Done::default())?;
            Ok(Exit::Ok)
        }
        args::Role::Deny(args) => {
            for permission in args.permissions {
                let (role_id, permission_id) = (args.role.clone(), permission.clone());
                context.call(&RemoveRolePermission { role_id, permission_id }).await?;
                context.note(|| format!("The role {} does not have {permission} any more", args.role))?;
            }
            context.print_object(&Done::default())?;
            Ok(Exit::Ok)
        }
        args::Role::Permissions(args) => {
            let request = ListRolePermissions { id: args.role, ..ListRolePermissions::default() };
            let list = context.pages(request, args.limit.limit).await?;
            let empty = "The role has no permission. `authctl role allow ROLE PERMISSION` gives it one";
            write_permissions(&list, empty, context)
        }
    }
}

async fn create(args: args::RoleCreate, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let request = CreateRole { name: args.name, status: args.inactive.then_some(Status::Inactive) };
    let role = context.call(&request).await?;
    let exit = context.tell(&role, || format!("Created the role {}, id {}", role.name, role.id))?;
    for permission in args.permissions {
        allow(&role.name, permission, context).await?;
    }
    Ok(exit)
}

async fn allow(role: &str, permission: String, context: &mut Context<'_, '_>) -> Result<(), Error> {
    context.call(&AddRolePermission { role_id: role.to_owned(), permission_id: permission.clone() }).await?;
    context.note(|| format!("The role {role} has {permission}"))
}

/// A list of roles, wherever they are roles of.
pub(super) fn write_roles(list: &RoleList, empty: &str, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    if context.print_object(list)? {
        return Ok(Exit::Ok);
    }
    let now = context.now();
    let mut grid =
        Grid::new([Column::Wrapped("ROLE"), Column::Whole("STATUS"), Column::Spare("CREATED"), Column::Spare("ID")]);
    for role in &list.roles {
        grid.row([
            role.name.clone(),
            role.status.as_str().to_owned(),
            relative(now, role.created_at),
            role.id.to_string(),
        ]);
    }
    context.print_grid(&grid, list.next_cursor.as_ref(), empty)
}

/// The API's own object has no permissions; a person wants to see them.
async fn show(role: &Role, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    if context.print_object(role)? {
        return Ok(Exit::Ok);
    }
    let request = ListRolePermissions { id: role.id.to_string(), ..ListRolePermissions::default() };
    let permissions = context.pages(request, u64::MAX).await?.permissions;
    let permissions: Vec<String> = permissions.into_iter().map(|permission| permission.name).collect();
    let now = context.now();
    write_record(
        context.io,
        [
            ("ID", role.id.to_string()),
            ("Role", role.name.clone()),
            ("Status", role.status.as_str().to_owned()),
            ("Permissions", if permissions.is_empty() { "none".to_owned() } else { permissions.join(", ") }),
            ("Created", moment(now, role.created_at)),
            ("Changed", moment(now, role.updated_at)),
        ],
    )?;
    Ok(Exit::Ok)
}

async fn delete(role: String, consent: args::Consent, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let mut id = role;
    let mut named = id.clone();
    context
        .ask(consent, async || {
            let role = context.call(&ShowRole { id: id.clone() }).await?;
            id = role.id.to_string();
            named.clone_from(&role.name);
            Ok(format!("Delete the role {} ({id})? Whoever has it loses it, everywhere", clean(&role.name)))
        })
        .await?;
    let done = context.call(&DeleteRole { id }).await?;
    context.tell(&done, || format!("Deleted the role {named}"))
}

async fn set_status(id: String, status: Status, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let role = context.call(&UpdateRole { id, name: None, status: Some(status) }).await?;
    context.tell(&role, || match role.status {
        Status::Active => format!("The role {} is active", role.name),
        Status::Inactive => format!("The role {} is inactive: it counts for nobody", role.name),
    })
}
