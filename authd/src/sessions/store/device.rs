//! The SQL of device sessions and their identities. The provider is told of their end through the outbox.

use shared::id::{SessionId, UserId};

use super::super::model::DeviceSession;
use super::{ENDED, identity};
use crate::db::{Cursor, Db, Query, Row, Statement, Value};
use crate::env::{Millis, SKEW};
use crate::error::{Error, Result};

const FIND: &str = "SELECT id, generation, created_at, idle_expires_at, absolute_expires_at, ended_at, provider, \
     device_name, os, client_version, address, sealed, attributes, last_used_at, user_id, end_reason \
     FROM sessions WHERE id = $1 AND kind = 'device'";
const INSERT: &str = "INSERT INTO sessions (id, kind, identity_id, generation, created_at, renewed_at, last_used_at, \
       idle_expires_at, absolute_expires_at, provider, device_name, os, client_version, address, lease_until, sealed, attributes) \
     VALUES ($1, 'device', (SELECT id FROM identities WHERE issuer = $2 AND subject = $3), $4, $5, $5, $5, \
       $6, $7, $8, $9, $10, $11, $12, 0, $13, $14)";
// The browser's session has proved who it is: it is live, and the password is the one that there was.
const INSERT_OF_USER: &str = "INSERT INTO sessions (id, kind, user_id, generation, created_at, renewed_at, last_used_at, \
       idle_expires_at, absolute_expires_at, provider, device_name, os, client_version, address, lease_until, attributes) \
     SELECT $1, 'device', u.id, CAST($3 AS BIGINT), CAST($4 AS BIGINT), CAST($4 AS BIGINT), CAST($4 AS BIGINT), \
       CAST($5 AS BIGINT), CAST($6 AS BIGINT), $7, $8, $9, $10, $11, 0, $12 \
     FROM sessions s JOIN users u ON u.id = s.user_id \
     WHERE s.id = $2 AND s.kind = 'web' AND s.ended_at IS NULL AND s.idle_expires_at > CAST($4 AS BIGINT) \
       AND s.absolute_expires_at > CAST($4 AS BIGINT) AND COALESCE(u.password_changed_at, 0) = $13 \
       AND u.status = 'active' AND u.deleted_at IS NULL";
const FIND_LAST: &str = "SELECT 1 FROM sessions WHERE user_id = $1 AND idle_expires_at > $2 AND kind = 'device' \
     AND ended_at IS NULL LIMIT 1 OFFSET $3";
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
const SIBLING: &str = "SELECT live.id FROM sessions ended JOIN sessions live ON live.identity_id = ended.identity_id \
     WHERE ended.id = $1 AND live.id <> ended.id AND live.kind = 'device' AND live.ended_at IS NULL \
       AND live.idle_expires_at > $2 AND live.absolute_expires_at > $2 LIMIT 1";
const TO_OUTBOX: &str = "INSERT INTO outbox (kind, subject, detail, payload, created_at, attempts, attempt_after) \
     SELECT 'device_ended', id, provider, sealed, CAST($2 AS BIGINT), 0, CAST($2 AS BIGINT) FROM sessions \
     WHERE id = $1 AND kind = 'device' AND ended_at IS NULL AND sealed IS NOT NULL";
// Due rows, and rows whose time is so far in the future that a wrong clock must have set it.
const OUTBOX: &str = "SELECT seq, subject, detail, payload, attempts, attempt_after FROM outbox \
     WHERE kind = 'device_ended' AND (attempt_after <= $1 OR attempt_after > $2) ORDER BY attempt_after LIMIT $3";
const CLAIM_OUTBOX: &str =
    "UPDATE outbox SET attempts = attempts + 1, attempt_after = $2 WHERE seq = $1 AND attempt_after = $3";
const DELETE_OUTBOX: &str = "DELETE FROM outbox WHERE seq = $1";

/// Names of statements whose failure has a meaning.
pub const NEW_DEVICE: &str = "insert_device";
/// The user has [`MOST`].
pub const FULL: &str = "has_room_for_device";
/// Maximum number of live devices of a user of authd's own.
pub const MOST: i64 = 64;
/// The statement that requires a live device session; it fails if it has ended, or another node has the lease.
pub const LIVE: &str = "live_session";

/// A device session by its id, ended ones too.
pub async fn find(db: &dyn Db, id: SessionId) -> Result<Option<DeviceSession>> {
    db.query(Query::point(FIND, [id.into()])).await?.first().map(read).transpose()
}

/// The statements that insert a session and its identity. A second session with the same id is a duplicate
/// ([`NEW_DEVICE`]).
pub fn insert(session: &DeviceSession, identity_id: String) -> Result<Vec<Statement>> {
    let identity = &session.attributes.identity;
    let upsert = identity::upsert(identity, identity_id, session.created_at);
    let [issuer, subject] = identity::key(identity);
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

/// The same for a device of a user, whose session of this browser proves it: it fails ([`NEW_DEVICE`]) if that has ended.
pub fn insert_of_user(session: &DeviceSession, browser: SessionId, password_changed_at: Millis) -> Result<Statement> {
    let params = [
        session.id.into(),
        browser.into(),
        session.generation.into(),
        session.created_at.into(),
        session.idle_expires_at.into(),
        session.absolute_expires_at.into(),
        session.provider.as_str().into(),
        session.device_name.clone().into(),
        session.os.clone().into(),
        session.client_version.clone().into(),
        session.address.clone().into(),
        attributes(session)?,
        password_changed_at.into(),
    ];
    Ok(Statement::one(NEW_DEVICE, INSERT_OF_USER, params))
}

/// Requires that the user has room for one more device ([`FULL`]).
pub fn has_room(user: UserId, now: Millis) -> Statement {
    Statement::absent(FULL, FIND_LAST, [user.into(), now.into(), (MOST - 1).into()])
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

/// Whether the identity of an ended session has a live one.
pub async fn has_sibling(db: &dyn Db, ended: SessionId, now: Millis) -> Result<bool> {
    Ok(!db.query(Query::new(SIBLING, [ended.into(), now.into()])).await?.is_empty())
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
        user: row.opt(Cursor::id)?,
        end_reason: row.opt(Cursor::string)?,
    })
}
