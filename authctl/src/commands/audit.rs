//! The audit log.

use shared::api::audit::ListAudit;
use shared::cli::{Column, Exit, Grid, relative};

use super::{Context, listing};
use crate::args;
use crate::error::Error;

listing!(ListAudit, entries);

pub(super) async fn list(args: args::Audit, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let request = ListAudit { action: args.action, subject: args.subject, ..ListAudit::default() };
    let list = context.pages(request, args.limit.limit).await?;
    if context.print_object(&list)? {
        return Ok(Exit::Ok);
    }
    if list.entries.is_empty() {
        writeln!(context.io.err, "No entries")?;
        return Ok(Exit::Ok);
    }
    let now = context.now();
    let mut grid = Grid::new([
        Column::Whole("WHEN"),
        Column::Wrapped("WHO"),
        Column::Whole("ACTION"),
        Column::Wrapped("SUBJECT"),
        Column::Whole("OUTCOME"),
    ]);
    for entry in &list.entries {
        grid.row([
            relative(now, entry.at),
            entry.actor.clone(),
            entry.action.clone(),
            entry.subject.clone().unwrap_or_default(),
            entry.outcome.clone(),
        ]);
    }
    write!(context.io.out, "{}", grid.render(context.io.width))?;
    context.note_more(list.next_cursor.as_ref(), None)?;
    Ok(Exit::Ok)
}
