//! The commands, one file for each module of the API: its arguments, and one function for each operation.

pub(crate) mod apply;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod file;
pub(crate) mod grant;
pub(crate) mod identity;
mod listing;
pub(crate) mod lockout;
pub(crate) mod login;
pub(crate) mod mail;
pub(crate) mod passkey;
mod password;
pub(crate) mod permission;
mod record;
pub(crate) mod role;
pub(crate) mod service;
pub(crate) mod session;
mod system;
pub(crate) mod token;
pub(crate) mod totp;
pub(crate) mod user;

use std::time::Duration;

use owo_colors::OwoColorize;
use serde::Serialize;
use shared::api::Done;
use shared::api::rbac::{ShowPermission, ShowRole};
use shared::cli::{Exit, Format, clean};
use shared::client::{self, Client};
use shared::op::Operation;
use shared::problem::Code;
use shared::secret::Secret;
use shared::time::Time;

use self::listing::{Listing, listing};
use crate::Io;
use crate::args::{Command, Consent};
use crate::connect::Credentials;
use crate::error::{Error, FailedCall};

/// The pause between a call without an answer and its only retry: long enough for a daemon to restart.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The context of every command.
pub(crate) struct Context<'c, 'io> {
    pub client: Client,
    pub credentials: Credentials,
    pub format: Format,
    /// Whose session is used, if it is not that of the last sign-in.
    pub user: Option<String>,
    pub io: &'c mut Io<'io>,
}

/// Refuses what is wrong in a command line and no parser of one argument sees, before any call.
pub(crate) fn check(command: &Command) -> Result<(), Error> {
    match command {
        Command::Create(args) | Command::Token(token::Command::Create(args)) => args.name_and_scopes().map(drop),
        Command::Role(role::Command::Create(args)) => args.name_and_permissions().map(drop),
        Command::User(user::Command::Create(args)) => args.record().check(),
        Command::User(user::Command::Update { record, .. }) => record.check(),
        _ => Ok(()),
    }
}

pub(crate) async fn run(command: Command, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        Command::Create(args) => token::run(token::Command::Create(args), context).await,
        Command::List(args) => token::run(token::Command::List(args), context).await,
        Command::Info(args) => token::run(token::Command::Info(args), context).await,
        Command::Revoke(args) => token::run(token::Command::Revoke(args), context).await,
        Command::Token(command) => token::run(command, context).await,
        Command::User(command) => user::run(command, context).await,
        Command::Service(command) => service::run(command, context).await,
        Command::Role(command) => role::run(command, context).await,
        Command::Permission(command) => permission::run(command, context).await,
        Command::Grant(args) => grant::grant(args, context).await,
        Command::Ungrant(args) => grant::ungrant(args, context).await,
        Command::Grants(args) => grant::list(args, context).await,
        Command::Can(args) => grant::can(args, context).await,
        Command::Apply(args) => apply::run(args, context).await,
        Command::Session(command) => session::run(command, context).await,
        Command::Lockout(command) => lockout::run(command, context).await,
        Command::File(command) => file::run(command, context).await,
        Command::Mail(command) => mail::run(command, context).await,
        Command::Login(args) => login::login(args, context).await,
        Command::Logout => login::logout(context).await,
        Command::Passwd(args) => login::passwd(args, context).await,
        Command::Totp(command) => totp::run(command, context).await,
        Command::Whoami => login::whoami(context).await,
        Command::Audit(args) => audit::list(args, context).await,
        Command::Backup(args) => backup::run(args, context).await,
        Command::Status => system::status(context).await,
        Command::Completions { .. } => Ok(Exit::Ok),
    }
}

impl Context<'_, '_> {
    fn now(&self) -> Time {
        (self.io.now)()
    }

    async fn call<Op: Operation>(&self, op: &Op) -> Result<Op::Response, Error> {
        self.client.call(op).await.map_err(|source| self.failed(source))
    }

    /// Calls an operation that may need a TOTP code. A terminal prompts for it when authd asks for it.
    async fn call_with_code<Op: Operation>(
        &self,
        mut op: Op,
        set_code: impl FnOnce(&mut Op, Secret),
    ) -> Result<Op::Response, Error> {
        match (self.call(&op).await, self.io.person) {
            (Err(error), Some(person)) if error.code() == Some(Code::TotpRequired) => {
                set_code(&mut op, person.secret(password::CODE)?);
                self.call(&op).await
            }
            (answer, _) => answer,
        }
    }

    /// Refuses a command about the caller's own account without a session. `for_others` is what administrators use.
    fn require_person(&self, for_others: &str) -> Result<(), Error> {
        if self.credentials == Credentials::Peer {
            let detail = "this needs a user's session: sign in with authctl login, and name the server. For other users, an \
                          administrator uses";
            return Err(Error::Usage(format!("{detail} {for_others}")));
        }
        Ok(())
    }

    /// Calls an operation that carries this idempotency key; retries once if there is no answer, which the key makes
    /// safe.
    async fn call_with_key<Op: Operation>(&self, op: &Op, key: &str) -> Result<Op::Response, Error> {
        match self.client.call(op).await {
            Err(client::Error::NoAnswer { .. }) => {}
            answer => return answer.map_err(|source| self.failed(source)),
        }
        tokio::time::sleep(RETRY_AFTER).await;
        self.client.call(op).await.map_err(|source| match source {
            client::Error::Refused(_) => self.failed(source),
            source => Error::Unanswered { key: key.to_owned(), call: self.failed_call(source).into() },
        })
    }

