//! The SQL of sessions and identities.

use shared::api::sessions::{ListSessions, Session, SessionKind};
use shared::id::{SessionId, UserId};
use shared::time::Time;

use super::lookup::LiveSession;
use super::model::{Attributes, DeviceSession};
use crate::cache::Hash;
use crate::db::{Cursor, Db, Query, Row, Statement, Value};
use crate::env::{MINUTE, Millis, SKEW};
use crate::error::{Error, Result};
use crate::page::Page;

const FIND: &str = "SELECT id, generation, created_at, idle_expires_at, absolute_expires_at, ended_at, provider, \
     device_name, os, client_version, address, sealed, attributes, last_used_at \
     FROM sessions WHERE id = $1 AND kind = 'device'";
const LIST: &str = "SELECT s.id, s.kind, s.user_id, u.username, s.created_at, s.last_used_at, s.idle_expires_at, \
       s.absolute_expires_at, s.ended_at, s.end_reason, s.provider, s.device_name, s.os, s.address, s.attributes \
     FROM sessions s LEFT JOIN users u ON u.id = s.user_id \
     WHERE s.id < $1 AND ($2 = 1 OR (s.ended_at IS NULL AND s.idle_expires_at > $3 AND s.absolute_expires_at > $3 \
         AND s.last_used_at <= $6)) AND ($4 = '' OR s.kind = $4) \
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
       AND ($4 = '' OR s.kind = $4) \
     ORDER BY s.id DESC LIMIT $6";
const FIND_LIVE: &str = "SELECT s.id, s.user_id, u.username, u.name, s.created_at, s.renewed_at, s.idle_expires_at, \
       s.absolute_expires_at \
     FROM sessions s JOIN users u ON u.id = s.user_id \
     WHERE s.token_hash = $1 AND s.kind = 'login' AND s.ended_at IS NULL AND s.idle_expires_at > $2 \
       AND s.absolute_expires_at > $2 AND s.renewed_at <= $3 AND u.status = 'active' AND u.deleted_at IS NULL";
// The same by the session's id.
const FIND_LIVE_BY_ID: &str = "SELECT s.id, s.user_id, u.username, u.name, s.created_at, s.renewed_at, \
       s.idle_expires_at, s.absolute_expires_at \
     FROM sessions s JOIN users u ON u.id = s.user_id \
     WHERE s.id = $1 AND s.kind = 'login' AND s.ended_at IS NULL AND s.idle_expires_at > $2 \
       AND s.absolute_expires_at > $2 AND s.renewed_at <= $3 AND u.status = 'active' AND u.deleted_at IS NULL";
const INSERT_LOGIN: &str = "INSERT INTO sessions (id, kind, user_id, token_hash, generation, created_at, renewed_at, \
       last_used_at, idle_expires_at, absolute_expires_at, client_version, address, lease_until, attributes, factor_at) \
     SELECT $1, 'login', u.id, $3, 0, $4, $4, $4, $5, $6, NULL, $7, 0, '{}', $4 FROM users u \
     WHERE u.id = $2 AND u.status = 'active' AND u.deleted_at IS NULL AND COALESCE(u.password_changed_at, 0) = $8";
const SLIDE: &str = "UPDATE sessions SET renewed_at = $2, last_used_at = $2, idle_expires_at = $3 \
     WHERE id = $1 AND renewed_at = $4 AND ended_at IS NULL AND idle_expires_at > $2 AND absolute_expires_at > $2";
const FIND_LOGIN: &str = "SELECT user_id, ended_at FROM sessions WHERE id = $1 AND kind = 'login'";
const FACTOR_AT: &str = "SELECT factor_at FROM sessions WHERE id = $1";
const REFRESH_PROOF: &str = "UPDATE sessions SET factor_at = $3 WHERE id = $1 AND user_id = $2 AND ended_at IS NULL";
// Whatever the clock says: what is void now may be valid when the clock is right.
const FIND_HOLDER: &str = "SELECT id, user_id FROM sessions \
     WHERE token_hash = $1 AND kind = 'login' AND ended_at IS NULL";
