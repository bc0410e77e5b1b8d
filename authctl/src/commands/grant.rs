//! Who was given what in which service, and what follows from it.

use shared::api::Done;
use shared::api::checks::{CheckPermission, ExplainPermission, ExplainedPermission};
use shared::api::rbac::{
    GrantPermission, GrantRole, ListGrants, ListServiceRoles, Role, UngrantPermission, UngrantRole,
};
use shared::cli::{Column, Exit, Grid, clean, moment, relative};
use shared::names::fold;

use super::{Context, listing};
use crate::args;
use crate::error::Error;

listing!(ListGrants, grants);

pub(super) async fn grant(args: args::Grant, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let (user, service) = (&args.user, &args.service);
    for role in &args.what.roles {
        let (person_id, service_id, role_id) = (user.clone(), service.clone(), role.clone());
        context.call(&GrantRole { person_id, service_id, role_id }).await?;
        context.note(|| format!("{user} has the role {role} in {service}"))?;
    }
    for permission in &args.what.permissions {
        let (person_id, service_id, permission_id) = (user.clone(), service.clone(), permission.clone());
        context.call(&GrantPermission { person_id, service_id, permission_id }).await?;
        context.note(|| format!("{user} has {permission} in {service}"))?;
    }
    context.print_object(&Done::default())?;
    note_idle(service, &args.what.roles, context).await?;
    Ok(Exit::Ok)
}

/// Says of roles that were given in a service that does not have them that they do nothing there.
async fn note_idle(service: &str, roles: &[String], context: &mut Context<'_, '_>) -> Result<(), Error> {
    if roles.is_empty() {
        return Ok(());
    }
    let request = ListServiceRoles { id: service.to_owned(), ..ListServiceRoles::default() };
    // The grant is made; a hint that cannot be had is none.
    let Ok(list) = context.pages(request, u64::MAX).await else { return Ok(()) };
    for role in roles {
        let is_this = |known: &Role| known.id.to_string() == *role || fold(&known.name) == fold(role);
        if !list.roles.iter().any(is_this) {
            let (service, role) = (clean(service), clean(role));
            writeln!(
                context.io.err,
                "note: the role {role} does not count in {service} until: authctl service roles add {service} {role}"
            )?;
        }
    }
    Ok(())
}

pub(super) async fn ungrant(args: args::Grant, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let (user, service) = (&args.user, &args.service);
    for role in &args.what.roles {
        let (person_id, service_id, role_id) = (user.clone(), service.clone(), role.clone());
        context.call(&UngrantRole { person_id, service_id, role_id }).await?;
        context.note(|| format!("{user} does not have the role {role} in {service} any more"))?;
    }
    for permission in &args.what.permissions {
        let (person_id, service_id, permission_id) = (user.clone(), service.clone(), permission.clone());
        context.call(&UngrantPermission { person_id, service_id, permission_id }).await?;
        context.note(|| format!("{user} was granted {permission} in {service}, and is not any more"))?;
    }
    context.print_object(&Done::default())?;
    Ok(Exit::Ok)
}

pub(super) async fn list(args: args::Grants, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let request = ListGrants { person_id: args.user, service_id: args.service, ..ListGrants::default() };
    let list = context.pages(request, args.limit.limit).await?;
    if context.print_object(&list)? {
        return Ok(Exit::Ok);
    }
    let now = context.now();
    let mut grid = Grid::new([
        Column::Wrapped("USER"),
        Column::Wrapped("SERVICE"),
        Column::Wrapped("ROLE"),
        Column::Wrapped("PERMISSION"),
        Column::Spare("GRANTED"),
    ]);
    for grant in &list.grants {
        grid.row([
            grant.username.clone(),
            grant.service.clone(),
            grant.role.clone().unwrap_or_default(),
            grant.permission.clone().unwrap_or_default(),
            relative(now, grant.created_at),
        ]);
    }
    let empty = "No grants. `authctl grant USER ROLE --service SERVICE` makes one";
    context.print_grid(&grid, list.next_cursor.as_ref(), empty)
}

pub(super) async fn can(args: args::Can, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let (person_id, service_id) = (args.user.clone(), args.service.clone());
    let request = ExplainPermission { person_id, service_id, permission_name: args.permission.clone() };
    match context.call(&request).await {
        Ok(explained) => explain(&args, &explained, context),
        // Why is for whoever may read all access; people may still ask whether, about themselves.
        Err(error) if error.is_forbidden() => {
            let ExplainPermission { person_id, service_id, permission_name } = request;
            let checked = context.call(&CheckPermission { person_id, service_id, permission_name }).await?;
            let exit = if checked.has_permission { Exit::Ok } else { Exit::Refused };
            if !context.print_object(&checked)? {
                writeln!(context.io.out, "{}", verdict(&args, checked.has_permission))?;
                writeln!(context.io.err, "Why is told to those who have access.read in authd")?;
            }
            Ok(exit)
        }
        Err(error) => Err(error),
    }
}

fn verdict(args: &args::Can, has_permission: bool) -> String {
    let (answer, has) = if has_permission { ("yes", "has") } else { ("no", "does not have") };
    let (user, permission, service) = (clean(&args.user), clean(&args.permission), clean(&args.service));
    format!("{answer}: {user} {has} {permission} in {service}")
}

fn explain(args: &args::Can, explained: &ExplainedPermission, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let exit = if explained.has_permission { Exit::Ok } else { Exit::Refused };
    if context.print_object(explained)? {
        return Ok(exit);
    }
    let now = context.now();
    writeln!(context.io.out, "{}", verdict(args, explained.has_permission))?;
    for reason in &explained.because {
        let granted = moment(now, reason.granted_at);
        let line = match &reason.role {
            Some(role) => format!("by the role {role}, granted {granted}"),
            None => format!("by itself, granted {granted}"),
        };
        writeln!(context.io.out, "  {}", clean(&line))?;
    }
    for obstacle in &explained.obstacles {
        writeln!(context.io.out, "  {}", clean(obstacle))?;
    }
    Ok(exit)
}
