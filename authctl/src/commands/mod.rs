//! The commands, one file for each module of the API: its arguments, and one function for each operation.

pub(crate) mod apply;
pub(crate) mod audit;
pub(crate) mod file;
pub(crate) mod grant;
pub(crate) mod identity;
pub(crate) mod lockout;
pub(crate) mod login;
pub(crate) mod mail;
pub(crate) mod passkey;
mod password;
pub(crate) mod permission;
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
use shared::cli::{Column, Exit, Format, Grid, clean};
use shared::client::{self, Client};
use shared::op::Operation;
use shared::page;
use shared::problem::Code;
use shared::secret::Secret;
use shared::time::Time;

use crate::Io;
use crate::args::{Command, Consent, Paging};
use crate::connect::Credentials;
use crate::error::{Error, FailedCall};

/// The pause between a call without an answer and its only retry: long enough for a daemon to restart.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Entries per request: even the longest ones fit into one answer.
const PAGE: u32 = 200;
/// How many entries are counted at most when none of them matches a filter.
const COUNTED: u64 = 1_000;

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

    /// Follows the cursors, in pages of bounded size, until there are `limit` entries or no more.
    async fn pages<L: Listing>(
        &self,
        mut request: L,
        cursor: Option<String>,
        limit: u64,
    ) -> Result<L::Response, Error> {
        let size = |left: u64| page::Limit::new(u32::try_from(left).unwrap_or(u32::MAX).min(PAGE));
        request.set_page(size(limit), cursor);
        let mut all = self.call(&request).await?;
        loop {
            let (entries, cursor) = L::parts(&mut all);
            let left = limit.saturating_sub(entries.len() as u64);
            if left == 0 || cursor.is_none() {
                return Ok(all);
            }
            request.set_page(size(left), cursor.take());
            let mut next = self.call(&request).await?;
            let (more, next_cursor) = L::parts(&mut next);
            let is_last = more.is_empty();
            entries.append(more);
            *cursor = next_cursor.take();
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Every entry of a list.
    async fn all<L: Listing>(&self, request: L) -> Result<Vec<L::Entry>, Error> {
        let mut list = self.pages(request, None, u64::MAX).await?;
        Ok(std::mem::take(L::parts(&mut list).0))
    }

    /// The names in a list, for the record of the object that they belong to. Skipped if they are not shown: the API's
    /// own object does not have them.
    async fn names<L: Listing>(&self, request: L, name: impl Fn(L::Entry) -> String) -> Result<String, Error> {
        if self.format != Format::Table {
            return Ok(String::new());
        }
        let names: Vec<String> = self.all(request).await?.into_iter().map(name).collect();
        Ok(if names.is_empty() { "none".to_owned() } else { names.join(", ") })
    }

    /// Says on stderr that a list has no entries; `unfiltered` is the list without its filters, if it has any.
    async fn tell_empty<L: Listing>(&mut self, unfiltered: Option<L>, empty: &str) -> Result<Exit, Error> {
        let mut told = empty.to_owned();
        if let Some(all) = unfiltered {
            // Without this answer the message says less.
            told = match self.pages(all, None, COUNTED).await {
                Ok(mut list) => {
                    let total = L::total(&list);
                    let (entries, next_cursor) = L::parts(&mut list);
                    match (entries.len(), total) {
                        (0, _) => told,
                        (1, _) if next_cursor.is_none() => "The only one does not match".to_owned(),
                        (_, Some(total)) => format!("None of the {total} match"),
                        (count, None) if next_cursor.is_some() => format!("None of more than {count} match"),
                        (count, None) => format!("None of the {count} match"),
                    }
                }
                Err(_) => "None match".to_owned(),
            };
        }
        writeln!(self.io.err, "{told}")?;
        Ok(Exit::Ok)
    }

    /// Prints a list: the API's own object, or a table; for an empty list, a message on stderr.
    async fn list<L: Listing, const N: usize>(
        &mut self,
        request: L,
        paging: Paging,
        empty: &str,
        columns: [Column; N],
        row: impl Fn(Time, L::Entry) -> [String; N],
    ) -> Result<Exit, Error> {
        let unfiltered = request.unfiltered();
        let limit = paging.entries();
        let mut list = self.pages(request, paging.cursor, limit).await?;
        if self.print_object(&list)? {
            return Ok(Exit::Ok);
        }
        let total = L::total(&list).map(|total| format!(" (of {total})")).unwrap_or_default();
        let now = self.now();
        let (entries, next_cursor) = L::parts(&mut list);
        if entries.is_empty() {
            return self.tell_empty(unfiltered, empty).await;
        }
        let mut grid = Grid::new(columns);
        entries.drain(..).for_each(|entry| grid.row(row(now, entry)));
        write!(self.io.out, "{}", grid.render(self.io.width))?;
        if let Some(cursor) = next_cursor {
            let cursor = clean(cursor);
            writeln!(
                self.io.err,
                "There are more{total}: --cursor {cursor} shows the next ones, --all-pages all of them"
            )?;
        }
        Ok(Exit::Ok)
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

/// An operation that answers a list page by page.
trait Listing: Operation + Clone {
    type Entry;

    fn set_page(&mut self, limit: Option<page::Limit>, cursor: Option<String>);

    /// The entries, and the cursor of the next page.
    fn parts(list: &mut Self::Response) -> (&mut Vec<Self::Entry>, &mut Option<String>);

    /// The total number of entries, if the answer has it.
    fn total(_list: &Self::Response) -> Option<String> {
        None
    }

    /// The same list without its filters; `None` if it has none.
    fn unfiltered(&self) -> Option<Self> {
        None
    }
}

/// The lists differ in the name of the field that holds the entries, and in their filters; one also has the total.
macro_rules! listing {
    ($request:ty, $entries:ident: $entry:ty $(; $($filter:ident)+)? $(, $total:expr)?) => {
        impl $crate::commands::Listing for $request {
            type Entry = $entry;

            fn set_page(&mut self, limit: Option<shared::page::Limit>, cursor: Option<String>) {
                (self.limit, self.cursor) = (limit, cursor);
            }

            fn parts(list: &mut Self::Response) -> (&mut Vec<$entry>, &mut Option<String>) {
                (&mut list.$entries, &mut list.next_cursor)
            }

            $(fn unfiltered(&self) -> Option<Self> {
                let is_filtered = [$(self.$filter.is_some()),+].contains(&true);
                is_filtered.then(|| Self { $($filter: None,)+ ..self.clone() })
            })?

            $(fn total(list: &Self::Response) -> Option<String> {
                $total(list)
            })?
        }
    };
}
use listing;
