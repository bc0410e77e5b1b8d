//! Services, their roles, and their tokens.

use clap::{ArgGroup, Args, Subcommand};
use shared::api::rbac::{
    AddServiceRole, CreateService, CreateServiceToken, DeleteService, ListServiceRoles, ListServiceTokens,
    ListServices, RemoveServiceRole, RevokeServiceToken, Role, Service, ShowService, UpdateService,
};
use shared::api::tokens::Token;
use shared::api::users::Status;
use shared::cli::Column::{Spare, Whole, Wrapped};
use shared::cli::{Exit, moment};
use shared::id::TokenId;
use shared::op::Operation;

use super::role::list_roles;
use super::token::{end_of, expiry, last_used, show_secret};
use super::{Context, Mistaken, listing};
use crate::args::{ByName, Confirmed, Consent, PartsOf, name};
use crate::error::Error;
use crate::values::{Life, id, life, within};

listing!(ListServices, services: Service; prefix);
listing!(ListServiceRoles, roles: Role);
listing!(ListServiceTokens, tokens: Token; prefix expires_within);

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a service
    Create {
        /// Its name
        #[arg(value_parser = name)]
        name: String,
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        /// Create it inactive: nobody has access to it until `service enable`
        #[arg(long)]
        inactive: bool,
    },
    /// List services, oldest first
    List(ByName),
    /// Show one service, with its roles
    #[command(alias = "info")]
    Show(Named),
    /// Change a service's name or description
    #[command(group = ArgGroup::new("change").required(true).multiple(true).args(["name", "description"]))]
    Update {
        #[command(flatten)]
        service: Named,
        /// New name
        #[arg(long, value_parser = name)]
        name: Option<String>,
        /// New description
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
    },
    /// Delete a service, with its grants and its tokens
    Delete(Confirmed<Named>),
    /// Allow access to a service again
    Enable(Named),
    /// Refuse everybody access to a service until it is enabled again
    Disable(Named),
    /// Manage the tokens with which a service queries authd about its users
    #[command(subcommand)]
    Token(TokenCommand),
    /// Manage the roles of a service: only these give permissions in it
    #[command(subcommand)]
    Roles(RolesCommand),
}

#[derive(Debug, Args)]
pub struct Named {
    /// The service's name or id
    service: String,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Create a token of a service and print its secret, this once
    Create {
        #[command(flatten)]
        service: Named,
        /// The token's name [default: derived from the service's name]
        #[arg(long)]
        name: Option<String>,
        /// How long it lives, such as 30d or 12h; a bare number is days [default: it does not expire]
        #[arg(long, value_name = "TIME", value_parser = life)]
        ttl: Option<Life>,
    },
    /// List the tokens of a service, newest first
    List {
        #[command(flatten)]
        service: Named,
        /// Only tokens that expire soon: within this time, such as 7d or 12h; a bare number is days
        #[arg(long, value_name = "TIME", value_parser = within)]
        expires_within: Option<u32>,
        #[command(flatten)]
        by: ByName,
    },
    /// Revoke a token of a service permanently
    Revoke {
        #[command(flatten)]
        service: Named,
        /// The token's id, as shown by `service token list`
        #[arg(value_name = "TOKEN_ID", value_parser = |text: &str| id::<TokenId>(text, "`authctl service token list SERVICE` shows the id of each token"))]
        id: TokenId,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, Subcommand)]
pub enum RolesCommand {
    /// Add roles to a service
    Add(Roles),
    /// Remove roles from a service
    Remove(Roles),
    /// List the roles of a service
    List(PartsOf<Named>),
}

#[derive(Debug, Args)]
pub struct Roles {
    #[command(flatten)]
    service: Named,
    /// Names or ids of roles
    #[arg(required = true, value_name = "ROLE")]
    roles: Vec<String>,
}

pub(super) async fn run(command: Command, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        Command::Create { name, description, inactive } => {
            let request = CreateService { name, description, status: inactive.then_some(Status::Inactive) };
            let line = |service: &Service| format!("Created the service {}, id {}", service.name, service.id);
            context.call_and_tell(&request, line).await
        }
        Command::List(ByName { prefix, paging }) => {
            let request = ListServices { prefix, ..ListServices::default() };
            let columns = [Wrapped("SERVICE"), Whole("STATUS"), Wrapped("DESCRIPTION"), Spare("ID")];
            let row = |_, service: Service| {
                [service.name, service.status.as_str().to_owned(), service.description, service.id.to_string()]
            };
            let empty = "No services. Create one: `authctl service create NAME`";
            context.list(request, paging, empty, columns, row).await
        }
        Command::Show(Named { service: id }) => show(&ShowService { id }, context).await,
        Command::Update { service, name, description } => {
            let request = UpdateService { id: service.service, name, description, status: None };
            show(&request, context).await
        }
        Command::Delete(Confirmed { what, consent }) => {
            let identify = |service: Service| (service.id.to_string(), service.name);
            let question = |id: &str, name: &str| {
                format!("Delete the service {name} ({id})? Its grants and its tokens are deleted too")
            };
            let (id, name) =
                context.ask_about(consent, what.service, |id| ShowService { id }, identify, question).await?;
            context.call_and_tell(&DeleteService { id }, |_| format!("Deleted the service {name}")).await
        }
        Command::Enable(Named { service }) => set_status(service, Status::Active, context).await,
        Command::Disable(Named { service }) => set_status(service, Status::Inactive, context).await,
        Command::Token(command) => token(command, context).await,
        Command::Roles(command) => roles(command, context).await,
    }
}

