//! The SQL of sessions: of all kinds, and of logins.

mod browser;
mod device;
pub mod identity;

use shared::api::sessions::{ListSessions, Session, SessionKind};
use shared::id::{SessionId, UserId};
use shared::time::Time;

pub use self::browser::{REPLACED, Replacement, replace};
pub use self::device::{
    EndedDevice, FULL, LIVE, MOST as MOST_DEVICES, NEW_DEVICE, acknowledge, claim_outbox, delete_outbox, end, find,
    has_room, has_sibling, insert, insert_of_user, keep, lease, list_outbox, release, renew,
};
use super::lookup::LiveSession;
use super::model::{Attributes, FRESH, LoginAttributes};
use crate::cache::Hash;
use crate::db::{Cursor, Db, Query, Row, Statement, Value};
use crate::env::{MINUTE, Millis, SECOND, SKEW};
use crate::error::{Error, Result};
use crate::page::Page;

const LIST: &str = "SELECT s.id, s.kind, s.user_id, u.username, s.created_at, s.last_used_at, s.idle_expires_at, \
       s.absolute_expires_at, s.ended_at, s.end_reason, s.provider, s.device_name, s.os, s.address, s.attributes \
     FROM sessions s LEFT JOIN users u ON u.id = s.user_id \
     WHERE s.id < $1 AND ($2 = 1 OR (s.ended_at IS NULL AND s.idle_expires_at > $3 AND s.absolute_expires_at > $3 \
         AND s.last_used_at <= $6)) AND ($4 = '' OR s.kind = $4) \
       AND s.created_at >= $7 AND s.created_at < $8 \
       AND (s.idle_expires_at <= $9 OR s.absolute_expires_at <= $9) \
     ORDER BY s.id DESC LIMIT $5";
const SHOW: &str = "SELECT s.id, s.kind, s.user_id, u.username, s.created_at, s.last_used_at, s.idle_expires_at, \
       s.absolute_expires_at, s.ended_at, s.end_reason, s.provider, s.device_name, s.os, s.address, s.attributes \
     FROM sessions s LEFT JOIN users u ON u.id = s.user_id WHERE s.id = $1";
// The same for one user; $3 is before every idle end if ended sessions are included.
const LIST_OF_USER: &str = "SELECT s.id, s.kind, s.user_id, u.username, s.created_at, s.last_used_at, s.idle_expires_at, \
       s.absolute_expires_at, s.ended_at, s.end_reason, s.provider, s.device_name, s.os, s.address, s.attributes \
     FROM sessions s LEFT JOIN users u ON u.id = s.user_id \
     WHERE s.user_id = $5 AND s.idle_expires_at > $3 AND s.id < $1 \
       AND ($2 = 1 OR (s.ended_at IS NULL AND s.absolute_expires_at > $3 AND s.last_used_at <= $7)) \
       AND ($4 = '' OR s.kind = $4) AND s.created_at >= $8 AND s.created_at < $9 \
       AND (s.idle_expires_at <= $10 OR s.absolute_expires_at <= $10) \
     ORDER BY s.id DESC LIMIT $6";
const FIND_LIVE: &str = "SELECT s.id, s.user_id, u.username, u.name, s.created_at, s.renewed_at, s.idle_expires_at, \
       s.absolute_expires_at, s.kind, s.attributes \
     FROM sessions s JOIN users u ON u.id = s.user_id \
     WHERE s.token_hash = $1 AND s.kind <> 'device' AND s.ended_at IS NULL AND s.idle_expires_at > $2 \
       AND s.absolute_expires_at > $2 AND s.renewed_at <= $3 AND u.status = 'active' AND u.deleted_at IS NULL";
// The same by the session's id.
const FIND_LIVE_BY_ID: &str = "SELECT s.id, s.user_id, u.username, u.name, s.created_at, s.renewed_at, \
       s.idle_expires_at, s.absolute_expires_at, s.kind, s.attributes \
     FROM sessions s JOIN users u ON u.id = s.user_id \
     WHERE s.id = $1 AND s.kind <> 'device' AND s.ended_at IS NULL AND s.idle_expires_at > $2 \
       AND s.absolute_expires_at > $2 AND s.renewed_at <= $3 AND u.status = 'active' AND u.deleted_at IS NULL";
