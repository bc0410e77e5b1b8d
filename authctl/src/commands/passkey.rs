//! The passkeys of a user.

use clap::{Args, Subcommand};
use shared::api::passkeys::{ListUserPasskeys, RemoveUserPasskey};
use shared::cli::Column::{Spare, Whole, Wrapped};
use shared::cli::{Exit, Grid, clean, relative};
use shared::id::FactorId;

use super::Context;
use crate::args::Confirmed;
use crate::error::Error;
use crate::values::id;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the passkeys of a user, oldest first
    List {
        /// The user's name or id
        user: String,
    },
    /// Remove a passkey of a user who lost it, and end all their sessions
    Remove(Confirmed<Named>),
}

#[derive(Debug, Args)]
pub struct Named {
    /// The user's name or id
    user: String,
    /// The passkey's id
    #[arg(value_name = "ID", value_parser = |text: &str| id::<FactorId>(text, "`authctl user passkey list USER` shows the id of each passkey"))]
    passkey: FactorId,
}

pub(super) async fn run(command: Command, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        Command::List { user } => {
            let list = context.call(&ListUserPasskeys { id: user }).await?;
            if context.print_object(&list)? {
                return Ok(Exit::Ok);
            }
            if list.passkeys.is_empty() {
                writeln!(context.io.err, "No passkeys")?;
                return Ok(Exit::Ok);
            }
            let now = context.now();
            let mut grid =
                Grid::new([Wrapped("NAME"), Whole("BACKED UP"), Spare("CREATED"), Spare("LAST USED"), Whole("ID")]);
            for passkey in list.passkeys {
                grid.row([
                    passkey.name,
                    if passkey.backed_up { "yes" } else { "no" }.to_owned(),
                    relative(now, passkey.created_at),
                    passkey.last_used_at.map_or_else(|| "never".to_owned(), |at| relative(now, at)),
                    passkey.id.to_string(),
                ]);
            }
            write!(context.io.out, "{}", grid.render(context.io.width))?;
            Ok(Exit::Ok)
        }
        Command::Remove(Confirmed { what: Named { user, passkey }, consent }) => {
            let question = format!("Remove the passkey {passkey} of {}? All sessions end", clean(&user));
            context.ask(consent, async || Ok(question)).await?;
            let line = format!("Removed the passkey {passkey} of {user}; every session has ended");
            context.call_and_tell(&RemoveUserPasskey { id: user, passkey }, |_| line).await
        }
    }
}