async fn show(op: &impl Operation<Response = Service>, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let service = context.call(op).await?;
    let request = ListServiceRoles { id: service.id.to_string(), ..ListServiceRoles::default() };
    let roles = context.names(request, |role| role.name).await?;
    let now = context.now();
    let fields = [
        ("ID", service.id.to_string()),
        ("Service", service.name.clone()),
        ("Description", service.description.clone()),
        ("Status", service.status.as_str().to_owned()),
        ("Roles", roles),
        ("Created", moment(now, service.created_at)),
        ("Changed", moment(now, service.updated_at)),
    ];
    context.show(&service, &fields)
}

async fn set_status(id: String, status: Status, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let request = UpdateService { id, status: Some(status), ..UpdateService::default() };
    let line = |service: &Service| match service.status {
        Status::Active => format!("The service {} is active", service.name),
        Status::Inactive => format!("The service {} is inactive: nobody has access to it", service.name),
    };
    context.call_and_tell(&request, line).await
}

async fn token(command: TokenCommand, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        TokenCommand::Create { service: Named { service }, name, ttl } => {
            let request = CreateServiceToken {
                id: service.clone(),
                name,
                ttl_days: ttl.and_then(Life::days),
                ttl_seconds: ttl.and_then(Life::seconds),
            };
            let created = context.call(&request).await?;
            let (name, id) = (&created.name, created.token_id);
            let about =
                format!("Created {name}, id {id}, expires: {}.", expiry(context.now(), created.expires_at, moment));
            let advice = format!("Revoke it with `authctl service token revoke {service} {id}`");
            show_secret(context, &created, &about, &created.token).map_err(|error| error.with_advice(advice))
        }
        TokenCommand::List { service, expires_within, by: ByName { prefix, paging } } => {
            let request =
                ListServiceTokens { id: service.service, prefix, expires_within, ..ListServiceTokens::default() };
            let empty = "The service has no token. Create one: `authctl service token create SERVICE`";
            let columns = [Whole("ID"), Wrapped("NAME"), Whole("EXPIRES"), Spare("LAST USED")];
            let row = |now, token: Token| {
                let (end, used) = (end_of(now, &token), last_used(now, &token));
                [token.token_id.to_string(), token.name, end, used]
            };
            context.list(request, paging, empty, columns, row).await
        }
        TokenCommand::Revoke { service, id, consent } => {
            context.ask(consent, async || Ok(format!("Revoke the token {id}? It cannot be undone"))).await?;
            let request = RevokeServiceToken { id: service.service, token_id: id };
            context.call_and_tell(&request, |_| format!("Revoked {id}")).await
        }
    }
}

/// What to do with a permission where a role of a service is meant.
fn of_service(name: &str) -> String {
    format!("a service has roles; `authctl role allow ROLE {name}` gives it to one of them")
}

async fn roles(command: RolesCommand, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        RolesCommand::Add(Roles { service: Named { service }, roles }) => {
            let request = |role_id| AddServiceRole { service_id: service.clone(), role_id };
            let line = |role: &str| format!("The role {role} counts in {service}");
            context.call_for_each(roles, request, line, Mistaken::Permission(&of_service)).await?;
        }
        RolesCommand::Remove(Roles { service: Named { service }, roles }) => {
            let request = |role_id| RemoveServiceRole { service_id: service.clone(), role_id };
            let line = |role: &str| format!("The role {role} no longer counts in {service}");
            context.call_for_each(roles, request, line, Mistaken::Permission(&of_service)).await?;
        }
        RolesCommand::List(PartsOf { whole, paging }) => {
            let request = ListServiceRoles { id: whole.service, ..ListServiceRoles::default() };
            let empty = "No role counts in this service. Add one: `authctl service roles add SERVICE ROLE`";
            return list_roles(request, paging, empty, context).await;
        }
    }
    context.done()
}
