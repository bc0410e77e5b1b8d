//! The audit log: a row in the same batch as the change it tells of, so that neither exists without the other.

use serde_json::{Map, Value as Json};
use shared::api::audit::{AuditEntry, AuditList, ListAudit};
use shared::id::AuditId;
use shared::time::Time;

use crate::app::Ctx;
use crate::db::{Query, Row, Statement, Value};
use crate::error::{Error, Result};
use crate::registry::Registry;

pub fn register(registry: &mut Registry) {
    registry.add(list);
}

/// The name of the statement of [`row`].
pub const ROW: &str = "audit";

/// The row of a change that succeeds with its batch. `detail` must hold no secret.
pub fn row(ctx: &Ctx, action: &str, subject: Option<&str>, detail: Map<String, Json>) -> Statement {
    entry(ROW, ctx, action, subject, "ok", detail)
}

/// The row of a refusal that is worth remembering.
pub fn refusal(ctx: &Ctx, action: &str, subject: Option<&str>, outcome: &str, detail: Map<String, Json>) -> Statement {
    entry("refusal", ctx, action, subject, outcome, detail)
}

fn entry(
    name: &'static str,
    ctx: &Ctx,
    action: &str,
    subject: Option<&str>,
    outcome: &str,
    detail: Map<String, Json>,
) -> Statement {
    Statement::one(
        name,
        "INSERT INTO audit (id, at, actor, action, subject, outcome, address, request_id, detail) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        [
            ctx.app.world.uuid().to_string().into(),
            ctx.now().into(),
            ctx.caller.to_string().into(),
            action.into(),
            subject.into(),
            outcome.into(),
            ctx.address.map(|address| address.to_string()).into(),
            ctx.request_id.to_string().into(),
            Json::Object(detail).to_string().into(),
        ],
    )
}

/// Details of an audit row from pairs; absent values are left out.
pub fn detail<const N: usize>(pairs: [(&str, Option<Json>); N]) -> Map<String, Json> {
    pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Newest first. The cursor is the sequence number of the last entry of the page before.
async fn list(ctx: Ctx, op: ListAudit) -> Result<AuditList> {
    let limit = op.limit.unwrap_or_default().rows();
    let before = match &op.cursor {
        Some(cursor) => cursor.parse().map_err(|_| Error::field("cursor", "not a cursor that a list answered"))?,
        None => i64::MAX,
    };
    let rows = ctx
        .app
        .db
        .query(Query::new(
            "SELECT seq, id, at, actor, action, subject, outcome, address, request_id, detail FROM audit \
             WHERE seq < $1 AND ($2 = '' OR action = $2) AND ($3 = '' OR subject = $3) ORDER BY seq DESC LIMIT $4",
            [
                before.into(),
                op.action.unwrap_or_default().into(),
                op.subject.unwrap_or_default().into(),
                Value::Int(i64::try_from(limit + 1).unwrap_or(i64::MAX)),
            ],
        ))
        .await?;
    let next_cursor = match rows.get(limit) {
        Some(_) => Some(rows[limit - 1].int(0)?.to_string()),
        None => None,
    };
    let entries = rows.iter().take(limit).map(read).collect::<Result<_>>()?;
    Ok(AuditList { entries, next_cursor })
}

fn read(row: &Row) -> Result<AuditEntry> {
    Ok(AuditEntry {
        id: AuditId(row.text(1)?.parse().map_err(Error::internal)?),
        at: Time::from_millis(row.int(2)?),
        actor: row.text(3)?.to_owned(),
        action: row.text(4)?.to_owned(),
        subject: row.opt_text(5)?.map(str::to_owned),
        outcome: row.text(6)?.to_owned(),
        address: row.opt_text(7)?.map(str::to_owned),
        request_id: row.opt_text(8)?.map(str::to_owned),
        detail: serde_json::from_str(row.text(9)?).map_err(Error::internal)?,
    })
}
