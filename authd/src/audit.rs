//! Reading the audit log, and how long it keeps what anybody can cause. Its rows are written by [`crate::ledger`].
//!
//! Refusals of callers without credentials, such as failed logins, are kept for [`REFUSALS_KEPT`], and no more than
//! [`MOST_REFUSALS`] of them. Every other row stays; the database refuses to delete it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::json;
use shared::api::audit::{AuditEntry, AuditList, ListAudit, MAX_CURSOR};
use shared::time::Time;
use uuid::Uuid;

use crate::base::Base;
use crate::call::Call;
use crate::db::{Cursor, Db, DbError, Query, Row};
use crate::env::{DAY, Millis};
use crate::error::{Error, Result};
use crate::names;
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
        let actor = op.actor.unwrap_or_default();
        let named = op.subject_name.unwrap_or_default();
        let params = [
            before.into(),
            op.action.unwrap_or_default().into(),
            op.subject.unwrap_or_default().into(),
            op.action_prefix.unwrap_or_default().into(),
            op.since.map_or(i64::MIN, Time::millis).into(),
            op.until.map_or(i64::MAX, Time::millis).into(),
            names::fold(&actor).into(),
            format!("user:{actor}(").into(),
            format!("socket:{actor}(").into(),
            actor.into(),
            names::fold(&named).into(),
            // A value of the detail, which is an object of JSON without spaces.
            format!(":{}", json!(named)).into(),
            named.into(),
            page.rows(),
        ];
        let entries = self.base.db.query(Query::new(LIST, params)).await?;
        let entries = entries.iter().map(read).collect::<Result<Vec<_>>>()?;
        let (entries, next_cursor) = page.cut(entries, |(seq, _)| *seq);
        Ok(AuditList { entries: entries.into_iter().map(|(_, entry)| entry).collect(), next_cursor })
    }
}

// The names are looked up for the page alone. What is deleted keeps its row, and with it the name; a deleted person's row
// may have none. The filters by a name list the ids once, not for each row.
const LIST: &str = "\
    SELECT a.seq, a.id, a.at, a.actor, a.action, a.subject, a.outcome, a.address, a.request_id, a.detail, \
        COALESCE(tk.name, asv.name), \
        NULLIF(COALESCE(t.name, u.username, sv.name, r.name, p.name, su.username), '') \
    FROM (SELECT seq, id, at, actor, action, subject, outcome, address, request_id, detail FROM audit \
        WHERE seq < $1 AND ($2 = '' OR action = $2) AND ($3 = '' OR subject = $3) \
          AND substr(action, 1, length($4)) = $4 AND at >= $5 AND at < $6 \
          AND ($10 = '' OR actor = $10 OR actor = 'device:' || $10 \
            OR substr(actor, 1, length($8)) = $8 OR substr(actor, 1, length($9)) = $9 \
            OR EXISTS (SELECT 1 FROM users x WHERE x.live_name = $7 AND replace(actor, '(' || x.id || ')', '') <> actor) \
            OR actor IN (SELECT 'token:' || x.id FROM tokens x WHERE x.name = $10) \
            OR substr(actor, 1, 44) IN (SELECT 'service:' || x.id FROM services x WHERE x.live_name = $7 OR x.name = $10)) \
          AND ($13 = '' OR subject = $13 OR replace(detail, $12, '') <> detail OR subject IN (\
            SELECT x.id FROM tokens x WHERE x.name = $13 \
            UNION ALL SELECT x.id FROM users x WHERE x.live_name = $11 OR x.username = $13 \
            UNION ALL SELECT x.id FROM services x WHERE x.live_name = $11 OR x.name = $13 \
            UNION ALL SELECT x.id FROM roles x WHERE x.live_name = $11 OR x.name = $13 \
            UNION ALL SELECT x.id FROM permissions x WHERE x.live_name = $11 OR x.name = $13 \
            UNION ALL SELECT s.id FROM users x JOIN sessions s ON s.user_id = x.id WHERE x.live_name = $11)) \
        ORDER BY seq DESC LIMIT $14) AS a \
      LEFT JOIN tokens tk ON tk.id = substr(a.actor, 7) \
      LEFT JOIN services asv ON asv.id = substr(a.actor, 9, 36) \
      LEFT JOIN tokens t ON t.id = a.subject LEFT JOIN users u ON u.id = a.subject \
      LEFT JOIN services sv ON sv.id = a.subject LEFT JOIN roles r ON r.id = a.subject \
      LEFT JOIN permissions p ON p.id = a.subject \
      LEFT JOIN sessions s ON s.id = a.subject LEFT JOIN users su ON su.id = s.user_id \
    ORDER BY a.seq DESC";

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
    let mut entry = AuditEntry {
        id: row.id()?,
        at: Time::from_millis(row.int()?),
        actor: row.string()?,
        actor_name: None,
        action: row.string()?,
        subject: row.opt(Cursor::string)?,
        subject_name: None,
        outcome: row.string()?,
        address: row.opt(Cursor::string)?,
        request_id: row.opt(Cursor::string)?,
        detail: serde_json::from_str(row.text()?).map_err(Error::internal)?,
    };
    let known = row.opt(Cursor::string)?;
    entry.actor_name = known.or_else(|| name_in(&entry.actor).map(str::to_owned));
    entry.subject_name = row.opt(Cursor::string)?.or_else(|| told_name(&entry));
    Ok((seq, entry))
}

/// The name in the text of a [`Caller`](crate::caller::Caller).
fn name_in(actor: &str) -> Option<&str> {
    let (kind, name) = actor.split_once(':')?;
    match kind {
        "user" | "socket" => name.rsplit_once('(').map(|(name, _)| name),
        "device" => Some(name),
        _ => None,
    }
}

