//! Files that people uploaded.

use clap::Subcommand;
use shared::api::files::{DeleteFile, File, ListFiles};
use shared::cli::Column::{Spare, Whole, Wrapped};
use shared::cli::{Exit, relative};
use shared::id::FileId;

use super::listing::Keep;
use super::{Context, listing};
use crate::args::{Between, Consent, Paging};
use crate::error::Error;
use crate::values::id;

listing!(ListFiles, files: File; user);

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List files, newest first: with a session your own, else those of everybody
    List {
        /// Only files of this user
        #[arg(long, value_name = "USER", conflicts_with = "all")]
        user: Option<String>,
        /// The files of everybody
        #[arg(long)]
        all: bool,
        /// Only files whose name begins with this
        #[arg(long, value_name = "TEXT")]
        prefix: Option<String>,
        #[command(flatten)]
        uploaded: Between,
        #[command(flatten)]
        paging: Paging,
    },
    /// Delete a file
    Remove {
        /// The file's key, as shown by `authctl file list`
        #[arg(value_name = "KEY", value_parser = |text: &str| id::<FileId>(text, "`authctl file list` shows the key of each file"))]
        key: FileId,
        #[command(flatten)]
        consent: Consent,
    },
}

pub(super) async fn run(command: Command, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    match command {
        Command::List { user, all, prefix, uploaded, paging } => {
            let now = context.now();
            let begins = |name: &str| prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix.as_str()));
            let keep = |file: &File| begins(&file.file_name) && uploaded.has(now, file.created_at);
            let is_all = prefix.is_none() && uploaded.is_all();
            let request = ListFiles { user, all, ..ListFiles::default() };
            list(request, paging, (!is_all).then_some(&keep as _), context).await
        }
        Command::Remove { key, consent } => {
            context.ask(consent, async || Ok(format!("Delete file {key}?"))).await?;
            context.call_and_tell(&DeleteFile { key }, |_| format!("Deleted {key}")).await
        }
    }
}

async fn list(
    request: ListFiles,
    paging: Paging,
    keep: Option<Keep<'_, ListFiles>>,
    context: &mut Context<'_, '_>,
) -> Result<Exit, Error> {
    let columns = [Whole("KEY"), Wrapped("NAME"), Whole("BYTES"), Spare("TYPE"), Spare("OWNER"), Spare("CREATED")];
    let row = |now, file: File| {
        [
            file.key.to_string(),
            file.file_name,
            file.size.to_string(),
            file.content_type,
            file.user_id.to_string(),
            relative(now, file.created_at),
        ]
    };
    context.list_where(request, paging, keep, "There are no files", columns, row).await
}
