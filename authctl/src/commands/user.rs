//! Users: the people who sign in.

use std::collections::BTreeMap;

use clap::{ArgGroup, Args, Subcommand};
use shared::api::accounts::{InviteUser, VerifyUser};
use shared::api::factors::{ListUserFactors, ResetTotp};
use shared::api::rbac::ListGrants;
use shared::api::sessions::{EndUserSessions, EndedSessions, ListSessions, Session};
use shared::api::users::{CreateUser, DeleteUser, ListUsers, PersonType, ShowUser, Status, UpdateUser, User};
use shared::cli::Column::{Spare, Whole, Wrapped};
use shared::cli::{Exit, Format, clean, moment, relative};
use shared::page;
use shared::time::Time;

use super::password::{self, NewPassword};
use super::record::Record;
use super::{Context, identity, listing, passkey, spelling, totp};
use crate::args::{ByName, Confirmed, Consent, FIRST_ADMIN, name};
use crate::error::Error;

listing!(ListUsers, users: User; prefix);

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a user; a terminal prompts for the password, without showing it
    #[command(after_help = FIRST_ADMIN)]
    Create(Create),
    /// List users, oldest first
    List(ByName),
    /// Show one user, with second factors, grants and the last sign-ins
    #[command(alias = "info")]
    Show(Named),
    /// Change a user's names, address or other fields of the record
    // The usage would name the hidden options, too.
    #[command(override_usage = "authctl user update [OPTIONS] <USER>")]
    #[command(group = ArgGroup::new("change").required(true).multiple(true)
        .args(["username", "name", "email", "fields", "person_type", "document_type", "document_number"]))]
    Update {
        #[command(flatten)]
        user: Named,
        /// New user name
        #[arg(long, value_name = "NAME", value_parser = name)]
        username: Option<String>,
        /// New name of the person
        #[arg(long, value_name = "TEXT")]
        name: Option<String>,
        /// New e-mail address; no password reset goes there until the person proves it, or `user verify`
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
        #[command(flatten)]
        record: Record,
    },
    /// Delete a user and end all their sessions; the name can be used again
    Delete(Confirmed<Named>),
    /// Set a new password and end every session of a user; a terminal prompts for it, without showing it
    Passwd {
        #[command(flatten)]
        user: Named,
        #[command(flatten)]
        password: NewPassword,
    },
    /// Allow a user to sign in again
    Enable(Named),
    /// Refuse a user's sign-ins, and end all their sessions
    Disable(Named),
    /// End every session of a user
    Logout(Confirmed<Named>),
    /// Create a user and mail them a link to set their password; again for somebody who has not set one
    Invite {
        /// The e-mail address
        #[arg(value_name = "ADDRESS")]
        email: String,
        /// A name to sign in with besides the address [default: the address]
        #[arg(long, value_name = "NAME", value_parser = name)]
        username: Option<String>,
        /// The person's name [default: the user name]
        #[arg(long, value_name = "TEXT")]
        name: Option<String>,
    },
    /// Mark a user's e-mail address as verified, without a mail
    Verify(Named),
    /// Manage the TOTP of a user
    #[command(subcommand)]
    Totp(Totp),
    /// List and remove the passkeys of a user
    #[command(subcommand)]
    Passkey(passkey::Command),
    /// List the identities at OpenID providers with which a user can sign in
    Identities(Named),
    /// Link an identity at an OpenID provider to a user, who can then sign in with it
    Link(identity::Link),
    /// Unlink an identity from a user, and end all their sessions
    Unlink(Confirmed<identity::Unlink>),
}

#[derive(Debug, Subcommand)]
pub enum Totp {
    /// Turn off the TOTP of a user who lost it, delete the recovery codes, and end all their sessions
    Reset(Confirmed<Named>),
}

/// The number of sign-ins that are shown.
const SIGN_INS: u32 = 5;

#[derive(Debug, Args)]
pub struct Named {
    /// The user's name or id
    user: String,
}

#[derive(Debug, Args)]
pub struct Create {
    /// The name to sign in with; spellings that differ in case or Unicode form are one name
    #[arg(value_name = "NAME", value_parser = name)]
    username: String,
    /// The person's name [default: the user name]
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// A second name to sign in with; no password reset goes there until the person proves it, or `user verify` (`user
    /// invite` mails the person instead)
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    #[command(flatten)]
    password: NewPassword,
    /// Set no password: the user cannot sign in by password until `user passwd`
    #[arg(long, conflicts_with = "password_stdin")]
    no_password: bool,
    /// Create it inactive: the user cannot sign in until `user enable`
    #[arg(long)]
    inactive: bool,
    #[command(flatten)]
    record: Record,
}