// Ending sets the idle end, so that the live sessions of a user are a range of the index.
const END_LOGIN: &str = "UPDATE sessions SET ended_at = $2, end_reason = $3, \
       idle_expires_at = CASE WHEN idle_expires_at > $2 THEN $2 ELSE idle_expires_at END \
     WHERE id = $1 AND kind = 'login' AND user_id = $4 AND ended_at IS NULL";
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
const HASHES: &str = "SELECT token_hash, id FROM sessions \
     WHERE user_id = $1 AND idle_expires_at > $2 AND token_hash IS NOT NULL";
const UPSERT_IDENTITY: &str = "INSERT INTO identities (id, issuer, subject, email, name, attributes, created_at, seen_at) \
     VALUES ($1, $2, $3, $4, $5, '{}', $6, $6) \
     ON CONFLICT (issuer, subject) DO UPDATE SET email = excluded.email, name = excluded.name, seen_at = excluded.seen_at";
const INSERT: &str = "INSERT INTO sessions (id, kind, identity_id, generation, created_at, renewed_at, last_used_at, \
       idle_expires_at, absolute_expires_at, provider, device_name, os, client_version, address, lease_until, sealed, attributes) \
     VALUES ($1, 'device', (SELECT id FROM identities WHERE issuer = $2 AND subject = $3), $4, $5, $5, $5, \
       $6, $7, $8, $9, $10, $11, $12, 0, $13, $14)";
const ACKNOWLEDGE: &str = "UPDATE sessions SET generation = $2, last_used_at = $3, idle_expires_at = $4 \
     WHERE id = $1 AND generation = $2 - 1 AND ended_at IS NULL";
// A lease until after $4 is longer than any.
const LEASE: &str = "UPDATE sessions SET lease_until = $2 \
     WHERE id = $1 AND (lease_until <= $3 OR lease_until > $4) AND ended_at IS NULL";
const RELEASE: &str = "UPDATE sessions SET lease_until = 0 WHERE id = $1 AND lease_until = $2";
const KEEP: &str = "UPDATE sessions SET sealed = $2 WHERE id = $1 AND ended_at IS NULL";
const RENEW: &str = "UPDATE sessions SET sealed = $2, attributes = $3, renewed_at = $4, last_used_at = $4, \
       idle_expires_at = $5, absolute_expires_at = $6, lease_until = 0 \
     WHERE id = $1 AND lease_until = $7 AND ended_at IS NULL";
const END: &str = "UPDATE sessions SET ended_at = $2, end_reason = $3, token_hash = NULL, sealed = NULL \
     WHERE id = $1 AND kind = 'device' AND ended_at IS NULL";
const TO_OUTBOX: &str = "INSERT INTO outbox (kind, subject, detail, payload, created_at, attempts, attempt_after) \
     SELECT 'device_ended', id, provider, sealed, CAST($2 AS BIGINT), 0, CAST($2 AS BIGINT) FROM sessions \
     WHERE id = $1 AND kind = 'device' AND ended_at IS NULL AND sealed IS NOT NULL";
// Due rows, and rows whose time is so far in the future that a wrong clock must have set it.
const OUTBOX: &str = "SELECT seq, subject, detail, payload, attempts, attempt_after FROM outbox \
     WHERE kind = 'device_ended' AND (attempt_after <= $1 OR attempt_after > $2) ORDER BY attempt_after LIMIT $3";
const CLAIM_OUTBOX: &str =
    "UPDATE outbox SET attempts = attempts + 1, attempt_after = $2 WHERE seq = $1 AND attempt_after = $3";
const DELETE_OUTBOX: &str = "DELETE FROM outbox WHERE seq = $1";

/// Deletes sessions that were unusable at a given time; the parameters are the time and the maximum number of rows. An
/// ended one stays until its idle end, so that lists can show it.
pub const SWEEP: &str = "DELETE FROM sessions WHERE id IN \
     (SELECT id FROM sessions WHERE idle_expires_at <= $1 ORDER BY idle_expires_at LIMIT $2)";

/// Names of statements whose failure has a meaning.
pub const NEW_LOGIN: &str = "insert_login";
pub const NEW_DEVICE: &str = "insert_device";
pub const OLDEST: &str = "end_oldest";
/// The statement that ends a session; it fails if the session had ended before.
pub const ENDED: &str = "end_session";
/// The statement that requires a live device session; it fails if it has ended, or another node has the lease.
pub const LIVE: &str = "live_session";

