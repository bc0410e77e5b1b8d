//! One file for each module of the API, one function for each operation.

mod apply;
mod audit;
mod grant;
mod lockout;
mod login;
mod password;
mod permission;
mod role;
mod service;
mod session;
mod system;
mod token;
mod user;

use std::time::Duration;

use serde::Serialize;
use shared::cli::{Exit, Format, Grid, clean};
use shared::client::{self, Client};
use shared::op::Operation;
use shared::page;
use shared::time::Time;

use crate::Io;
use crate::args::{Command, Consent};
use crate::connect::Credentials;
use crate::error::{Error, FailedCall};

/// Between a call that got no answer and its only retry: a daemon that restarts is back by then.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Entries that are asked for at once: of the longest ones, these still fit into an answer.
const PAGE: u32 = 200;

/// What every command works with.
pub(crate) struct Context<'c, 'io> {
    pub client: Client,
    pub credentials: Credentials,
    pub format: Format,
    pub io: &'c mut Io<'io>,
}

pub(crate) async fn run(command: Command, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        Command::Create(args) => token::create(args, context).await,
        Command::List(args) => token::list(args, context).await,
        Command::Info(args) => token::info(args, context).await,
        Command::Revoke(args) => token::revoke(args, context).await,
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
        Command::Login(args) => login::login(args, context).await,
        Command::Logout => login::logout(context).await,
        Command::Passwd(args) => login::passwd(args, context).await,
        Command::Whoami => login::whoami(context).await,
        Command::Audit(args) => audit::list(args, context).await,
        Command::Status => system::status(context).await,
        Command::Completions(_) => Ok(Exit::Ok),
    }
}

impl Context<'_, '_> {
    fn now(&self) -> Time {
        (self.io.now)()
    }

    async fn call<Op: Operation>(&self, op: &Op) -> Result<Op::Response, Error> {
        self.client.call(op).await.map_err(|source| self.failed(source))
    }

    /// Calls an operation that carries this idempotency key; once more when there is no answer, since the key makes
    /// that safe.
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
        FailedCall { source, credentials: self.credentials, endpoint: self.client.endpoint().clone() }
    }

    /// Prints the API's own object; `false` when a person wants to see something else.
    fn print_object(&mut self, object: &impl Serialize) -> Result<bool, Error> {
        let is_printed = shared::cli::write_object(self.io.out, self.format, object)?;
        self.io.out.flush()?;
        Ok(is_printed)
    }

    /// Goes on only with a yes: from the command line, or from the person at the terminal. The question is made when
    /// it is needed.
    async fn ask(&self, consent: Consent, question: impl AsyncFnOnce() -> Result<String, Error>) -> Result<(), Error> {
        if consent.yes {
            return Ok(());
        }
        let Some(person) = self.io.person else {
            return Err(Error::Usage("there is no terminal to ask on: repeat the command with --yes".to_owned()));
        };
        // Ctrl-C is a no.
        if person.confirm(&question().await?).unwrap_or(false) { Ok(()) } else { Err(Error::Declined) }
    }

    /// Follows the cursors, in pages that are never too long to be read, until there are `limit` entries or no more.
    async fn pages<L: Listing>(&self, mut request: L, limit: u64) -> Result<L::Response, Error> {
        let mut left = limit;
        let mut all: Option<L::Response> = None;
        loop {
            request.set_limit(page::Limit::new(u32::try_from(left).unwrap_or(u32::MAX).min(PAGE)));
            let mut page = self.call(&request).await?;
            let count = L::count(&page);
            left = left.saturating_sub(count as u64);
            let cursor = L::cursor(&mut page).clone();
            let has_more = left > 0 && count > 0 && cursor.is_some();
            all = Some(match all {
                None => page,
                Some(mut all) => {
                    L::append(&mut all, page);
                    all
                }
            });
            match all {
                Some(all) if !has_more => return Ok(all),
                _ => request.set_cursor(cursor),
            }
        }
    }

    /// Prints a table; one that is empty says so on stderr.
    fn print_grid(&mut self, grid: &Grid, next_cursor: Option<&String>, empty: &str) -> Result<Exit, Error> {
        if grid.is_empty() {
            writeln!(self.io.err, "{empty}")?;
        } else {
            write!(self.io.out, "{}", grid.render(self.io.width))?;
            self.note_more(next_cursor, None)?;
        }
        Ok(Exit::Ok)
    }

    /// Tells in a line what was done, unless the API's own object was asked for.
    fn tell(&mut self, object: &impl Serialize, line: impl FnOnce() -> String) -> Result<Exit, Error> {
        if !self.print_object(object)? {
            writeln!(self.io.out, "{}", clean(&line()))?;
        }
        Ok(Exit::Ok)
    }

    /// Tells in a line what was done, when a person wants to see it: one of several things of one command.
    fn note(&mut self, line: impl FnOnce() -> String) -> Result<(), Error> {
        if self.format == Format::Table {
            writeln!(self.io.out, "{}", clean(&line()))?;
        }
        Ok(())
    }

    /// Says under a table that it is not everything.
    fn note_more(&mut self, next_cursor: Option<&String>, total: Option<String>) -> Result<(), Error> {
        if next_cursor.is_some() {
            let of = total.map(|total| format!(" (of {total})")).unwrap_or_default();
            writeln!(self.io.err, "There are more{of}: --limit N shows more of them")?;
        }
        Ok(())
    }
}

/// An operation that answers a list page by page.
trait Listing: Operation {
    fn set_limit(&mut self, limit: Option<page::Limit>);
    fn set_cursor(&mut self, cursor: Option<String>);
    fn count(page: &Self::Response) -> usize;
    fn cursor(page: &mut Self::Response) -> &mut Option<String>;
    /// Adds the next page; its cursor becomes that of the whole.
    fn append(all: &mut Self::Response, next: Self::Response);
}

/// The lists differ in the name of the field that holds the entries, and in nothing else.
macro_rules! listing {
    ($request:ty, $entries:ident) => {
        impl $crate::commands::Listing for $request {
            fn set_limit(&mut self, limit: Option<shared::page::Limit>) {
                self.limit = limit;
            }

            fn set_cursor(&mut self, cursor: Option<String>) {
                self.cursor = cursor;
            }

            fn count(page: &Self::Response) -> usize {
                page.$entries.len()
            }

            fn cursor(page: &mut Self::Response) -> &mut Option<String> {
                &mut page.next_cursor
            }

            fn append(all: &mut Self::Response, next: Self::Response) {
                all.$entries.extend(next.$entries);
                all.next_cursor = next.next_cursor;
            }
        }
    };
}
use listing;
