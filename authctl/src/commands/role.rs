//! Roles and their permissions.

use clap::{Args, Subcommand};
use shared::api::rbac::{
    AddRolePermission, CreateRole, DeleteRole, ListRolePermissions, ListRoles, RemoveRolePermission, Role, ShowRole,
    UpdateRole,
};
use shared::api::users::Status;
use shared::cli::Column::{Spare, Whole, Wrapped};
use shared::cli::{Exit, moment, relative};
use shared::op::Operation;

use super::permission::list_permissions;
use super::{Context, Listing, Mistaken, listing};
use crate::args::{ByName, Confirmed, Paging, PartsOf, name};
use crate::error::Error;
use crate::values::name_and_values;

listing!(ListRoles, roles: Role; prefix);

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a role
    #[command(override_usage = "authctl role create [OPTIONS] <NAME> [--permissions <PERMISSION>...]")]
    Create(Create),
    /// List roles, oldest first
    List(ByName),
    /// Show one role, with its permissions
    #[command(alias = "info")]
    Show(Named),
    /// Rename a role
    Update {
        #[command(flatten)]
        role: Named,
        /// New name
        #[arg(long, required = true, value_parser = name)]
        name: String,
    },
    /// Delete a role, and take it from every user
    Delete(Confirmed<Named>),
    /// Make a role give its permissions again
    Enable(Named),
    /// Make a role give no permissions until it is enabled again
    Disable(Named),
    /// Give a role permissions
    Allow(Permissions),
    /// Take permissions from a role
    Deny(Permissions),
    /// List the permissions of a role
    Permissions(PartsOf<Named>),
}

#[derive(Debug, Args)]
pub struct Create {
    /// Its name
    #[arg(value_parser = name)]
    name: Option<String>,
    /// Permissions of the role (several at once, or repeat the option)
    #[arg(long, num_args = 1.., value_name = "PERMISSION")]
    permissions: Vec<String>,
    /// Create it inactive: it gives no permissions until `role enable`
    #[arg(long)]
    inactive: bool,
}

impl Create {
    pub(super) fn name_and_permissions(&self) -> Result<(String, Vec<String>), Error> {
        let usage = "authctl role create NAME --permissions PERMISSION";
        let (new, permissions) = name_and_values(self.name.clone(), self.permissions.clone(), usage)?;
        Ok((name(&new).map_err(Error::Usage)?, permissions))
    }
}

#[derive(Debug, Args)]
pub struct Named {
    /// The role's name or id
    role: String,
}

#[derive(Debug, Args)]
pub struct Permissions {
    #[command(flatten)]
    role: Named,
    /// Names or ids of permissions
    #[arg(required = true, value_name = "PERMISSION")]
    permissions: Vec<String>,
}

pub(super) async fn run(command: Command, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        Command::Create(args) => {
            let (name, permissions) = args.name_and_permissions()?;
            let inactive = args.inactive;
            let request = CreateRole { name, status: inactive.then_some(Status::Inactive) };
            let role = context.call(&request).await?;
            let exit = context.tell(&role, || format!("Created the role {}, id {}", role.name, role.id))?;
            allow(&role.name, permissions, context).await?;
            Ok(exit)
        }
        Command::List(ByName { prefix, paging }) => {
            let request = ListRoles { prefix, ..ListRoles::default() };
            list_roles(request, paging, "No roles. Create one: `authctl role create NAME`", context).await
        }
        Command::Show(Named { role: id }) => show(&ShowRole { id }, context).await,
        Command::Update { role, name } => {
            let request = UpdateRole { id: role.role, name: Some(name), ..UpdateRole::default() };
            show(&request, context).await
        }
        Command::Delete(Confirmed { what, consent }) => {
            let identify = |role: Role| (role.id.to_string(), role.name);
            let question = |id: &str, name: &str| format!("Delete the role {name} ({id})? Every user loses it");
            let (id, name) = context.ask_about(consent, what.role, |id| ShowRole { id }, identify, question).await?;
            context.call_and_tell(&DeleteRole { id }, |_| format!("Deleted the role {name}")).await
        }
        Command::Enable(Named { role }) => set_status(role, Status::Active, context).await,
        Command::Disable(Named { role }) => set_status(role, Status::Inactive, context).await,
        Command::Allow(Permissions { role: Named { role }, permissions }) => {
            allow(&role, permissions, context).await?;
            context.done()
        }
        Command::Deny(Permissions { role: Named { role }, permissions }) => {
            let request = |permission_id| RemoveRolePermission { role_id: role.clone(), permission_id };
            let line = |permission: &str| format!("The role {role} no longer has {permission}");
            context.call_for_each(permissions, request, line, Mistaken::Role(&of_role)).await?;
            context.done()
        }
        Command::Permissions(PartsOf { whole, paging }) => {
            let request = ListRolePermissions { id: whole.role, ..ListRolePermissions::default() };
            let empty = "The role has no permission. Add one: `authctl role allow ROLE PERMISSION`";
            list_permissions(request, paging, empty, context).await
        }
    }
}

async fn allow(role: &str, permissions: Vec<String>, context: &mut Context<'_, '_>) -> Result<(), Error> {
    let request = |permission_id| AddRolePermission { role_id: role.to_owned(), permission_id };
    let line = |permission: &str| format!("The role {role} has {permission}");
    context.call_for_each(permissions, request, line, Mistaken::Role(&of_role)).await
}

/// What to do with a role where a permission of a role is meant.
fn of_role(name: &str) -> String {
    format!("a role has permissions and no roles; `authctl role show {name}` shows those of this one")
}

/// Prints roles: all of them, or those of a service.
pub(super) async fn list_roles<L: Listing<Entry = Role>>(
    request: L,
    paging: Paging,
    empty: &str,
    context: &mut Context<'_, '_>,
) -> Result<Exit, Error> {
    let columns = [Wrapped("ROLE"), Whole("STATUS"), Spare("CREATED"), Spare("ID")];
    let row = |now, role: Role| {
        [role.name, role.status.as_str().to_owned(), relative(now, role.created_at), role.id.to_string()]
    };
    context.list(request, paging, empty, columns, row).await
}

async fn show(op: &impl Operation<Response = Role>, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let role = context.call(op).await?;
    let request = ListRolePermissions { id: role.id.to_string(), ..ListRolePermissions::default() };
    let permissions = context.names(request, |permission| permission.name).await?;
    let now = context.now();
    let fields = [
        ("ID", role.id.to_string()),
        ("Role", role.name.clone()),
        ("Status", role.status.as_str().to_owned()),
        ("Permissions", permissions),
        ("Created", moment(now, role.created_at)),
        ("Changed", moment(now, role.updated_at)),
    ];
    context.show(&role, &fields)
}

async fn set_status(id: String, status: Status, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let request = UpdateRole { id, status: Some(status), ..UpdateRole::default() };
    let line = |role: &Role| match role.status {
        Status::Active => format!("The role {} is active", role.name),
        Status::Inactive => format!("The role {} is inactive: it gives no permissions", role.name),
    };
    context.call_and_tell(&request, line).await
}
