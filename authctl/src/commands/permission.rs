//! Permissions.

use shared::api::Done;
use shared::api::rbac::{
    CreatePermission, DeletePermission, ListPermissions, PermissionList, ShowPermission, UpdatePermission,
};
use shared::cli::{Column, Exit, Grid, clean, relative};

use super::{Context, listing};
use crate::args;
use crate::error::Error;

listing!(ListPermissions, permissions);

pub(super) async fn run(command: args::Permission, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        args::Permission::Create(args) => create(args.names, context).await,
        args::Permission::List(limit) => {
            let list = context.pages(ListPermissions::default(), limit.limit).await?;
            write_permissions(&list, "No permissions. `authctl permission create NAME` makes one", context)
        }
        args::Permission::Rename(args) => {
            let request = UpdatePermission { id: args.permission.clone(), name: Some(args.name) };
            let renamed = context.call(&request).await?;
            context.tell(&renamed, || format!("{} is {} now", args.permission, renamed.name))
        }
        args::Permission::Delete(args) => delete(args.permission, args.consent, context).await,
    }
}

/// One is printed as the API's own object, several as nothing but that they were made.
async fn create(names: Vec<String>, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    if let [name] = names.as_slice() {
        let made = context.call(&CreatePermission { name: name.clone() }).await?;
        return context.tell(&made, || format!("Created the permission {}", made.name));
    }
    for name in names {
        let made = context.call(&CreatePermission { name }).await?;
        context.note(|| format!("Created the permission {}", made.name))?;
    }
    context.print_object(&Done::default())?;
    Ok(Exit::Ok)
}

/// A list of permissions, wherever they are permissions of.
pub(super) fn write_permissions(
    list: &PermissionList,
    empty: &str,
    context: &mut Context<'_, '_>,
) -> Result<Exit, Error> {
    if context.print_object(list)? {
        return Ok(Exit::Ok);
    }
    let now = context.now();
    let mut grid = Grid::new([Column::Wrapped("PERMISSION"), Column::Spare("CREATED"), Column::Spare("ID")]);
    for permission in &list.permissions {
        grid.row([permission.name.clone(), relative(now, permission.created_at), permission.id.to_string()]);
    }
    context.print_grid(&grid, list.next_cursor.as_ref(), empty)
}

async fn delete(permission: String, consent: args::Consent, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let mut id = permission;
    let mut named = id.clone();
    context
        .ask(consent, async || {
            let permission = context.call(&ShowPermission { id: id.clone() }).await?;
            id = permission.id.to_string();
            named.clone_from(&permission.name);
            Ok(format!("Delete the permission {}? Every role and everybody loses it", clean(&permission.name)))
        })
        .await?;
    let done = context.call(&DeletePermission { id }).await?;
    context.tell(&done, || format!("Deleted the permission {named}"))
}