const INSERT_LOGIN: &str = "INSERT INTO sessions (id, kind, user_id, token_hash, generation, created_at, renewed_at, \
       last_used_at, idle_expires_at, absolute_expires_at, client_version, address, lease_until, attributes, factor_at, \
       provider) \
     SELECT $1, $9, u.id, $3, 0, $4, $4, $4, $5, $6, NULL, $7, 0, $12, CAST($10 AS BIGINT), $11 FROM users u \
     WHERE u.id = $2 AND u.status = 'active' AND u.deleted_at IS NULL AND COALESCE(u.password_changed_at, 0) = $8";
const SLIDE: &str = "UPDATE sessions SET renewed_at = $2, last_used_at = $2, idle_expires_at = $3 \
     WHERE id = $1 AND renewed_at = $4 AND ended_at IS NULL AND idle_expires_at > $2 AND absolute_expires_at > $2";
const FIND_LOGIN: &str = "SELECT user_id, ended_at FROM sessions WHERE id = $1 AND kind <> 'device'";
const FACTOR_AT: &str = "SELECT factor_at FROM sessions WHERE id = $1";
// A proof after $3 is that of a wrong clock.
const FIND_FRESH: &str = "SELECT 1 FROM sessions WHERE id = $1 AND factor_at > $2 AND factor_at <= $3";
// A browser's is replaced instead: see `browser`.
const REFRESH_PROOF: &str = "UPDATE sessions SET factor_at = $3 \
     WHERE id = $1 AND user_id = $2 AND kind <> 'web' AND ended_at IS NULL";
// Whatever the clock says: what is void now may be valid when the clock is right.
const FIND_HOLDER: &str = "SELECT id, user_id FROM sessions \
     WHERE token_hash = $1 AND kind <> 'device' AND ended_at IS NULL";
// Ending sets the idle end, so that the live sessions of a user are a range of the index.
const END_LOGIN: &str = "UPDATE sessions SET ended_at = $2, end_reason = $3, \
       idle_expires_at = CASE WHEN idle_expires_at > $2 THEN $2 ELSE idle_expires_at END \
     WHERE id = $1 AND kind <> 'device' AND user_id = $4 AND ended_at IS NULL";
const END_ALL: &str = "UPDATE sessions SET ended_at = $2, end_reason = $3, sealed = NULL, idle_expires_at = $2 \
     WHERE user_id = $1 AND idle_expires_at > $2 AND absolute_expires_at > $2 AND ended_at IS NULL AND id <> $4";
// Ends those whose idle end is before that of the session at offset $3, and keeps those with the same. Sessions of a wrong
// clock, which are void, do not count.
const END_OLDEST: &str = "UPDATE sessions SET ended_at = $2, end_reason = 'too_many', idle_expires_at = $2 \
     WHERE user_id = $1 AND idle_expires_at > $2 AND ended_at IS NULL AND idle_expires_at < \
       (SELECT s.idle_expires_at FROM sessions s WHERE s.user_id = $1 AND s.idle_expires_at > $2 \
          AND s.ended_at IS NULL AND s.renewed_at <= $4 ORDER BY s.idle_expires_at DESC LIMIT 1 OFFSET $3) \
     RETURNING user_id";
const INVALIDATE_OLDEST: &str = "INSERT INTO invalidations (kind, subject, at) \
     SELECT 'sessions', CAST($1 AS TEXT), CAST($2 AS BIGINT) WHERE EXISTS \
       (SELECT 1 FROM sessions s WHERE s.user_id = $1 AND s.idle_expires_at > $2 \
          AND s.ended_at IS NULL AND s.renewed_at <= $4 LIMIT 1 OFFSET $3)";