impl Create {
    pub(super) fn record(&self) -> &Record {
        &self.record
    }
}

pub(super) async fn run(command: Command, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        Command::Create(args) => create(args, context).await,
        Command::List(ByName { prefix, paging }) => {
            let request = ListUsers { prefix, ..ListUsers::default() };
            let columns = [Wrapped("USER"), Wrapped("NAME"), Whole("STATUS"), Spare("CREATED"), Spare("ID")];
            let row = |now, user: User| {
                let status = match (user.status, user.has_password) {
                    (Status::Active, false) => "no password",
                    (status, _) => status.as_str(),
                };
                [user.username, user.name, status.to_owned(), relative(now, user.created_at), user.id.to_string()]
            };
            let empty = "No users. Create one: `authctl user create NAME`";
            context.list(request, paging, empty, columns, row).await
        }
        Command::Show(Named { user: id }) => show_whole(&ShowUser { id }, context).await,
        Command::Update { user, username, name, email, record } => {
            let id = user.user;
            let request = UpdateUser {
                id,
                username,
                name,
                email,
                person_type: record.person_type()?,
                document_type: record.document_type()?,
                document_number: record.document_number()?,
                ..UpdateUser::default()
            };
            let is_moved = request.email.is_some();
            let user = context.call(&request).await?;
            let exit = context.show(&user, &fields(&user, context.now()))?;
            if is_moved && !user.email_verified {
                let name = clean(&user.username);
                let way = match &user.email {
                    Some(email) if !user.has_password => format!("invite {}", clean(email)),
                    _ => format!("verify {name}"),
                };
                writeln!(
                    context.io.err,
                    "note: no password reset goes to this address until {name} proves it, or: authctl user {way}"
                )?;
            }
            Ok(exit)
        }
        Command::Delete(Confirmed { what, consent }) => {
            let identify = |user: User| (user.id.to_string(), user.username);
            let question = |id: &str, name: &str| {
                format!("Delete the user {name} ({id})? All sessions end, and all grants are deleted")
            };
            let (id, name) = context.ask_about(consent, what.user, |id| ShowUser { id }, identify, question).await?;
            context.call_and_tell(&DeleteUser { id }, |_| format!("Deleted the user {name}")).await
        }
        Command::Passwd { user: Named { user }, password } => {
            let password = password::new(password, &[&user], "--password-stdin", context.io)?;
            let request = UpdateUser { id: user, password: Some(password), ..UpdateUser::default() };
            let line = |user: &User| format!("Set the password of {}; every session has ended", user.username);
            context.call_and_tell(&request, line).await
        }
        Command::Enable(Named { user }) => set_status(user, Status::Active, context).await,
        Command::Disable(Named { user }) => set_status(user, Status::Inactive, context).await,
        Command::Logout(Confirmed { what, consent }) => logout(what.user, consent, context).await,
        Command::Invite { email, username, name } => {
            let request = InviteUser { email: email.clone(), username, name };
            let line = |user: &User| format!("Invited {}: a mail with a link goes to {email}", user.username);
            context.call_and_tell(&request, line).await
        }
        Command::Verify(Named { user }) => {
            let line = |user: &User| {
                let email = user.email.as_deref().unwrap_or_default();
                format!("The address {email} of {} is verified", user.username)
            };
            context.call_and_tell(&VerifyUser { id: user }, line).await
        }
        Command::Totp(Totp::Reset(Confirmed { what: Named { user }, consent })) => {
            let question = format!("Turn off the TOTP of {}? All sessions end", clean(&user));
            context.ask(consent, async || Ok(question)).await?;
            let line = format!("TOTP of {user} is off; every session has ended");
            context.call_and_tell(&ResetTotp { id: user }, |_| line).await
        }
        Command::Passkey(command) => passkey::run(command, context).await,
        Command::Identities(Named { user }) => identity::list(user, context).await,
        Command::Link(link) => identity::link(link, context).await,
        Command::Unlink(Confirmed { what, consent }) => identity::unlink(what, consent, context).await,
    }
}

async fn create(args: Create, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let (person_type, document_type) = (args.record.person_type()?, args.record.document_type()?);
    let document_number = args.record.document_number()?;
    let password = if args.no_password {
        None
    } else {
        let ways = "--password-stdin or --no-password";
        let names = [args.username.as_str(), args.email.as_deref().unwrap_or_default()];
        Some(password::new(args.password, &names, ways, context.io)?)
    };
    let request = CreateUser {
        username: args.username,
        password,
        name: args.name,
        email: args.email,
        status: args.inactive.then_some(Status::Inactive),
        person_type,
        document_type,
        document_number,
    };
    context.call_and_tell(&request, |user| format!("Created the user {}, id {}", user.username, user.id)).await
}

