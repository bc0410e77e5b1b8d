//! Who may not try to sign in for a while.

use shared::api::users::{ClearLockout, ListLockouts};
use shared::cli::{Column, Exit, Grid, relative};

use super::{Context, listing};
use crate::args;
use crate::error::Error;

listing!(ListLockouts, lockouts);

pub(super) async fn run(command: args::Lockout, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        args::Lockout::List(args) => list(args.all, args.limit, context).await,
        args::Lockout::Clear(args) => clear(args, context).await,
    }
}

async fn list(all: bool, limit: args::Limit, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let list = context.pages(ListLockouts { all, ..ListLockouts::default() }, limit.limit).await?;
    if context.print_object(&list)? {
        return Ok(Exit::Ok);
    }
    let now = context.now();
    let mut grid = Grid::new([
        Column::Whole("KIND"),
        Column::Wrapped("WHO"),
        Column::Whole("FAILURES"),
        Column::Spare("LAST"),
        Column::Whole("LOCKED"),
    ]);
    for lockout in &list.lockouts {
        let (kind, who) = lockout.id.split_once(':').unwrap_or(("", &lockout.id));
        grid.row([
            kind.to_owned(),
            who.to_owned(),
            lockout.failures.to_string(),
            relative(now, lockout.last_at),
            lockout.locked_until.map_or_else(|| "no".to_owned(), |until| format!("ends {}", relative(now, until))),
        ]);
    }
    let empty = if all { "No failed logins" } else { "Nobody is locked out" };
    context.print_grid(&grid, list.next_cursor.as_ref(), empty)
}

async fn clear(args: args::LockoutClear, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let (id, who) = match (args.name, args.address) {
        (_, Some(address)) => (format!("address:{address}"), address.to_string()),
        (name, None) => {
            let name = name.unwrap_or_default();
            (format!("name:{name}"), name)
        }
    };
    let done = context.call(&ClearLockout { id }).await?;
    context.tell(&done, || format!("Forgot the failed logins of {who}"))
}
