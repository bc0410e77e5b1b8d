//! The SQL of sessions and identities.

use shared::id::SessionId;

use super::model::DeviceSession;
use crate::db::{Db, DbError, Query, Row, Statement, Value, sweep};
use crate::error::{Error, Result};
use crate::world::Millis;

const FIND: &str = "SELECT id, generation, created_at, last_used_at, idle_expires_at, absolute_expires_at, ended_at, \
     end_reason, provider, device_name, os, client_version, address, sealed, attributes \
     FROM sessions WHERE id = $1 AND kind = 'device'";
const LIST: &str = "SELECT id, generation, created_at, last_used_at, idle_expires_at, absolute_expires_at, ended_at, \
     end_reason, provider, device_name, os, client_version, address, NULL, attributes \
     FROM sessions WHERE kind = 'device' AND id < $1 \
       AND ($2 = 1 OR (ended_at IS NULL AND idle_expires_at > $3 AND absolute_expires_at > $3)) \
     ORDER BY id DESC LIMIT $4";
const UPSERT_IDENTITY: &str = "INSERT INTO identities (id, issuer, subject, email, name, attributes, created_at, seen_at) \
     VALUES ($1, $2, $3, $4, $5, '{}', $6, $6) \
     ON CONFLICT (issuer, subject) DO UPDATE SET email = excluded.email, name = excluded.name, seen_at = excluded.seen_at";
const INSERT: &str = "INSERT INTO sessions (id, kind, identity_id, generation, created_at, renewed_at, last_used_at, \
       idle_expires_at, absolute_expires_at, provider, device_name, os, client_version, address, lease_until, sealed, attributes) \
     VALUES ($1, 'device', (SELECT id FROM identities WHERE issuer = $2 AND subject = $3), $4, $5, $5, $6, \
       $7, $8, $9, $10, $11, $12, $13, 0, $14, $15)";
const ACKNOWLEDGE: &str = "UPDATE sessions SET generation = $2, last_used_at = $3, idle_expires_at = $4 \
     WHERE id = $1 AND generation = $2 - 1 AND ended_at IS NULL";
const LEASE: &str = "UPDATE sessions SET lease_until = $2 WHERE id = $1 AND lease_until <= $3 AND ended_at IS NULL";
const RELEASE: &str = "UPDATE sessions SET lease_until = 0 WHERE id = $1 AND lease_until = $2";
const KEEP: &str = "UPDATE sessions SET sealed = $2 WHERE id = $1 AND ended_at IS NULL";
const RENEW: &str = "UPDATE sessions SET sealed = $2, attributes = $3, renewed_at = $4, last_used_at = $4, \
       idle_expires_at = $5, absolute_expires_at = $6, lease_until = 0 \
     WHERE id = $1 AND lease_until = $7 AND ended_at IS NULL";
const END: &str = "UPDATE sessions SET ended_at = $2, end_reason = $3, token_hash = NULL, sealed = NULL \
     WHERE id = $1 AND kind = 'device' AND ended_at IS NULL";
const SWEEP: &str = "DELETE FROM sessions WHERE id IN \
     (SELECT id FROM sessions WHERE idle_expires_at <= $1 ORDER BY idle_expires_at LIMIT $2)";

/// Removes sessions that could not be used any more at `before`, at most `limit`. One that was ended stays until its
/// idle time is over too, so that lists can still tell why. Answers how many went.
pub async fn sweep(db: &dyn Db, before: Millis, limit: u64) -> Result<u64, DbError> {
    sweep::expired(db, SWEEP, before, limit).await
}

/// A device session by its id, ended ones too.
pub async fn find(db: &dyn Db, id: SessionId) -> Result<Option<DeviceSession>> {
    let rows = db.query(Query::point(FIND, [id.to_string().into()])).await?;
    rows.first().map(read).transpose()
}

/// Device sessions below an id, newest first.
pub async fn list(
    db: &dyn Db,
    before: &str,
    include_ended: bool,
    now: Millis,
    limit: usize,
) -> Result<Vec<DeviceSession>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let params = [before.into(), i64::from(include_ended).into(), now.into(), limit.into()];
    db.query(Query::new(LIST, params)).await?.iter().map(read).collect()
}

/// The statements that make a session and its identity. A second session of the same id is a duplicate.
pub fn insert(session: &DeviceSession, identity_id: String) -> Result<Vec<Statement>> {
    let identity = &session.attributes.identity;
    let (issuer, subject): (Value, Value) = (identity.issuer.as_str().into(), identity.subject.as_str().into());
    let upsert = Statement::one(
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
        INSERT,
        [
            session.id.to_string().into(),
            issuer,
            subject,
            session.generation.into(),
            session.created_at.into(),
            session.last_used_at.into(),
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

/// Retires the tokens before this generation; unmet when somebody else did, or the session has ended.
pub fn acknowledge(id: SessionId, generation: i64, now: Millis, idle_expires_at: Millis) -> Statement {
    Statement::one(ACKNOWLEDGE, [id.to_string().into(), generation.into(), now.into(), idle_expires_at.into()])
}

/// Takes the right to renew until a time; unmet while another node has it.
pub fn lease(id: SessionId, until: Millis, now: Millis) -> Statement {
    Statement::one(LEASE, [id.to_string().into(), until.into(), now.into()])
}

/// Gives a lease back before its end.
pub fn release(id: SessionId, until: Millis) -> Statement {
    Statement::any(RELEASE, [id.to_string().into(), until.into()])
}

/// Keeps what the provider rotated, before anything else happens; unmet when the session has ended.
pub fn keep(id: SessionId, sealed: Vec<u8>) -> Statement {
    Statement::one(KEEP, [id.to_string().into(), sealed.into()])
}

/// A finished renewal under the lease until `lease`; it gives that back. Unmet when the session has ended meanwhile, or
/// the lease is over and another node has taken its own.
pub fn renew(session: &DeviceSession, lease: Millis, now: Millis) -> Result<Statement> {
    let params = [
        session.id.to_string().into(),
        session.sealed.clone().into(),
        attributes(session)?,
        now.into(),
        session.idle_expires_at.into(),
        session.absolute_expires_at.into(),
        lease.into(),
    ];
    Ok(Statement::one(RENEW, params))
}

/// Ends a session and forgets the provider's tokens; unmet when it has ended already.
pub fn end(id: SessionId, reason: &str, now: Millis) -> Statement {
    Statement::one(END, [id.to_string().into(), now.into(), reason.into()])
}

fn attributes(session: &DeviceSession) -> Result<Value> {
    Ok(serde_json::to_string(&session.attributes).map_err(Error::internal)?.into())
}

fn read(row: &Row) -> Result<DeviceSession> {
    let opt_text = |column| -> Result<Option<String>, DbError> { Ok(row.opt_text(column)?.map(str::to_owned)) };
    Ok(DeviceSession {
        id: row.text(0)?.parse().map_err(Error::internal)?,
        generation: row.int(1)?,
        created_at: row.int(2)?,
        last_used_at: row.int(3)?,
        idle_expires_at: row.int(4)?,
        absolute_expires_at: row.int(5)?,
        ended_at: row.opt_int(6)?,
        end_reason: opt_text(7)?,
        provider: opt_text(8)?.unwrap_or_default(),
        device_name: opt_text(9)?,
        os: opt_text(10)?,
        client_version: opt_text(11)?,
        address: opt_text(12)?,
        sealed: row.opt_bytes(13)?.map(<[u8]>::to_vec),
        attributes: serde_json::from_str(row.text(14)?).map_err(Error::internal)?,
    })
}