const DELETE_DEVICES: &str = "DELETE FROM sessions WHERE user_id = $1 AND kind = 'device'";
const HASHES: &str = "SELECT token_hash, id FROM sessions \
     WHERE user_id = $1 AND idle_expires_at > $2 AND token_hash IS NOT NULL";
/// Deletes sessions that were unusable at a given time; the parameters are the time and the maximum number of rows. An
/// ended one stays until its idle end, so that lists can show it.
pub const SWEEP: &str = "DELETE FROM sessions WHERE id IN \
     (SELECT id FROM sessions WHERE idle_expires_at <= $1 ORDER BY idle_expires_at LIMIT $2)";

/// Names of statements whose failure has a meaning.
pub const NEW_LOGIN: &str = "insert_login";
pub const OLDEST: &str = "end_oldest";
/// The session is that of a browser, or not live.
pub const REFRESHED: &str = "refresh_proof";
/// The last proof of all factors in the session is too old.
pub const FRESH_PROOF: &str = "fresh_proof";
/// The statement that ends a session; it fails if the session had ended before.
pub const ENDED: &str = "end_session";

/// Sessions, newest first; only of this user, if one is given.
pub async fn list(
    db: &dyn Db,
    op: &ListSessions,
    user: Option<UserId>,
    page: &Page<SessionId>,
    now: Millis,
) -> Result<Vec<Session>> {
    let kind = match op.kind {
        None => "",
        Some(kind) => name(kind),
    };
    // Every id sorts before "g": UUIDs are lower-case hex.
    let (before, ended) = (page.after_or("g"), i64::from(op.include_ended).into());
    let latest = (now + SKEW).into();
    let (since, until) = (op.since.map_or(Millis::MIN, Time::millis), op.until.map_or(Millis::MAX, Time::millis));
    let ends_by = op.expires_within.map_or(Millis::MAX, |within| now + Millis::from(within) * SECOND);
    let times = [since.into(), until.into(), ends_by.into()];
    let first = match user {
        None => vec![before, ended, now.into(), kind.into(), page.rows(), latest],
        Some(user) => {
            let after = if op.include_ended { Millis::MIN } else { now };
            vec![before, ended, after.into(), kind.into(), user.into(), page.rows(), latest]
        }
    };
    let sql = if user.is_some() { LIST_OF_USER } else { LIST };
    let query = Query::new(sql, first.into_iter().chain(times).collect::<Vec<_>>());
    db.query(query).await?.iter().map(describe).collect()
}

/// A session as lists show it.
pub async fn show(db: &dyn Db, id: SessionId) -> Result<Option<Session>> {
    db.query(Query::point(SHOW, [id.into()])).await?.first().map(describe).transpose()
}

/// The live login session of a token, by the token's hash.
pub async fn find_live(db: &dyn Db, hash: &Hash, now: Millis) -> Result<Option<LiveSession>> {
    read_live(db, FIND_LIVE, (*hash).into(), now).await
}

/// The same by the session's id.
pub async fn find_live_by_id(db: &dyn Db, id: SessionId, now: Millis) -> Result<Option<LiveSession>> {
    read_live(db, FIND_LIVE_BY_ID, id.into(), now).await
}

async fn read_live(db: &dyn Db, sql: &'static str, key: Value, now: Millis) -> Result<Option<LiveSession>> {
    let read = |row: &Row| {
        let mut row = row.cursor();
        Ok(LiveSession {
            id: row.id()?,
            user_id: row.id()?,
            username: row.text()?.into(),
            name: row.text()?.into(),
            created_at: row.int()?,
            renewed_at: row.int()?,
            idle_expires_at: row.int()?,
            absolute_expires_at: row.int()?,
            kind: kind(row.text()?)?,
            is_operator: serde_json::from_str::<LoginAttributes>(row.text()?).map_err(Error::internal)?.operator,
        })
    };
    db.query(Query::point(sql, [key, now.into(), (now + SKEW).into()])).await?.first().map(read).transpose()
}

