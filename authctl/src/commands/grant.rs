//! Grants: the roles and permissions of users in services, and the access that follows from them.

use clap::{ArgGroup, Args};
use shared::api::checks::{CheckPermission, ExplainPermission, ExplainedPermission};
use shared::api::rbac;
use shared::api::rbac::{
    GrantPermission, GrantRole, ListGrants, ListServiceRoles, Role, UngrantPermission, UngrantRole,
};
use shared::cli::Column::{Spare, Wrapped};
use shared::cli::{Exit, clean, moment, relative};
use shared::names::fold;

use super::{Context, Mistaken, listing};
use crate::args::{Between, Paging};
use crate::error::Error;

listing!(ListGrants, grants: rbac::Grant; person_id service_id);

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["roles", "permissions"]))]
pub struct Grant {
    /// The user's name or id
    user: String,
    /// Names or ids of roles
    #[arg(value_name = "ROLE")]
    roles: Vec<String>,
    /// A single permission without a role (repeat for more)
    #[arg(short, long = "permission", value_name = "PERMISSION")]
    permissions: Vec<String>,
    /// The service's name or id
    #[arg(short, long)]
    service: String,
}

#[derive(Debug, Args)]
pub struct List {
    /// Only grants of this user
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only grants in this service
    #[arg(short, long)]
    service: Option<String>,
    /// Only grants of this role
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Only grants of this permission by itself
    #[arg(long, value_name = "PERMISSION")]
    permission: Option<String>,
    #[command(flatten)]
    granted: Between,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, Args)]
pub struct Can {
    /// The user's name or id
    user: String,
    /// The permission's name
    permission: String,
    /// The service's name or id
    #[arg(short, long)]
    service: String,
}

pub(super) async fn grant(args: Grant, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let Grant { user, roles, permissions, service } = args;
    let request = |role_id| GrantRole { person_id: user.clone(), service_id: service.clone(), role_id };
    let line = |role: &str| format!("{user} has the role {role} in {service}");
    context.call_for_each(roles.clone(), request, line, Mistaken::Permission(&as_permission)).await?;
    let request =
        |permission_id| GrantPermission { person_id: user.clone(), service_id: service.clone(), permission_id };
    let line = |name: &str| format!("{user} has {name} in {service}");
    context.call_for_each(permissions, request, line, Mistaken::Role(&as_role)).await?;
    let exit = context.done()?;
    note_idle(&service, &roles, context).await?;
    Ok(exit)
}

fn as_permission(name: &str) -> String {
    format!("write it as --permission {name}")
}

fn as_role(name: &str) -> String {
    format!("write it as {name} after the user, without --permission")
}

/// Prints a note if the service does not have a granted role, which then has no effect.
async fn note_idle(service: &str, roles: &[String], context: &mut Context<'_, '_>) -> Result<(), Error> {
    if roles.is_empty() {
        return Ok(());
    }
    let request = ListServiceRoles { id: service.to_owned(), ..ListServiceRoles::default() };
    // The grant is made; if this call fails, there is no note.
    let Ok(counting) = context.all(request).await else { return Ok(()) };
    for role in roles {
        let is_this = |known: &Role| known.id.to_string() == *role || fold(&known.name) == fold(role);
        if !counting.iter().any(is_this) {
            let (service, role) = (clean(service), clean(role));
            writeln!(
                context.io.err,
                "note: the role {role} does not count in {service} until: authctl service roles add {service} {role}"
            )?;
        }
    }
    Ok(())
}

pub(super) async fn ungrant(args: Grant, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let Grant { user, roles, permissions, service } = args;
    let request = |role_id| UngrantRole { person_id: user.clone(), service_id: service.clone(), role_id };
    let line = |role: &str| format!("{user} no longer has the role {role} in {service}");
    context.call_for_each(roles, request, line, Mistaken::Permission(&as_permission)).await?;
    let request =
        |permission_id| UngrantPermission { person_id: user.clone(), service_id: service.clone(), permission_id };
    let line = |name: &str| format!("the grant of {name} to {user} in {service} is removed");
    context.call_for_each(permissions, request, line, Mistaken::Role(&as_role)).await?;
    context.done()
}

pub(super) async fn list(args: List, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let (person_id, service_id) = (args.user.clone(), args.service.clone());
    let request = ListGrants { person_id, service_id, ..ListGrants::default() };
    let columns = [Wrapped("USER"), Wrapped("SERVICE"), Wrapped("ROLE"), Wrapped("PERMISSION"), Spare("GRANTED")];
    let row = |now, grant: rbac::Grant| {
        let (role, permission) = (grant.role.unwrap_or_default(), grant.permission.unwrap_or_default());
        [grant.username, grant.service, role, permission, relative(now, grant.created_at)]
    };
    let empty = "No grants. Create one: `authctl grant USER ROLE --service SERVICE`";
    let List { role, permission, granted, paging, .. } = args;
    let now = context.now();
    let is_named = |wanted: &Option<String>, name: &Option<String>| {
        let name = name.as_deref().map(fold);
        wanted.as_deref().is_none_or(|wanted| name.is_some_and(|name| name == fold(wanted)))
    };
    let keep = |grant: &rbac::Grant| {
        is_named(&role, &grant.role) && is_named(&permission, &grant.permission) && granted.has(now, grant.created_at)
    };
    let is_all = role.is_none() && permission.is_none() && granted.is_all();
    context.list_where(request, paging, (!is_all).then_some(&keep as _), empty, columns, row).await
}

pub(super) async fn can(args: Can, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let (person_id, service_id) = (args.user.clone(), args.service.clone());
    let request = ExplainPermission { person_id, service_id, permission_name: args.permission.clone() };
    let (has_permission, is_printed, explained) = match context.call(&request).await {
        Ok(explained) => (explained.has_permission, context.print_object(&explained)?, Some(explained)),
        // The reasons require access.read; without it, a person may still check their own access.
        Err(error) if error.status() == Some(403) => {
            let ExplainPermission { person_id, service_id, permission_name } = request;
            let checked = context.call(&CheckPermission { person_id, service_id, permission_name }).await?;
            (checked.has_permission, context.print_object(&checked)?, None)
        }
        Err(error) => return Err(error),
    };
    let (exit, answer, has) =
        if has_permission { (Exit::Ok, "yes", "has") } else { (Exit::Refused, "no", "does not have") };
    if is_printed {
        return Ok(exit);
    }
    let (user, permission, service) = (clean(&args.user), clean(&args.permission), clean(&args.service));
    writeln!(context.io.out, "{answer}: {user} {has} {permission} in {service}")?;
    match explained {
        Some(explained) => explain(&explained, context)?,
        None => writeln!(context.io.err, "The reasons require the permission access.read in authd")?,
    }
    Ok(exit)
}

fn explain(explained: &ExplainedPermission, context: &mut Context<'_, '_>) -> Result<(), Error> {
    let now = context.now();
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
    Ok(())
}
