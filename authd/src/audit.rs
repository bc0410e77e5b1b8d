//! Reading the audit log. Its rows are written by [`crate::ledger`].

use std::sync::Arc;

use shared::api::audit::{AuditEntry, AuditList, ListAudit};
use shared::time::Time;

use crate::base::Base;
use crate::call::Call;
use crate::db::{Cursor, Query, Row};
use crate::error::{Error, Result};
use crate::page::Page;
use crate::registry::Registry;

#[derive(Debug)]
pub struct Audit {
    base: Base,
}

impl Audit {
    pub fn new(base: &Base) -> Arc<Self> {
        Arc::new(Self { base: base.clone() })
    }

    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.add(self, Self::list);
    }

    /// Newest first. The cursor is the sequence number of the last entry of the page before.
    async fn list(&self, _: Call, op: ListAudit) -> Result<AuditList> {
        let page = Page::<i64>::new(op.cursor.as_deref(), op.limit)?;
        let before = page.after.unwrap_or(i64::MAX);
        let query = Query::new(
            "SELECT seq, id, at, actor, action, subject, outcome, address, request_id, detail FROM audit \
             WHERE seq < $1 AND ($2 = '' OR action = $2) AND ($3 = '' OR subject = $3) ORDER BY seq DESC LIMIT $4",
            [before.into(), op.action.unwrap_or_default().into(), op.subject.unwrap_or_default().into(), page.rows()],
        );
        let entries = self.base.db.query(query).await?.iter().map(read).collect::<Result<Vec<_>>>()?;
        let (entries, next_cursor) = page.cut(entries, |(seq, _)| *seq);
        Ok(AuditList { entries: entries.into_iter().map(|(_, entry)| entry).collect(), next_cursor })
    }
}

fn read(row: &Row) -> Result<(i64, AuditEntry)> {
    let mut row = row.cursor();
    let seq = row.int()?;
    let entry = AuditEntry {
        id: row.id()?,
        at: Time::from_millis(row.int()?),
        actor: row.string()?,
        action: row.string()?,
        subject: row.opt(Cursor::string)?,
        outcome: row.string()?,
        address: row.opt(Cursor::string)?,
        request_id: row.opt(Cursor::string)?,
        detail: serde_json::from_str(row.text()?).map_err(Error::internal)?,
    };
    Ok((seq, entry))
}