/// Shows a user; as a table with what the API's own object does not have.
async fn show_whole(op: &ShowUser, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let user = context.call(op).await?;
    let now = context.now();
    let mut fields = fields(&user, now);
    if context.format == Format::Table {
        let id = user.id.to_string();
        fields.extend(totp::fields(&context.call(&ListUserFactors { id: id.clone() }).await?, now));
        fields.extend(grants(&id, context).await?);
        let sign_ins = ListSessions {
            limit: page::Limit::new(SIGN_INS),
            include_ended: true,
            user: Some(id),
            ..ListSessions::default()
        };
        match context.call(&sign_ins).await {
            Ok(list) if list.sessions.is_empty() => fields.push(("Sign-ins", "none in the last 30 days".to_owned())),
            Ok(list) => fields.extend(list.sessions.iter().map(|session| ("Signed in", sign_in(session, now)))),
            Err(error) if error.status() == Some(403) => {
                fields.push(("Sign-ins", "shown with the permission sessions.read".to_owned()));
            }
            Err(error) => return Err(error),
        }
    }
    context.show(&user, &fields)
}

/// What a user was granted, by service.
async fn grants(user: &str, context: &Context<'_, '_>) -> Result<Vec<(&'static str, String)>, Error> {
    let request = ListGrants { person_id: Some(user.to_owned()), ..ListGrants::default() };
    let mut services: BTreeMap<String, Vec<String>> = BTreeMap::new();
    match context.all(request).await {
        Ok(grants) => grants.into_iter().for_each(|grant| {
            let what = grant.role.or(grant.permission).unwrap_or_default();
            services.entry(grant.service).or_default().push(what);
        }),
        Err(error) if error.status() == Some(403) => {
            return Ok(vec![("Grants", "shown with the permission access.read".to_owned())]);
        }
        Err(error) => return Err(error),
    }
    if services.is_empty() {
        return Ok(vec![("Grants", "none".to_owned())]);
    }
    Ok(services.into_iter().map(|(service, what)| ("Grants", format!("{} in {service}", what.join(", ")))).collect())
}

fn sign_in(session: &Session, now: Time) -> String {
    let from = session.address.as_deref().map(|address| format!(" from {address}")).unwrap_or_default();
    let end = session.end_reason.as_deref().map(|reason| format!(", {reason}")).unwrap_or_default();
    format!("{}{from}{end}", moment(now, session.created_at))
}

fn fields(user: &User, now: Time) -> Vec<(&'static str, String)> {
    let person = user.person_type.map(|kind| match kind {
        PersonType::N => "natural (N)",
        PersonType::J => "legal (J)",
    });
    let document_type = user.document_type.map(spelling);
    let document: Vec<&str> = document_type.as_deref().into_iter().chain(user.document_number.as_deref()).collect();
    let email = user
        .email
        .as_ref()
        .map(|email| if user.email_verified { email.clone() } else { format!("{email} (not verified)") });
    vec![
        ("ID", user.id.to_string()),
        ("User", user.username.clone()),
        ("Name", user.name.clone()),
        ("E-mail", email.unwrap_or_default()),
        ("Status", user.status.as_str().to_owned()),
        ("Password", if user.has_password { "set" } else { "none: cannot sign in by password" }.to_owned()),
        ("Person", person.unwrap_or_default().to_owned()),
        ("Document", document.join(" ")),
        ("Created", moment(now, user.created_at)),
        ("Changed", moment(now, user.updated_at)),
    ]
}

async fn set_status(id: String, status: Status, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let request = UpdateUser { id, status: Some(status), ..UpdateUser::default() };
    let line = |user: &User| match user.status {
        Status::Active => format!("{} is active", user.username),
        Status::Inactive => format!("{} is inactive; every session has ended", user.username),
    };
    context.call_and_tell(&request, line).await
}

/// Ends every session of a user.
pub(super) async fn logout(id: String, consent: Consent, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    context.ask(consent, async || Ok(format!("End every session of {}?", clean(&id)))).await?;
    let line = |ended: &EndedSessions| match ended.ended {
        0 => format!("{id} had no session"),
        1 => format!("Ended the session of {id}"),
        count => format!("Ended {count} sessions of {id}"),
    };
    context.call_and_tell(&EndUserSessions { id: id.clone() }, line).await
}
