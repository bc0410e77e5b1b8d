//! The SQL of lists of tokens, by their filters.

use shared::api::tokens::{ListTokens, Token};
use shared::id::TokenId;

use super::store::{read, select_tokens};
use crate::db::{Db, Query, Value};
use crate::env::{Millis, SECOND};
use crate::error::Result;
use crate::page::Page;

/// The maximum count of a filtered list.
pub const COUNTED: u32 = 10_000;

/// The filter of a list.
#[derive(Debug)]
pub struct Filter<'a> {
    op: &'a ListTokens,
    now: Millis,
}

/// The condition of a [`Filter`]; its parameters are `$1` to `$5`.
macro_rules! filtered {
    ($begin:literal, $end:literal) => {
        concat!(
            $begin,
            " ($1 = '' OR name = $1) AND ($2 = '' OR replace(scopes, $2, '') <> scopes) \
             AND substr(name, 1, length($3)) = $3 \
             AND (CAST($4 AS BIGINT) < 0 OR (expires_at <= $4 AND expires_at > $5)) ",
            $end
        )
    };
}

impl<'a> Filter<'a> {
    pub fn new(op: &'a ListTokens, now: Millis) -> Self {
        Self { op, now }
    }

    /// Whether it keeps every token, except revoked ones.
    pub fn is_all(&self) -> bool {
        let ListTokens { limit: _, cursor: _, include_revoked: _, name, scope, prefix, expires_within } = self.op;
        name.is_none() && scope.is_none() && prefix.is_none() && expires_within.is_none()
    }

    /// A scope is searched as a JSON string, which cannot occur inside another one, since a scope contains neither quotes
    /// nor backslashes.
    fn params(&self) -> [Value; 5] {
        let scope = self.op.scope.as_ref().map(|scope| format!("\"{scope}\"")).unwrap_or_default();
        let end = self.op.expires_within.map_or(-1, |within| self.now + Millis::from(within) * SECOND);
        let text = |text: &Option<String>| text.clone().unwrap_or_default().into();
        [text(&self.op.name), scope.into(), text(&self.op.prefix), end.into(), self.now.into()]
    }
}

/// Tokens, newest first, after the cursor.
pub async fn list(db: &dyn Db, filter: &Filter<'_>, page: &Page<TokenId>) -> Result<Vec<Token>> {
    // Every id sorts before "g": UUIDs are lower-case hex.
    let after = page.after_or("g");
    let sql = if filter.op.include_revoked {
        select_tokens!(filtered!("WHERE", "AND id < $6 ORDER BY id DESC LIMIT $7"))
    } else {
        select_tokens!(filtered!("WHERE revoked_at IS NULL AND", "AND id < $6 ORDER BY id DESC LIMIT $7"))
    };
    let params: Vec<Value> = filter.params().into_iter().chain([after, page.rows()]).collect();
    db.query(Query::new(sql, params)).await?.iter().map(read).collect()
}

/// The number of tokens in a list: from the stored counter, or counted if there is a filter.
pub async fn count(db: &dyn Db, filter: &Filter<'_>) -> Result<u64> {
    let query = if filter.is_all() {
        let name = if filter.op.include_revoked { "tokens.all" } else { "tokens.live" };
        Query::point("SELECT value FROM counters WHERE name = $1", [Value::from(name)])
    } else {
        let more = [i64::from(filter.op.include_revoked).into(), Value::Int(i64::from(COUNTED) + 1)];
        Query::new(
            filtered!(
                "SELECT COUNT(*) FROM (SELECT 1 FROM tokens WHERE",
                "AND ($6 = 1 OR revoked_at IS NULL) LIMIT $7) AS counted"
            ),
            filter.params().into_iter().chain(more).collect::<Vec<_>>(),
        )
    };
    let rows = db.query(query).await?;
    let count = rows.first().map(|row| row.cursor().int()).transpose()?.unwrap_or_default();
    Ok(u64::try_from(count).unwrap_or_default())
}
