//! Permissions.

use clap::Subcommand;
use shared::api::rbac::{
    CreatePermission, DeletePermission, ListPermissions, ListRolePermissions, Permission, ShowPermission,
    UpdatePermission,
};
use shared::cli::Column::{Spare, Wrapped};
use shared::cli::{Exit, relative};

use super::{Context, Listing, Mistaken, listing};
use crate::args::{ByName, Consent, Paging, name};
use crate::error::Error;

listing!(ListPermissions, permissions: Permission; prefix);
listing!(ListRolePermissions, permissions: Permission);

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create permissions
    Create {
        /// The name that services check, such as `orders.read`
        #[arg(required = true, value_name = "NAME", value_parser = name)]
        names: Vec<String>,
    },
    /// List permissions, oldest first
    List(ByName),
    /// Rename a permission; roles and users that have it keep it
    Rename {
        /// The permission's name or id
        permission: String,
        /// New name
        #[arg(value_name = "NAME", value_parser = name)]
        name: String,
    },
    /// Delete a permission, and take it from every role and user
    Delete {
        /// The permission's name or id
        permission: String,
        #[command(flatten)]
        consent: Consent,
    },
}

pub(super) async fn run(command: Command, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        Command::Create { names } => {
            let line = |name: &str| format!("Created the permission {name}");
            // A single one is printed as the API's own object, several only as success.
            if let [name] = names.as_slice() {
                let request = CreatePermission { name: name.clone() };
                return context.call_and_tell(&request, |created| line(&created.name)).await;
            }
            context.call_for_each(names, |name| CreatePermission { name }, line, Mistaken::No).await?;
            context.done()
        }
        Command::List(ByName { prefix, paging }) => {
            let request = ListPermissions { prefix, ..ListPermissions::default() };
            let empty = "No permissions. Create one: `authctl permission create NAME`";
            list_permissions(request, paging, empty, context).await
        }
        Command::Rename { permission, name } => {
            let request = UpdatePermission { id: permission.clone(), name: Some(name) };
            context.call_and_tell(&request, |renamed| format!("{permission} is {} now", renamed.name)).await
        }
        Command::Delete { permission, consent } => {
            let identify = |permission: Permission| (permission.id.to_string(), permission.name);
            let question = |_: &str, name: &str| format!("Delete the permission {name}? Every role and user loses it");
            let (id, name) =
                context.ask_about(consent, permission, |id| ShowPermission { id }, identify, question).await?;
            context.call_and_tell(&DeletePermission { id }, |_| format!("Deleted the permission {name}")).await
        }
    }
}

/// Prints permissions: all of them, or those of a role.
pub(super) async fn list_permissions<L: Listing<Entry = Permission>>(
    request: L,
    paging: Paging,
    empty: &str,
    context: &mut Context<'_, '_>,
) -> Result<Exit, Error> {
    let row = |now, permission: Permission| {
        [permission.name, relative(now, permission.created_at), permission.id.to_string()]
    };
    context.list(request, paging, empty, [Wrapped("PERMISSION"), Spare("CREATED"), Spare("ID")], row).await
}
