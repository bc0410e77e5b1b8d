//! Lockouts: names and addresses that are temporarily refused at sign-in.

use std::net::IpAddr;

use clap::{ArgGroup, Subcommand};
use shared::api::users::{ClearLockout, ListLockouts, Lockout};
use shared::cli::Column::{Spare, Whole, Wrapped};
use shared::cli::{Exit, relative};
use shared::names::fold;

use super::{Context, listing};
use crate::args::{Between, Paging};
use crate::error::Error;

listing!(ListLockouts, lockouts: Lockout);

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List names and addresses that are locked out
    List {
        /// Include those with failed logins that are not locked out
        #[arg(long)]
        all: bool,
        /// Only names and addresses that begin with this
        #[arg(long, value_name = "TEXT")]
        prefix: Option<String>,
        /// Only those whose last failure was then
        #[command(flatten)]
        failed: Between,
        #[command(flatten)]
        paging: Paging,
    },
    /// Forget the failed logins of a name or an address
    #[command(group = ArgGroup::new("what").required(true).args(["name", "address"]))]
    Clear {
        /// The user name, whether such a user exists or not
        #[arg(value_name = "NAME")]
        name: Option<String>,
        /// The address; an IPv6 address stands for its /64 network
        #[arg(long, value_name = "ADDRESS")]
        address: Option<IpAddr>,
    },
}

pub(super) async fn run(command: Command, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        Command::List { all, prefix, failed, paging } => {
            let columns = [Whole("KIND"), Wrapped("WHO"), Whole("FAILURES"), Spare("LAST"), Whole("LOCKED")];
            let row = |now, lockout: Lockout| {
                let (kind, who) = lockout.id.split_once(':').unwrap_or(("", &lockout.id));
                let locked = lockout.locked_until.map(|until| format!("ends {}", relative(now, until)));
                [
                    kind.to_owned(),
                    who.to_owned(),
                    lockout.failures.to_string(),
                    relative(now, lockout.last_at),
                    locked.unwrap_or_else(|| "no".to_owned()),
                ]
            };
            let empty = if all { "No failed logins" } else { "Nobody is locked out" };
            let (now, prefix) = (context.now(), prefix.map(|prefix| fold(&prefix)));
            let who = |lockout: &Lockout| lockout.id.split_once(':').map_or(String::new(), |(_, who)| fold(who));
            let keep = |lockout: &Lockout| {
                prefix.as_ref().is_none_or(|prefix| who(lockout).starts_with(prefix))
                    && failed.has(now, lockout.last_at)
            };
            let is_all = prefix.is_none() && failed.is_all();
            let request = ListLockouts { all, ..ListLockouts::default() };
            context.list_where(request, paging, (!is_all).then_some(&keep as _), empty, columns, row).await
        }
        Command::Clear { name, address } => {
            let (id, who) = match address {
                Some(address) => (format!("address:{address}"), address.to_string()),
                None => (format!("name:{}", name.as_deref().unwrap_or_default()), name.unwrap_or_default()),
            };
            context.call_and_tell(&ClearLockout { id }, |_| format!("Cleared the failed logins of {who}")).await
        }
    }
}