    fn failed(&self, source: client::Error) -> Error {
        Error::Call(self.failed_call(source).into())
    }

    fn failed_call(&self, source: client::Error) -> FailedCall {
        FailedCall { source, credentials: self.credentials, endpoint: self.client.endpoint().clone(), hint: None }
    }

    /// Prints the API's own object; `false` in the table format, where it prints nothing.
    fn print_object(&mut self, object: &impl Serialize) -> Result<bool, Error> {
        let is_printed = shared::cli::write_object(self.io.out, self.format, object)?;
        self.io.out.flush()?;
        Ok(is_printed)
    }

    /// Continues only after a yes, from the command line or from the person at the terminal. The question is built only
    /// when it is needed.
    async fn ask(&self, consent: Consent, question: impl AsyncFnOnce() -> Result<String, Error>) -> Result<(), Error> {
        if consent.yes {
            return Ok(());
        }
        let Some(person) = self.io.person else {
            return Err(Error::Usage("there is no terminal to confirm at: repeat the command with --yes".to_owned()));
        };
        // Ctrl-C counts as no.
        if person.confirm(&question().await?).unwrap_or(false) { Ok(()) } else { Err(Error::Declined) }
    }

    /// Asks before an object is deleted. Returns the id and name that were shown: another object can take the name, so
    /// the call must use the id.
    async fn ask_about<Show: Operation>(
        &self,
        consent: Consent,
        named: String,
        show: impl FnOnce(String) -> Show,
        identify: impl FnOnce(Show::Response) -> (String, String),
        question: impl FnOnce(&str, &str) -> String,
    ) -> Result<(String, String), Error> {
        let mut found = (named.clone(), named.clone());
        let ask = async || {
            found = identify(self.call(&show(named)).await?);
            let (id, name) = &found;
            Ok(question(id, &clean(name)))
        };
        self.ask(consent, ask).await?;
        Ok(found)
    }

    /// Calls an operation and prints a line about the result.
    async fn call_and_tell<Op: Operation>(
        &mut self,
        op: &Op,
        line: impl FnOnce(&Op::Response) -> String,
    ) -> Result<Exit, Error> {
        let answer = self.call(op).await?;
        self.tell(&answer, || line(&answer))
    }

    /// Calls an operation once for each name, and prints a line for each. `mistaken` says what a name that is of another
    /// kind is good for.
    async fn call_for_each<Op: Operation>(
        &mut self,
        names: Vec<String>,
        request: impl Fn(String) -> Op,
        line: impl Fn(&str) -> String,
        mistaken: Mistaken<'_>,
    ) -> Result<(), Error> {
        for name in names {
            if let Err(error) = self.call(&request(name.clone())).await {
                return Err(self.mistaken(error, &name, &mistaken).await);
            }
            if self.format == Format::Table {
                writeln!(self.io.out, "{}", clean(&line(&name)))?;
            }
        }
        Ok(())
    }

    /// Adds to a refusal of a name what it is good for, if it is the name of something of the other kind.
    async fn mistaken(&self, error: Error, name: &str, mistaken: &Mistaken<'_>) -> Error {
        let id = name.to_owned();
        let (kind, is_other, hint) = match mistaken {
            Mistaken::Permission(hint) if error.is_unknown("role") => {
                ("permission", self.client.call(&ShowPermission { id }).await.is_ok(), hint)
            }
            Mistaken::Role(hint) if error.is_unknown("permission") => {
                ("role", self.client.call(&ShowRole { id }).await.is_ok(), hint)
            }
            Mistaken::No | Mistaken::Permission(_) | Mistaken::Role(_) => return error,
        };
        let name = clean(name);
        if is_other { error.with_hint(format!("{name} is a {kind}: {}", clean(&hint(&name)))) } else { error }
    }

    /// Prints one object: the API's own form, or a record of titles and values without the empty ones.
    fn show(&mut self, object: &impl Serialize, fields: &[(&str, String)]) -> Result<Exit, Error> {
        if self.print_object(object)? {
            return Ok(Exit::Ok);
        }
        for (title, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
            let padded = format!("{title:12}");
            let padded = if self.io.colour { padded.bold().to_string() } else { padded };
            writeln!(self.io.out, "{padded}  {}", clean(value))?;
        }
        Ok(Exit::Ok)
    }

    /// Prints a line about the result, or the API's own object if it was requested.
    fn tell(&mut self, object: &impl Serialize, line: impl FnOnce() -> String) -> Result<Exit, Error> {
        if !self.print_object(object)? {
            writeln!(self.io.out, "{}", clean(&line()))?;
        }
        Ok(Exit::Ok)
    }

    /// Prints the API's object for success, after several calls.
    fn done(&mut self) -> Result<Exit, Error> {
        self.print_object(&Done::default())?;
        Ok(Exit::Ok)
    }
}

/// The API's own word for a value of an enum.
fn spelling(value: impl Serialize) -> String {
    std::fmt::from_fn(|f| value.serialize(f)).to_string()
}

/// What a name may be by mistake, where something else is meant, and what to do with it then.
#[derive(Clone, Copy)]
enum Mistaken<'a> {
    No,
    /// A permission, where a role is meant.
    Permission(&'a dyn Fn(&str) -> String),
    /// A role, where a permission is meant.
    Role(&'a dyn Fn(&str) -> String),
}