/// A device session by its id, ended ones too.
pub async fn find(db: &dyn Db, id: SessionId) -> Result<Option<DeviceSession>> {
    db.query(Query::point(FIND, [id.into()])).await?.first().map(read).transpose()
}

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
        Some(SessionKind::Device) => "device",
        Some(SessionKind::Login) => "login",
    };
    // Every id sorts before "g": UUIDs are lower-case hex.
    let (before, ended) = (page.after_or("g"), i64::from(op.include_ended).into());
    let latest = (now + SKEW).into();
    let query = match user {
        None => Query::new(LIST, [before, ended, now.into(), kind.into(), page.rows(), latest]),
        Some(user) => {
            let after = if op.include_ended { Millis::MIN } else { now };
            Query::new(LIST_OF_USER, [before, ended, after.into(), kind.into(), user.into(), page.rows(), latest])
        }
    };
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

/// A new login session.
#[derive(Debug)]
pub struct NewLogin {
    pub id: SessionId,
    pub user: UserId,
    pub hash: Hash,
    pub now: Millis,
    pub idle_expires_at: Millis,
    pub absolute_expires_at: Millis,
    pub address: Option<String>,
    /// When the verified password was set.
    pub password_changed_at: Millis,
}

/// Inserts a login session ([`NEW_LOGIN`]). Fails if the user is no longer active, or the password was changed after it
/// was verified.
pub fn insert_login(login: &NewLogin) -> Statement {
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

/// The person has proved all factors in this session now.
pub fn refresh_proof(id: SessionId, user: UserId, now: Millis) -> Statement {
    Statement::one("refresh_proof", REFRESH_PROOF, [id.into(), user.into(), now.into()])
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

/// The statements that insert a session and its identity. A second session with the same id is a duplicate
/// ([`NEW_DEVICE`]).
pub fn insert(session: &DeviceSession, identity_id: String) -> Result<Vec<Statement>> {
    let identity = &session.attributes.identity;
    let (issuer, subject): (Value, Value) = (identity.issuer.as_str().into(), identity.subject.as_str().into());
    let upsert = Statement::one(
        "upsert_identity",
        UPSERT_IDENTITY,
        [
            identity_id.into(),
            issuer.clone(),
            subject.clone(),
            identity.email.clone().into(),
            identity.name.clone().into(),
            session.created_at.into(),
        ],
    );
    let insert = Statement::one(
        NEW_DEVICE,
        INSERT,
        [
            session.id.into(),
            issuer,
            subject,
            session.generation.into(),
            session.created_at.into(),
            session.idle_expires_at.into(),
            session.absolute_expires_at.into(),
            session.provider.as_str().into(),
            session.device_name.clone().into(),
            session.os.clone().into(),
            session.client_version.clone().into(),
            session.address.clone().into(),
            session.sealed.clone().into(),
            attributes(session)?,
        ],
    );
    Ok(vec![upsert, insert])
}

/// Invalidates the tokens before this generation; fails if another call did so, or the session has ended.
pub fn acknowledge(id: SessionId, generation: i64, now: Millis, idle_expires_at: Millis) -> Statement {
    Statement::one("acknowledge", ACKNOWLEDGE, [id.into(), generation.into(), now.into(), idle_expires_at.into()])
}

/// Takes the lease for a renewal until a time; fails while another node has it.
pub fn lease(id: SessionId, until: Millis, now: Millis) -> Statement {
    Statement::one("lease", LEASE, [id.into(), until.into(), now.into(), (until + SKEW).into()])
}

/// Releases a lease before its end.
pub fn release(id: SessionId, until: Millis) -> Statement {
    Statement::any("release", RELEASE, [id.into(), until.into()])
}

/// Stores a rotated token of the provider, before any other step; fails if the session has ended.
pub fn keep(id: SessionId, sealed: Vec<u8>) -> Statement {
    Statement::one(LIVE, KEEP, [id.into(), sealed.into()])
}

/// Stores a renewal under the lease until `lease`, and releases the lease. Fails if the session has ended meanwhile, or
/// the lease has expired and another node has taken its own.
pub fn renew(session: &DeviceSession, lease: Millis, now: Millis) -> Result<Statement> {
    let params = [
        session.id.into(),
        session.sealed.clone().into(),
        attributes(session)?,
        now.into(),
        session.idle_expires_at.into(),
        session.absolute_expires_at.into(),
        lease.into(),
    ];
    Ok(Statement::one(LIVE, RENEW, params))
}

/// Ends a device session ([`ENDED`]); fails if it has ended already. The provider's tokens are moved to the outbox.
pub fn end(id: SessionId, reason: &str, now: Millis) -> [Statement; 2] {
    [
        Statement::any("outbox", TO_OUTBOX, [id.into(), now.into()]),
        Statement::one(ENDED, END, [id.into(), now.into(), reason.into()]),
    ]
}

/// An ended device session whose provider has to be informed.
#[derive(Debug)]
pub struct EndedDevice {
    seq: i64,
    pub id: SessionId,
    pub provider: String,
    pub sealed: Vec<u8>,
    pub attempts: i64,
    attempt_after: Millis,
}

/// The due rows of the outbox, at most `limit`. No attempt is delayed for longer than `longest`.
pub async fn list_outbox(db: &dyn Db, now: Millis, longest: Millis, limit: i64) -> Result<Vec<EndedDevice>> {
    let read = |row: &Row| -> Result<EndedDevice> {
        let mut row = row.cursor();
        Ok(EndedDevice {
            seq: row.int()?,
            id: row.id()?,
            provider: row.string()?,
            sealed: row.bytes()?.to_vec(),
            attempts: row.int()?,
            attempt_after: row.int()?,
        })
    };
    let query = Query::new(OUTBOX, [now.into(), (now + longest).into(), limit.into()]);
    db.query(query).await?.iter().map(read).collect()
}

/// Claims the next attempt, and schedules the one after it; fails if another node has claimed it.
pub fn claim_outbox(device: &EndedDevice, attempt_after: Millis) -> Statement {
    Statement::one("claim_outbox", CLAIM_OUTBOX, [device.seq.into(), attempt_after.into(), device.attempt_after.into()])
}

/// Deletes an ended session from the outbox.
pub fn delete_outbox(device: &EndedDevice) -> Statement {
    Statement::any("delete_outbox", DELETE_OUTBOX, [Value::from(device.seq)])
}

fn attributes(session: &DeviceSession) -> Result<Value> {
    Ok(serde_json::to_string(&session.attributes).map_err(Error::internal)?.into())
}

fn describe(row: &Row) -> Result<Session> {
    let mut row = row.cursor();
    let id = row.id()?;
    let is_device = row.text()? == "device";
    let (user_id, username) = (row.opt(Cursor::id)?, row.opt(Cursor::string)?);
    let (created_at, last_used_at) = (row.int()?, row.int()?);
    let (idle_expires_at, expires_at) = (row.int()?, row.int()?);
    let session = Session {
        id,
        kind: if is_device { SessionKind::Device } else { SessionKind::Login },
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
    if !is_device {
        return Ok(session);
    }
    let attributes: Attributes = serde_json::from_str(row.text()?).map_err(Error::internal)?;
    Ok(Session { user: attributes.identity.display().to_owned(), ..session })
}

fn read(row: &Row) -> Result<DeviceSession> {
    let mut row = row.cursor();
    Ok(DeviceSession {
        id: row.id()?,
        generation: row.int()?,
        created_at: row.int()?,
        idle_expires_at: row.int()?,
        absolute_expires_at: row.int()?,
        ended_at: row.opt(Cursor::int)?,
        provider: row.opt(Cursor::string)?.unwrap_or_default(),
        device_name: row.opt(Cursor::string)?,
        os: row.opt(Cursor::string)?,
        client_version: row.opt(Cursor::string)?,
        address: row.opt(Cursor::string)?,
        sealed: row.opt(Cursor::bytes)?.map(<[u8]>::to_vec),
        attributes: serde_json::from_str(row.text()?).map_err(Error::internal)?,
        last_used_at: row.int()?,
    })
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
