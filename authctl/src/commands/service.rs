//! Services, the roles that count in them, and the tokens with which they ask.

use shared::api::Done;
use shared::api::rbac::{
    AddServiceRole, CreateService, CreateServiceToken, DeleteService, ListServiceRoles, ListServiceTokens,
    ListServices, RemoveServiceRole, RevokeServiceToken, Service, ServiceToken, ShowService, UpdateService,
};
use shared::api::users::Status;
use shared::cli::{Column, Exit, Grid, clean, moment, relative};

use super::role::write_roles;
use super::token::{end_of, expiry, show_secret};
use super::{Context, listing};
use crate::args;
use crate::error::Error;
use crate::output::write_record;

listing!(ListServices, services);
listing!(ListServiceRoles, roles);
listing!(ListServiceTokens, tokens);

pub(super) async fn run(command: args::Service, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        args::Service::Create(args) => {
            let status = args.inactive.then_some(Status::Inactive);
            let request = CreateService { name: args.name, description: args.description, status };
            let service = context.call(&request).await?;
            context.tell(&service, || format!("Created the service {}, id {}", service.name, service.id))
        }
        args::Service::List(limit) => list(limit, context).await,
        args::Service::Show(args) => {
            let service = context.call(&ShowService { id: args.service }).await?;
            show(&service, context).await
        }
        args::Service::Update(args) => {
            let (name, description) = (args.change.name, args.change.description);
            let request = UpdateService { id: args.service, name, description, status: None };
            let service = context.call(&request).await?;
            show(&service, context).await
        }
        args::Service::Delete(args) => delete(args.service, args.consent, context).await,
        args::Service::Enable(args) => set_status(args.service, Status::Active, context).await,
        args::Service::Disable(args) => set_status(args.service, Status::Inactive, context).await,
        args::Service::Token(command) => token(command, context).await,
        args::Service::Roles(command) => roles(command, context).await,
    }
}

async fn list(limit: args::Limit, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let list = context.pages(ListServices::default(), limit.limit).await?;
    if context.print_object(&list)? {
        return Ok(Exit::Ok);
    }
    let mut grid = Grid::new([
        Column::Wrapped("SERVICE"),
        Column::Whole("STATUS"),
        Column::Wrapped("DESCRIPTION"),
        Column::Spare("ID"),
    ]);
    for service in &list.services {
        grid.row([
            service.name.clone(),
            service.status.as_str().to_owned(),
            service.description.clone(),
            service.id.to_string(),
        ]);
    }
    context.print_grid(&grid, list.next_cursor.as_ref(), "No services. `authctl service create NAME` makes one")
}

/// The API's own object has no roles; a person wants to see them.
async fn show(service: &Service, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    if context.print_object(service)? {
        return Ok(Exit::Ok);
    }
    let request = ListServiceRoles { id: service.id.to_string(), ..ListServiceRoles::default() };
    let roles = context.pages(request, u64::MAX).await?.roles;
    let roles: Vec<String> = roles.into_iter().map(|role| role.name).collect();
    let now = context.now();
    write_record(
        context.io,
        [
            ("ID", service.id.to_string()),
            ("Service", service.name.clone()),
            ("Description", service.description.clone()),
            ("Status", service.status.as_str().to_owned()),
            ("Roles", if roles.is_empty() { "none".to_owned() } else { roles.join(", ") }),
            ("Created", moment(now, service.created_at)),
            ("Changed", moment(now, service.updated_at)),
        ],
    )?;
    Ok(Exit::Ok)
}

async fn delete(service: String, consent: args::Consent, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let mut id = service;
    let mut named = id.clone();
    context
        .ask(consent, async || {
            let service = context.call(&ShowService { id: id.clone() }).await?;
            id = service.id.to_string();
            named.clone_from(&service.name);
            let name = clean(&service.name);
            Ok(format!("Delete the service {name} ({id})? Its grants go with it, and its tokens stop working"))
        })
        .await?;
    let done = context.call(&DeleteService { id }).await?;
    context.tell(&done, || format!("Deleted the service {named}"))
}

async fn set_status(id: String, status: Status, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let service = context.call(&UpdateService { id, status: Some(status), ..UpdateService::default() }).await?;
    context.tell(&service, || match service.status {
        Status::Active => format!("The service {} is active", service.name),
        Status::Inactive => format!("The service {} is inactive: nobody has access to it", service.name),
    })
}

async fn token(command: args::ServiceToken, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        args::ServiceToken::Create(args) => {
            let request = CreateServiceToken { id: args.service.clone(), name: args.name, ttl_days: args.ttl };
            let minted = context.call(&request).await?;
            show_minted(&minted, context).map_err(|error| match error {
                Error::Output(source) => {
                    let (service, id) = (args.service, minted.token_id);
                    let advice = format!("Revoke it with `authctl service token revoke {service} {id}`");
                    Error::Lost { advice, source }
                }
                error => error,
            })
        }
        args::ServiceToken::List(args) => list_tokens(args.service, args.limit, context).await,
        args::ServiceToken::Revoke(args) => {
            let question = async || Ok(format!("Revoke the token {}? It cannot be undone", args.id));
            context.ask(args.consent, question).await?;
            let done = context.call(&RevokeServiceToken { id: args.service, token_id: args.id }).await?;
            context.tell(&done, || format!("Revoked {}", args.id))
        }
    }
}

fn show_minted(minted: &ServiceToken, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    if context.print_object(minted)? {
        return Ok(Exit::Ok);
    }
    let expires = expiry(context.now(), minted.expires_at);
    let about = format!("Minted {}, id {}, expires: {expires}.", minted.name, minted.token_id);
    show_secret(context, &about, &minted.token)
}

async fn list_tokens(id: String, limit: args::Limit, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let request = ListServiceTokens { id, ..ListServiceTokens::default() };
    let list = context.pages(request, limit.limit).await?;
    if context.print_object(&list)? {
        return Ok(Exit::Ok);
    }
    let now = context.now();
    let mut grid =
        Grid::new([Column::Whole("ID"), Column::Wrapped("NAME"), Column::Whole("EXPIRES"), Column::Spare("LAST USED")]);
    for token in &list.tokens {
        grid.row([
            token.token_id.to_string(),
            token.name.clone(),
            end_of(now, token),
            token.last_used_at.map_or_else(|| "never".to_owned(), |at| relative(now, at)),
        ]);
    }
    let empty = "The service has no token. `authctl service token create SERVICE` mints one";
    context.print_grid(&grid, list.next_cursor.as_ref(), empty)
}

async fn roles(command: args::ServiceRoles, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        args::ServiceRoles::Add(args) => {
            for role in args.roles {
                let (service_id, role_id) = (args.service.clone(), role.clone());
                context.call(&AddServiceRole { service_id, role_id }).await?;
                context.note(|| format!("The role {role} counts in {}", args.service))?;
            }
        }
        args::ServiceRoles::Remove(args) => {
            for role in args.roles {
                let (service_id, role_id) = (args.service.clone(), role.clone());
                context.call(&RemoveServiceRole { service_id, role_id }).await?;
                context.note(|| format!("The role {role} does not count in {} any more", args.service))?;
            }
        }
        args::ServiceRoles::List(args) => {
            let request = ListServiceRoles { id: args.service, ..ListServiceRoles::default() };
            let list = context.pages(request, args.limit.limit).await?;
            let empty = "No role counts in this service. `authctl service roles add SERVICE ROLE` adds one";
            return write_roles(&list, empty, context);
        }
    }
    context.print_object(&Done::default())?;
    Ok(Exit::Ok)
}
