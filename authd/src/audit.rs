//! Reading the audit log, and how long it keeps what anybody can cause. Its rows are written by [`crate::ledger`].
//!
//! Refusals of callers without credentials, such as failed logins, are kept for [`REFUSALS_KEPT`], and no more than
//! [`MOST_REFUSALS`] of them. Every other row stays; the database refuses to delete it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use shared::api::audit::{AuditEntry, AuditList, ListAudit, MAX_CURSOR};
use shared::time::Time;

use crate::base::Base;
use crate::call::Call;
use crate::db::{Cursor, Db, DbError, Query, Row};
use crate::env::{DAY, Millis};
use crate::error::{Error, Result};
use crate::page::Page;
use crate::registry::Registry;

/// How long refusals of callers without credentials are kept.
const REFUSALS_KEPT: Millis = 90 * DAY;
/// How many of them are kept at most, the newest.
const MOST_REFUSALS: i64 = 200_000;

/// Deletes them, up to [`refusals_end`], for [`crate::db::sweep::expired`]; but never the last row, whose number SQLite
/// would use again.
pub const SWEEP_REFUSALS: &str = "DELETE FROM audit WHERE seq IN (SELECT seq FROM audit \
     WHERE actor = 'anonymous' AND outcome <> 'ok' AND at <= $1 ORDER BY at LIMIT $2) \
     AND seq < (SELECT MAX(seq) FROM audit)";
const FIRST_TOO_MANY: &str =
    "SELECT at FROM audit WHERE actor = 'anonymous' AND outcome <> 'ok' ORDER BY at DESC LIMIT 1 OFFSET $1";

/// Until when refusals of callers without credentials are to be deleted.
pub async fn refusals_end(db: &dyn Db, now: Millis) -> Result<Millis, DbError> {
    let rows = db.query(Query::new(FIRST_TOO_MANY, [MOST_REFUSALS.into()])).await?;
    let too_many = rows.first().map(|row| row.cursor().int()).transpose()?;
    Ok(too_many.unwrap_or_default().max(now - REFUSALS_KEPT))
}

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

    /// Newest first.
    async fn list(&self, _: Call, op: ListAudit) -> Result<AuditList> {
        let page = Page::<Sequence>::new(op.cursor.as_deref(), op.limit)?;
        let before = page.after.as_ref().map_or(i64::MAX, |Sequence(number)| *number);
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

/// The cursor: the sequence number of the last entry of the page before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence(i64);

impl FromStr for Sequence {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        let is_cursor = text.len() <= MAX_CURSOR && is_number;
        text.parse().ok().filter(|_| is_cursor).map(Self).ok_or(())
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
