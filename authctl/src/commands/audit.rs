//! The audit log.

use clap::Args;
use shared::api::audit::{AuditEntry, ListAudit};
use shared::cli::Column::{Whole, Wrapped};
use shared::cli::{Exit, relative};

use super::{Context, listing};
use crate::args::Limit;
use crate::error::Error;

listing!(ListAudit, entries: AuditEntry);

#[derive(Debug, Args)]
pub struct Audit {
    /// Only this operation, such as `tokens.revoke`
    #[arg(long, value_name = "OPERATION")]
    action: Option<String>,
    /// Only operations on this id
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    #[command(flatten)]
    limit: Limit,
}

pub(super) async fn list(args: Audit, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let request = ListAudit { action: args.action, subject: args.subject, ..ListAudit::default() };
    let columns = [Whole("WHEN"), Wrapped("WHO"), Whole("ACTION"), Wrapped("SUBJECT"), Whole("OUTCOME")];
    let row = |now, entry: AuditEntry| {
        [relative(now, entry.at), entry.actor, entry.action, entry.subject.unwrap_or_default(), entry.outcome]
    };
    context.list(request, args.limit, "No entries", columns, row).await
}