/// The login session of a token and its user, unless it was ended; it may be expired, or void.
pub async fn find_holder(db: &dyn Db, hash: &Hash) -> Result<Option<(SessionId, UserId)>> {
    let rows = db.query(Query::point(FIND_HOLDER, [(*hash).into()])).await?;
    let read = |row: &Row| {
        let mut row = row.cursor();
        Ok((row.id()?, row.id()?))
    };
    rows.first().map(read).transpose()
}

/// A new session of a person who signed in.
#[derive(Debug)]
pub struct NewLogin {
    pub id: SessionId,
    /// Not a device.
    pub kind: SessionKind,
    pub user: UserId,
    pub hash: Hash,
    pub now: Millis,
    pub idle_expires_at: Millis,
    pub absolute_expires_at: Millis,
    pub address: Option<String>,
    /// When the verified password was set.
    pub password_changed_at: Millis,
    /// When all factors were proved, if that was just now.
    pub proved_at: Option<Millis>,
    /// The OpenID provider of the sign-in.
    pub provider: Option<String>,
    /// Whether the person has a permission of authd.
    pub is_operator: bool,
}

/// Inserts a login session ([`NEW_LOGIN`]). Fails if the user is no longer active, or the password was changed after it
/// was verified.
pub fn insert_login(login: &NewLogin) -> Statement {
    let attributes = if login.is_operator { r#"{"operator":true}"# } else { "{}" };
    Statement::one(
        NEW_LOGIN,
        INSERT_LOGIN,
        [
            login.id.into(),
            login.user.into(),
            Value::from(login.hash),
            login.now.into(),
            login.idle_expires_at.into(),
            login.absolute_expires_at.into(),
            login.address.clone().into(),
            login.password_changed_at.into(),
            name(login.kind).into(),
            login.proved_at.into(),
            login.provider.clone().into(),
            attributes.into(),
        ],
    )
}

/// Extends the idle end of a login session; fails if another call did so since it was read, or it has ended.
pub fn slide(live: &LiveSession, now: Millis, idle_expires_at: Millis) -> Statement {
    let params = [live.id.into(), now.into(), idle_expires_at.into(), live.renewed_at.into()];
    Statement::one("slide_session", SLIDE, params)
}

/// The user of a login session, and when it ended, if it has.
pub async fn find_login(db: &dyn Db, id: SessionId) -> Result<Option<(UserId, Option<Millis>)>> {
    let read = |row: &Row| {
        let mut row = row.cursor();
        Ok((row.id()?, row.opt(Cursor::int)?))
    };
    db.query(Query::point(FIND_LOGIN, [id.into()])).await?.first().map(read).transpose()
}

/// When the person last proved all factors in a session.
pub async fn find_factor_at(db: &dyn Db, id: SessionId) -> Result<Option<Millis>> {
    let rows = db.query(Query::point(FACTOR_AT, [id.into()])).await?;
    Ok(rows.first().map(|row| row.cursor().opt(Cursor::int)).transpose()?.flatten())
}

/// The person has proved all factors in this session now ([`REFRESHED`]). Not for browsers: see [`replace`].
pub fn refresh_proof(id: SessionId, user: UserId, now: Millis) -> Statement {
    Statement::one(REFRESHED, REFRESH_PROOF, [id.into(), user.into(), now.into()])
}

/// Requires that the person proved all factors in this session a short time ago ([`FRESH_PROOF`]).
pub fn is_fresh(id: SessionId, now: Millis) -> Statement {
    Statement::exists(FRESH_PROOF, FIND_FRESH, [id.into(), (now - FRESH).into(), (now + SKEW).into()])
}

/// Ends a login session of this user ([`ENDED`]); fails if it is not live.
pub fn end_login(id: SessionId, user: UserId, reason: &str, now: Millis) -> Statement {
    Statement::one(ENDED, END_LOGIN, [id.into(), now.into(), reason.into(), user.into()])
}

/// Ends every session of a user except one ([`ENDED`]); affects the number of live ones. The change
/// must invalidate [`Invalidation::sessions`](crate::ledger::Invalidation::sessions).
pub fn end_all(user: UserId, except: Option<SessionId>, reason: &str, now: Millis) -> Statement {
    let except = except.map(|id| id.to_string()).unwrap_or_default();
    Statement::any(ENDED, END_ALL, [user.into(), now.into(), reason.into(), except.into()])
}

/// Deletes the devices of a user who is deleted: they hold what authd said of the person.
pub fn delete_devices(user: UserId) -> Statement {
    Statement::any("delete_devices", DELETE_DEVICES, [user.into()])
}

/// Ends the sessions of a user beyond `most`, those that expire first, and writes the invalidation row if there are
/// any. [`OLDEST`] returns the user's id for each.
pub fn end_oldest(user: UserId, most: i64, now: Millis) -> [Statement; 2] {
    let params = |offset: i64| [user.into(), now.into(), offset.into(), (now + SKEW).into()];
    [
        Statement::any("invalidate_oldest", INVALIDATE_OLDEST, params(most)),
        Statement::any(OLDEST, END_OLDEST, params(most - 1)),
    ]
}

/// The token hashes and the ids of a user's sessions that are live, or were a minute ago.
pub async fn list_hashes(db: &dyn Db, user: UserId, now: Millis) -> Result<Vec<(Hash, SessionId)>> {
    let read = |row: &Row| {
        let mut row = row.cursor();
        Ok((row.bytes()?.try_into().map_err(Error::internal)?, row.id()?))
    };
    db.query(Query::new(HASHES, [user.into(), (now - MINUTE).into()])).await?.iter().map(read).collect()
}

/// The stored name of a kind.
const fn name(kind: SessionKind) -> &'static str {
    match kind {
        SessionKind::Login => "login",
        SessionKind::Web => "web",
        SessionKind::Device => "device",
    }
}

