//! Users, their sessions, and signing in.

use std::net::IpAddr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use shared::api::sessions::SessionKind;
use shared::api::users::{DocumentType, PersonType};
use shared::id::SessionId;

use super::{Consent, FIRST_ADMIN, Limit, name};
use crate::session_store::TokenStore;

#[derive(Debug, Subcommand)]
pub enum User {
    /// Create a user; on a terminal the password is asked for, and not shown
    #[command(after_help = FIRST_ADMIN)]
    Create(UserCreate),
    /// List users, oldest first
    List(Limit),
    /// Show one user
    #[command(alias = "info")]
    Show(UserName),
    /// Change what is known of a user
    Update(UserUpdate),
    /// Delete a user and end every session; the name can be used again
    Delete(UserDelete),
    /// Set another password and end every session; on a terminal it is asked for, and not shown
    Passwd(UserPasswd),
    /// Let a user sign in again
    Enable(UserName),
    /// Let a user sign in no more, and end every session
    Disable(UserName),
    /// End every session of a user
    Logout(UserDelete),
}

#[derive(Debug, Args)]
pub struct UserName {
    /// The user's name, or id
    pub user: String,
}

#[derive(Debug, Args)]
pub struct UserDelete {
    /// The user's name, or id
    pub user: String,
    #[command(flatten)]
    pub consent: Consent,
}

#[derive(Debug, Args)]
pub struct UserCreate {
    /// What the user signs in with; variants in case and Unicode form are one name
    #[arg(value_name = "NAME", value_parser = name)]
    pub username: String,
    /// What to call the person; the user name, unless said
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    #[command(flatten)]
    pub password: NewPassword,
    /// Without a password: nobody can sign in as this user until `user passwd`
    #[arg(long, conflicts_with = "password_stdin")]
    pub no_password: bool,
    /// Not able to sign in until `user enable`
    #[arg(long)]
    pub inactive: bool,
    #[command(flatten)]
    pub document: DocumentArgs,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct NewPassword {
    /// Read the password from stdin; it is never an argument, which others could see
    #[arg(long)]
    pub password_stdin: bool,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct OwnPassword {
    /// Read both from stdin: the password until now and the new one, a line each
    #[arg(long)]
    pub password_stdin: bool,
}

#[derive(Debug, Args)]
pub struct DocumentArgs {
    /// A natural or a legal (juridical) person
    #[arg(long, value_name = "N|J", value_parser = person_type())]
    pub person_type: Option<PersonType>,
    /// What the document number is a number of
    #[arg(long, value_name = "DNI|CE|RUC", value_parser = document_type())]
    pub document_type: Option<DocumentType>,
    /// The number of the person's document
    #[arg(long, value_name = "NUMBER")]
    pub document_number: Option<String>,
}

fn person_type() -> impl TypedValueParser<Value = PersonType> {
    PossibleValuesParser::new(["N", "J"]).map(|text| if text == "J" { PersonType::J } else { PersonType::N })
}

fn document_type() -> impl TypedValueParser<Value = DocumentType> {
    PossibleValuesParser::new(["DNI", "CE", "RUC"]).map(|text| match text.as_str() {
        "CE" => DocumentType::Ce,
        "RUC" => DocumentType::Ruc,
        _ => DocumentType::Dni,
    })
}

#[derive(Debug, Args)]
pub struct UserUpdate {
    /// The user's name, or id
    pub user: String,
    #[command(flatten)]
    pub change: UserChange,
}

/// At least one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct UserChange {
    /// Another user name
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub username: Option<String>,
    /// Another name to call the person
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// A natural or a legal (juridical) person
    #[arg(long, value_name = "N|J", value_parser = person_type())]
    pub person_type: Option<PersonType>,
    /// What the document number is a number of
    #[arg(long, value_name = "DNI|CE|RUC", value_parser = document_type())]
    pub document_type: Option<DocumentType>,
    /// The number of the person's document
    #[arg(long, value_name = "NUMBER")]
    pub document_number: Option<String>,
}

#[derive(Debug, Args)]
pub struct UserPasswd {
    /// The user's name, or id
    pub user: String,
    #[command(flatten)]
    pub password: NewPassword,
}

#[derive(Debug, Subcommand)]
pub enum Session {
    /// List live sessions, newest first
    List(SessionList),
    /// End a session, or every session of a user
    End(SessionEnd),
}

#[derive(Debug, Args)]
pub struct SessionList {
    /// Only those of this user
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Only this kind: people signed in to authd, or developers' machines
    #[arg(long)]
    pub kind: Option<Kind>,
    /// Ended and expired ones too
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub limit: Limit,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kind {
    Login,
    Device,
}

impl From<Kind> for SessionKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Login => Self::Login,
            Kind::Device => Self::Device,
        }
    }
}

#[derive(Debug, Args)]
#[group(id = "whose", required = true, multiple = false)]
pub struct SessionEnd {
    /// Its id, as `authctl session list` shows it
    #[arg(value_name = "SESSION_ID", group = "whose")]
    pub id: Option<SessionId>,
    /// Every session of this user
    #[arg(long, value_name = "USER", group = "whose")]
    pub user: Option<String>,
    #[command(flatten)]
    pub consent: Consent,
}

#[derive(Debug, Subcommand)]
pub enum Lockout {
    /// List names and addresses that are locked out
    List(LockoutList),
    /// Forget the failed logins of a name or an address
    Clear(LockoutClear),
}

#[derive(Debug, Args)]
pub struct LockoutList {
    /// Those with failed logins that are not locked out, too
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub limit: Limit,
}

#[derive(Debug, Args)]
#[group(id = "what", required = true, multiple = false)]
pub struct LockoutClear {
    /// The user name, known to authd or not
    #[arg(value_name = "NAME", group = "what")]
    pub name: Option<String>,
    /// An address; of IPv6 its whole /64 network
    #[arg(long, value_name = "ADDRESS", group = "what")]
    pub address: Option<IpAddr>,
}

#[derive(Debug, Args)]
pub struct Login {
    /// Who signs in; asked for on a terminal
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    #[command(flatten)]
    pub password: NewPassword,
    /// Where the session's token is kept; without this in the keyring if there is one
    #[arg(long, value_name = "PLACE")]
    pub token_store: Option<TokenStore>,
}
