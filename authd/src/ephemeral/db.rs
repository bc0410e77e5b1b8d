//! The ephemeral store in the database, for a single authd without Redis.

use std::sync::Arc;

use super::{Ephemeral, EphemeralError, MAX_LIFE};
use crate::db::{BoxFuture, Db, DbError, Query, Row, Statement, Value};
use crate::env::{Env, Millis, SKEW};

const PUT: &str = "INSERT INTO ephemeral (key, value, count, expires_at) VALUES ($1, $2, 0, $3) \
     ON CONFLICT (key) DO UPDATE SET value = excluded.value, count = 0, expires_at = excluded.expires_at";
// An end after $3 was set by a wrong clock, and is void.
const FIND: &str = "SELECT value FROM ephemeral WHERE key = $1 AND expires_at > $2 AND expires_at <= $3 \
     AND value IS NOT NULL";
const TAKE: &str = "DELETE FROM ephemeral WHERE key = $1 AND expires_at > $2 AND expires_at <= $3 \
     AND value IS NOT NULL RETURNING value";
/// An expired counter starts again, as one whose end is further away than the time to live; a live one keeps its expiry.
const INCREMENT: &str = "INSERT INTO ephemeral (key, value, count, expires_at) VALUES ($1, NULL, 1, $2) \
     ON CONFLICT (key) DO UPDATE SET \
       count = CASE WHEN ephemeral.expires_at > $3 AND ephemeral.expires_at <= $4 THEN ephemeral.count + 1 ELSE 1 END, \
       expires_at = CASE WHEN ephemeral.expires_at > $3 AND ephemeral.expires_at <= $4 \
         THEN ephemeral.expires_at ELSE excluded.expires_at END \
     RETURNING count";
const TAKE_BACK: &str = "UPDATE ephemeral SET count = count - 1 WHERE key = $1 AND expires_at > $2 AND count > 0";
/// Deletes expired rows: for [`crate::db::sweep::expired`].
pub const SWEEP: &str = "DELETE FROM ephemeral WHERE key IN \
     (SELECT key FROM ephemeral WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)";

/// [`Ephemeral`] in the table of that name. Expiry uses authd's clock.
#[derive(Debug)]
pub struct DbEphemeral {
    db: Arc<dyn Db>,
    env: Env,
}

impl DbEphemeral {
    pub fn new(db: Arc<dyn Db>, env: Env) -> Self {
        Self { db, env }
    }

    /// The key, and the bounds of the end of a live value.
    fn live(&self, key: &str) -> [Value; 3] {
        let now = self.env.now();
        [key.into(), now.into(), (now + MAX_LIFE + SKEW).into()]
    }
}

impl From<DbError> for EphemeralError {
    fn from(error: DbError) -> Self {
        Self(Box::new(error))
    }
}

fn value(rows: &[Row]) -> Result<Option<Vec<u8>>, EphemeralError> {
    Ok(rows.first().map(|row| row.cursor().bytes().map(<[u8]>::to_vec)).transpose()?)
}

impl Ephemeral for DbEphemeral {
    fn put<'a>(&'a self, key: &'a str, value: &'a [u8], ttl: Millis) -> BoxFuture<'a, Result<(), EphemeralError>> {
        Box::pin(async move {
            let ends = self.env.now().saturating_add(ttl.min(MAX_LIFE));
            self.db.commit(vec![Statement::one("put", PUT, [key.into(), value.to_vec().into(), ends.into()])]).await?;
            Ok(())
        })
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, EphemeralError>> {
        Box::pin(async move { value(&self.db.query(Query::point(FIND, self.live(key))).await?) })
    }

    fn take<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, EphemeralError>> {
        Box::pin(async move {
            // Checks first with a read, so that guesses at keys cost no write.
            if self.get(key).await?.is_none() {
                return Ok(None);
            }
            let take = Statement::any("take", TAKE, self.live(key));
            value(self.db.commit(vec![take]).await?.rows("take"))
        })
    }

    fn increment<'a>(&'a self, key: &'a str, ttl: Millis) -> BoxFuture<'a, Result<i64, EphemeralError>> {
        Box::pin(async move {
            let now = self.env.now();
            let ends = now.saturating_add(ttl.min(MAX_LIFE));
            let increment =
                Statement::one("increment", INCREMENT, [key.into(), ends.into(), now.into(), (ends + SKEW).into()]);
            let committed = self.db.commit(vec![increment]).await?;
            let sum = committed.rows("increment").first().ok_or(DbError::ExpectationFailed("increment"))?;
            Ok(sum.cursor().int()?)
        })
    }

    fn take_back<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), EphemeralError>> {
        Box::pin(async move {
            let take_back = Statement::any("take_back", TAKE_BACK, [key.into(), self.env.now().into()]);
            self.db.commit(vec![take_back]).await?;
            Ok(())
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), EphemeralError>> {
        Box::pin(async { self.get("check").await.map(drop) })
    }

    fn engine(&self) -> &'static str {
        "db"
    }
}