fn kind(stored: &str) -> Result<SessionKind> {
    let kind =
        [SessionKind::Login, SessionKind::Web, SessionKind::Device].into_iter().find(|kind| name(*kind) == stored);
    kind.ok_or_else(|| Error::internal(format!("a session of the kind {stored:?}")))
}

fn describe(row: &Row) -> Result<Session> {
    let mut row = row.cursor();
    let id = row.id()?;
    let kind = kind(row.text()?)?;
    let (user_id, username) = (row.opt(Cursor::id)?, row.opt(Cursor::string)?);
    let (created_at, last_used_at) = (row.int()?, row.int()?);
    let (idle_expires_at, expires_at) = (row.int()?, row.int()?);
    let session = Session {
        id,
        kind,
        user: username.unwrap_or_default(),
        user_id,
        created_at: Time::from_millis(created_at),
        last_used_at: Time::from_millis(last_used_at),
        idle_expires_at: Time::from_millis(idle_expires_at.min(expires_at)),
        expires_at: Time::from_millis(expires_at),
        ended_at: row.opt(Cursor::int)?.map(Time::from_millis),
        end_reason: row.opt(Cursor::string)?,
        provider: row.opt(Cursor::string)?,
        device_name: row.opt(Cursor::string)?,
        os: row.opt(Cursor::string)?,
        address: row.opt(Cursor::string)?,
    };
    if kind != SessionKind::Device {
        return Ok(session);
    }
    let attributes: Attributes = serde_json::from_str(row.text()?).map_err(Error::internal)?;
    Ok(Session { user: attributes.identity.display().to_owned(), ..session })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing;

    #[test]
    fn what_is_asked_of_one_session_reads_no_table() {
        testing::plans(&[FIND_LIVE, FIND_LIVE_BY_ID, SHOW, FIND_LOGIN, FIND_HOLDER]);
    }

    /// Queries that any user can make about themselves must not read the rows of others.
    #[test]
    fn what_is_asked_of_one_user_reads_that_user_alone() {
        for (sql, steps) in testing::plans(&[LIST_OF_USER, END_ALL, END_OLDEST, INVALIDATE_OLDEST, HASHES]) {
            let range = "INDEX sessions_user (user_id=? AND idle_expires_at>?";
            assert!(steps.iter().any(|step| step.contains(range)), "{sql}: {steps:?}");
        }
    }
}