/// The name of what an entry is about, as the entry itself tells it.
fn told_name(entry: &AuditEntry) -> Option<String> {
    let is_id = |text: &str| Uuid::try_parse(text).is_ok();
    let fields = ["username", "person", "user", "name", "to", "email"];
    let told = fields.iter().filter_map(|field| entry.detail.get(*field)?.as_str());
    // The subject may be a name, such as the key of a lock.
    let subject = entry.subject.as_deref();
    told.chain(subject).find(|text| !text.is_empty() && !is_id(text)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::caller::Caller;
    use crate::testing::TestApp;

    #[test]
    fn the_name_of_a_caller_is_what_a_person_calls_them() {
        for (actor, name) in [
            ("user:ada (x)(0199a0b0-0000-7000-8000-000000000001)", Some("ada (x)")),
            ("socket:root(0)", Some("root")),
            ("device:ada@example.test", Some("ada@example.test")),
            ("token:0199a0b0-0000-7000-8000-000000000001", None),
            ("anonymous", None),
            ("admin-token", None),
        ] {
            assert_eq!(name_in(actor), name, "{actor}");
        }
    }

    async fn list(app: &TestApp, filter: Value) -> Vec<AuditEntry> {
        let list = app.call("audit.list", filter).await.unwrap();
        serde_json::from_value::<AuditList>(list).unwrap().entries
    }

    /// What a person, a token and the admin token did to a token, a role and a person.
    async fn busy() -> TestApp {
        let app = TestApp::new().await;
        app.user("ada", "correct horse").await;
        app.call("roles.create", json!({ "name": "editor" })).await.unwrap();
        let created =
            app.call("tokens.create", json!({ "name": "ci", "scopes": ["authd:users.write"] })).await.unwrap();
        let token = app.caller(created["token"].as_str().unwrap()).await.unwrap();
        app.call_as(token, "users.create", json!({ "username": "bob" })).await.unwrap();
        app.clock.advance(DAY);
        app.call("grants.add_role", json!({ "person_id": "ada", "service_id": "authd", "role_id": "editor" }))
            .await
            .unwrap();
        let grant = json!({ "person_id": "ada", "service_id": "authd", "permission_id": "users.write" });
        app.call("grants.add_permission", grant).await.unwrap();
        let login = json!({ "username": "ada", "password": "wrong" });
        app.refused_as(Caller::Anonymous, "sessions.login", login).await;
        app.call("tokens.revoke", json!({ "id": "ci", "reason": "lost" })).await.unwrap();
        app.call("users.delete", json!({ "id": "bob" })).await.unwrap();
        app
    }

    #[tokio::test]
    async fn entries_have_the_names_of_who_did_it_and_of_what_it_was_done_to() {
        let app = busy().await;
        let told: Vec<_> = list(&app, json!({})).await;
        let named = |entry: &AuditEntry| {
            let text = |name: &Option<String>| name.clone().unwrap_or_default();
            (entry.action.clone(), text(&entry.actor_name), text(&entry.subject_name))
        };
        let told: Vec<_> = told.iter().map(named).collect();
        let expected = [
            ("users.delete", "", "bob"),
            ("tokens.revoke", "", "ci"),
            ("sessions.login", "", "ada"),
            ("grants.add_permission", "", "ada"),
            ("grants.add_role", "", "ada"),
            ("users.create", "ci", "bob"),
            ("tokens.create", "", "ci"),
            ("roles.create", "", "editor"),
        ];
        let own = |(action, actor, subject): &(&str, &str, &str)| {
            (action.to_string(), actor.to_string(), subject.to_string())
        };
        assert_eq!(told, expected.iter().map(own).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn entries_are_found_by_caller_name_beginning_and_time() {
        let app = busy().await;
        let (now, day) = (app.env.now(), Time::from_millis(app.env.now() - DAY));
        for (filter, expected) in [
            (json!({ "action_prefix": "tokens." }), &["tokens.revoke", "tokens.create"][..]),
            (json!({ "action": "tokens." }), &[]),
            (json!({ "actor": "ci" }), &["users.create"]),
            (json!({ "actor": "nobody" }), &[]),
            (json!({ "actor": "anonymous" }), &["sessions.login"]),
            (json!({ "subject_name": "ci" }), &["tokens.revoke", "tokens.create"]),
            (json!({ "subject_name": "ADA" }), &["grants.add_permission", "grants.add_role"]),
            (json!({ "subject_name": "bob" }), &["users.delete", "users.create"]),
            (json!({ "subject_name": "ada", "action_prefix": "sessions" }), &["sessions.login"]),
            (json!({ "subject_name": "editor" }), &["grants.add_role", "roles.create"]),
            (json!({ "until": day, "action_prefix": "" }), &[]),
            (json!({ "until": Time::from_millis(now) }), &["users.create", "tokens.create", "roles.create"]),
            (json!({ "since": Time::from_millis(now), "action_prefix": "users" }), &["users.delete"]),
        ] {
            let found: Vec<_> = list(&app, filter.clone()).await.into_iter().map(|entry| entry.action).collect();
            assert_eq!(found, expected, "{filter}");
        }
        let first = app.call("audit.list", json!({ "action_prefix": "tokens.", "limit": 1 })).await.unwrap();
        let next = json!({ "action_prefix": "tokens.", "limit": 1, "cursor": first["next_cursor"] });
        assert_eq!(list(&app, next).await[0].action, "tokens.create");
    }
}
