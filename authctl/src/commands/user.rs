//! Users: the people who sign in.

use shared::api::sessions::EndUserSessions;
use shared::api::users::{
    CreateUser, DeleteUser, DocumentType, ListUsers, PersonType, ShowUser, Status, UpdateUser, User,
};
use shared::cli::{Column, Exit, Grid, clean, moment, relative};

use super::{Context, listing, password};
use crate::args;
use crate::error::Error;
use crate::output::write_record;

listing!(ListUsers, users);

pub(super) async fn run(command: args::User, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        args::User::Create(args) => create(args, context).await,
        args::User::List(limit) => list(limit, context).await,
        args::User::Show(args) => {
            let user = context.call(&ShowUser { id: args.user }).await?;
            show(&user, context)
        }
        args::User::Update(args) => update(args, context).await,
        args::User::Delete(args) => delete(args, context).await,
        args::User::Passwd(args) => passwd(args, context).await,
        args::User::Enable(args) => set_status(args.user, Status::Active, context).await,
        args::User::Disable(args) => set_status(args.user, Status::Inactive, context).await,
        args::User::Logout(args) => logout(args.user, args.consent, context).await,
    }
}

async fn create(args: args::UserCreate, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let password = if args.no_password {
        None
    } else {
        let ways = "--password-stdin or --no-password";
        Some(password::new(args.password, &args.username, ways, context.io)?)
    };
    let request = CreateUser {
        username: args.username,
        password,
        name: args.name,
        status: args.inactive.then_some(Status::Inactive),
        person_type: args.document.person_type,
        document_type: args.document.document_type,
        document_number: args.document.document_number,
    };
    let user = context.call(&request).await?;
    context.tell(&user, || format!("Created the user {}, id {}", user.username, user.id))
}

async fn list(limit: args::Limit, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let list = context.pages(ListUsers::default(), limit.limit).await?;
    if context.print_object(&list)? {
        return Ok(Exit::Ok);
    }
    let now = context.now();
    let mut grid = Grid::new([
        Column::Wrapped("USER"),
        Column::Wrapped("NAME"),
        Column::Whole("STATUS"),
        Column::Spare("CREATED"),
        Column::Spare("ID"),
    ]);
    for user in &list.users {
        let status = match (user.status, user.has_password) {
            (Status::Active, false) => "no password",
            (status, _) => status.as_str(),
        };
        grid.row([
            user.username.clone(),
            user.name.clone(),
            status.to_owned(),
            relative(now, user.created_at),
            user.id.to_string(),
        ]);
    }
    context.print_grid(&grid, list.next_cursor.as_ref(), "No users. `authctl user create NAME` makes one")
}

fn show(user: &User, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    if context.print_object(user)? {
        return Ok(Exit::Ok);
    }
    let now = context.now();
    let person = user.person_type.map(|kind| match kind {
        PersonType::N => "natural (N)",
        PersonType::J => "legal (J)",
    });
    let document = user.document_type.map(|kind| match kind {
        DocumentType::Dni => "DNI",
        DocumentType::Ce => "CE",
        DocumentType::Ruc => "RUC",
    });
    let number = user.document_number.as_deref();
    let document: Vec<&str> = document.into_iter().chain(number).collect();
    write_record(
        context.io,
        [
            ("ID", user.id.to_string()),
            ("User", user.username.clone()),
            ("Name", user.name.clone()),
            ("Status", user.status.as_str().to_owned()),
            ("Password", if user.has_password { "set" } else { "none: cannot sign in by one" }.to_owned()),
            ("Person", person.unwrap_or_default().to_owned()),
            ("Document", document.join(" ")),
            ("Created", moment(now, user.created_at)),
            ("Changed", moment(now, user.updated_at)),
        ],
    )?;
    Ok(Exit::Ok)
}

async fn update(args: args::UserUpdate, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let request = UpdateUser {
        id: args.user,
        username: args.change.username,
        name: args.change.name,
        person_type: args.change.person_type,
        document_type: args.change.document_type,
        document_number: args.change.document_number,
        ..UpdateUser::default()
    };
    let user = context.call(&request).await?;
    show(&user, context)
}

async fn delete(args: args::UserDelete, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let mut id = args.user;
    let mut named = id.clone();
    context
        .ask(args.consent, async || {
            let user = context.call(&ShowUser { id: id.clone() }).await?;
            id = user.id.to_string();
            named.clone_from(&user.username);
            Ok(format!("Delete the user {} ({id})? Every session ends, and every grant goes", clean(&user.username)))
        })
        .await?;
    let done = context.call(&DeleteUser { id }).await?;
    context.tell(&done, || format!("Deleted the user {named}"))
}

async fn passwd(args: args::UserPasswd, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let password = password::new(args.password, &args.user, "--password-stdin", context.io)?;
    let request = UpdateUser { id: args.user, password: Some(password), ..UpdateUser::default() };
    let user = context.call(&request).await?;
    context.tell(&user, || format!("Set the password of {}; every session has ended", user.username))
}

async fn set_status(id: String, status: Status, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let user = context.call(&UpdateUser { id, status: Some(status), ..UpdateUser::default() }).await?;
    context.tell(&user, || match user.status {
        Status::Active => format!("{} is active", user.username),
        Status::Inactive => format!("{} is inactive; every session has ended", user.username),
    })
}

/// Ends every session of a user.
pub(super) async fn logout(id: String, consent: args::Consent, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    context.ask(consent, async || Ok(format!("End every session of {}?", clean(&id)))).await?;
    let ended = context.call(&EndUserSessions { id: id.clone() }).await?;
    context.tell(&ended, || match ended.ended {
        0 => format!("{id} had no session"),
        1 => format!("Ended the session of {id}"),
        count => format!("Ended {count} sessions of {id}"),
    })
}
