//! The SQL of API tokens.

use std::sync::atomic::AtomicU32;

use shared::api::tokens::Token;
use shared::id::TokenId;
use shared::time::Time;
use uuid::Uuid;

use super::model::CachedToken;
use super::scope_sets::ScopeSets;
use crate::cache::Hash;
use crate::db::{Batch, Cursor, Db, Query, Row, Statement, Value, split_hash};
use crate::env::{DAY, Millis, SKEW};
use crate::error::{Error, Result};

fn id_bytes(token_id: TokenId) -> Value {
    token_id.0.into_bytes().into()
}

/// A token by one of its secrets.
pub async fn find_secret(db: &dyn Db, sets: &ScopeSets, hash: &Hash) -> Result<Option<CachedToken>> {
    let sql = "SELECT token_id, name, scopes, cidrs, expires_at, replaced_until, revoked \
               FROM secrets WHERE slot = $1 AND rest = $2";
    let (slot, rest) = split_hash(hash);
    let read = |row: &Row| -> Result<CachedToken> {
        let mut row = row.cursor();
        Ok(CachedToken {
            token_id: TokenId(Uuid::from_slice(row.bytes()?).map_err(Error::internal)?),
            name: row.text()?.into(),
            scopes: sets.intern(row.text()?)?,
            cidrs: json(row.text()?)?,
            expires_at: row.opt(Cursor::int)?.unwrap_or(Millis::MAX),
            replaced_until: row.opt(Cursor::int)?.unwrap_or(Millis::MAX),
            revoked: row.bool()?,
            marked: AtomicU32::new(0),
        })
    };
    db.query(Query::point(sql, [slot, rest])).await?.first().map(read).transpose()
}

/// The secrets of a token (`$1`: its id as text, `$2`: as bytes): the newest one and the replaced ones.
macro_rules! of_token {
    ($begin:literal) => {
        concat!(
            $begin,
            " WHERE slot = (SELECT secret FROM tokens WHERE id = $1) OR (token_id = $2 AND replaced_until IS NOT NULL)"
        )
    };
}

fn both_ids(token_id: TokenId) -> [Value; 2] {
    [token_id.into(), id_bytes(token_id)]
}

/// The hashes of every secret of a token, for invalidation.
pub async fn list_hashes(db: &dyn Db, token_id: TokenId) -> Result<Vec<Hash>> {
    let rows = db.query(Query::new(of_token!("SELECT slot, rest FROM secrets"), both_ids(token_id))).await?;
    let join = |row: &Row| {
        let mut row = row.cursor();
        let hash = [&row.int()?.to_be_bytes(), row.bytes()?].concat();
        hash.try_into().map_err(|_| Error::internal("a hash of another length"))
    };
    rows.iter().map(join).collect()
}

macro_rules! select_tokens {
    ($rest:expr) => {
        concat!(
            "SELECT id, name, scopes, created_at, created_by, expires_at, revoked_at, revoke_reason, last_used_at, \
             metadata, cidrs FROM tokens ",
            $rest
        )
    };
}

pub(super) use select_tokens;

/// Finds a token by id, or a live one by name.
pub async fn find(db: &dyn Db, id_or_name: &str) -> Result<Option<Token>> {
    let query = match id_or_name.parse::<TokenId>() {
        Ok(id) => Query::point(select_tokens!("WHERE id = $1"), [id.into()]),
        Err(_) => Query::point(select_tokens!("WHERE live_name = $1"), [Value::from(id_or_name)]),
    };
    db.query(query).await?.first().map(read).transpose()
}

pub(super) fn read(row: &Row) -> Result<Token> {
    let mut row = row.cursor();
    let token = Token {
        token_id: row.id()?,
        name: row.string()?,
        scopes: json(row.text()?)?,
        created_at: Time::from_millis(row.int()?),
        created_by: row.string()?,
        expires_at: row.opt(Cursor::int)?.map(Time::from_millis),
        revoked: false,
        revoked_at: row.opt(Cursor::int)?.map(Time::from_millis),
        revoke_reason: row.opt(Cursor::string)?,
        last_used_at: row.opt(Cursor::int)?.map(Time::from_millis),
        metadata: json(row.text()?)?,
        cidrs: json(row.text()?)?,
        previous_expires_at: None,
    };
    Ok(Token { revoked: token.revoked_at.is_some(), ..token })
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(Error::internal)
}

/// Until when a secret of a token that a rotation replaced works at the latest, if there is one.
pub async fn find_previous_end(db: &dyn Db, token_id: TokenId) -> Result<Option<Millis>> {
    let sql = "SELECT MAX(replaced_until) FROM secrets WHERE token_id = $1 AND replaced_until IS NOT NULL";
    let rows = db.query(Query::point(sql, [id_bytes(token_id)])).await?;
    Ok(rows.first().map(|row| row.cursor().opt(Cursor::int)).transpose()?.flatten())
}

/// How long replaced secrets are kept, so that their use can be distinguished from an unknown token.
pub const SECRET_KEPT: Millis = 30 * DAY;

/// Deletes secrets that were replaced long ago; the parameters are the time and the maximum number of rows.
pub const SWEEP_SECRETS: &str = "DELETE FROM secrets WHERE slot IN \
     (SELECT slot FROM secrets WHERE replaced_until <= $1 ORDER BY replaced_until LIMIT $2)";

/// Names of statements whose failure has a meaning.
pub const INSERT_TOKEN: &str = "insert_token";
pub const INSERT_IDEMPOTENCY: &str = "insert_idempotency";
pub const FREE_NAME: &str = "free_name";
pub const REVOKE: &str = "revoke_token";
pub const EXTEND: &str = "extend_token";
pub const ROTATE: &str = "rotate_token";
/// Returns the ids of the tokens that it has revoked.
pub const REVOKE_ALL: &str = "revoke_all_tokens";

/// Removes the name from an expired token ([`FREE_NAME`] fails if there is none). Not part of [`insert`], because
/// nearly every name is free.
pub fn free_name(name: &str, now: Millis) -> Statement {
    Statement::one(
        FREE_NAME,
        "UPDATE tokens SET live_name = NULL WHERE live_name = $1 AND expires_at <= $2",
        [name.into(), now.into()],
    )
}

/// Inserts a token with its secret. [`INSERT_TOKEN`] is a duplicate if a live token has the name.
pub fn insert(token: &Token, hash: &Hash) -> Result<Batch> {
    let text = |value: serde_json::Result<String>| value.map(Value::Text).map_err(Error::internal);
    let scopes = text(serde_json::to_string(&token.scopes))?;
    let cidrs = text(serde_json::to_string(&token.cidrs))?;
    let expires_at = Value::from(token.expires_at.map(Time::millis));
    let (slot, rest) = split_hash(hash);
    Ok(vec![
        Statement::one(
            INSERT_TOKEN,
            "INSERT INTO tokens (id, name, live_name, scopes, metadata, cidrs, created_at, created_by, expires_at, secret) \
             VALUES ($1, $2, $2, $3, $4, $5, $6, $7, $8, $9)",
            [
                token.token_id.into(),
                token.name.as_str().into(),
                scopes.clone(),
                text(serde_json::to_string(&token.metadata))?,
                cidrs.clone(),
                token.created_at.millis().into(),
                token.created_by.as_str().into(),
                expires_at.clone(),
                slot.clone(),
            ],
        ),
        Statement::one(
            "insert_secret",
            "INSERT INTO secrets (slot, rest, token_id, name, scopes, cidrs, expires_at, revoked) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, 0)",
            [slot, rest, id_bytes(token.token_id), token.name.as_str().into(), scopes, cidrs, expires_at],
        ),
        Statement::add(
            "count_tokens",
            "UPDATE counters SET value = value + $1 WHERE name IN ('tokens.live', 'tokens.all')",
            1,
        ),
    ])
}

/// Revokes the token and frees its name. [`REVOKE`] fails if it is revoked already.
pub fn revoke(token_id: TokenId, reason: Option<&str>, now: Millis) -> Batch {
    vec![
        Statement::one(
            REVOKE,
            "UPDATE tokens SET revoked_at = $2, revoke_reason = $3, live_name = NULL WHERE id = $1 AND revoked_at IS NULL",
            [token_id.into(), now.into(), reason.into()],
        ),
        Statement::any("revoke_secrets", of_token!("UPDATE secrets SET revoked = 1"), both_ids(token_id)),
        Statement::add("count_tokens", "UPDATE counters SET value = value + $1 WHERE name = 'tokens.live'", -1),
    ]
}

/// Revokes every token with exactly this set of scopes (a JSON array) and frees their names. [`REVOKE_ALL`] returns the
/// ids of those that were live; their invalidation rows are written.
pub fn revoke_all(scopes: &str, reason: &str, now: Millis) -> Batch {
    vec![
        Statement::one(
            "count_tokens",
            "UPDATE counters SET value = value - (SELECT COUNT(*) FROM tokens WHERE scopes = $1 AND revoked_at IS NULL) \
             WHERE name = 'tokens.live'",
            [scopes.into()],
        ),
        Statement::any(
            "invalidate_tokens",
            "INSERT INTO invalidations (kind, subject, at) \
             SELECT 'token', id, CAST($2 AS BIGINT) FROM tokens WHERE scopes = $1 AND revoked_at IS NULL",
            [scopes.into(), now.into()],
        ),
        // This includes tokens that were revoked before, which makes no difference.
        Statement::any(
            "revoke_secrets",
            "UPDATE secrets SET revoked = 1 WHERE slot IN (SELECT secret FROM tokens WHERE scopes = $1) \
             OR (replaced_until IS NOT NULL AND scopes = $1)",
            [scopes.into()],
        ),
        Statement::any(
            REVOKE_ALL,
            "UPDATE tokens SET revoked_at = $2, revoke_reason = $3, live_name = NULL \
             WHERE scopes = $1 AND revoked_at IS NULL RETURNING id",
            [scopes.into(), now.into(), reason.into()],
        ),
    ]
}

/// Changes the expiry of a live token, if it is still the one that the caller read ([`EXTEND`] fails otherwise). It is
/// a duplicate if another token has taken the name of an expired one.
pub fn extend(token: &Token, expires_at: Millis) -> Batch {
    let [text, bytes] = both_ids(token.token_id);
    vec![
        Statement::one(
            EXTEND,
            "UPDATE tokens SET expires_at = $2, live_name = name \
             WHERE id = $1 AND revoked_at IS NULL AND expires_at = $3",
            [text.clone(), expires_at.into(), token.expires_at.map(Time::millis).into()],
        ),
        Statement::any(
            "extend_secrets",
            of_token!("UPDATE secrets SET expires_at = $3"),
            [text, bytes, expires_at.into()],
        ),
    ]
}

/// Adds a secret to a token that is not revoked ([`ROTATE`] fails otherwise); the others expire at `previous_end` at
/// the latest.
pub fn rotate(token_id: TokenId, hash: &Hash, previous_end: Millis) -> Batch {
    let [text, bytes] = both_ids(token_id);
    let (slot, rest) = split_hash(hash);
    vec![
        // In PostgreSQL this locks the token against other changes until the commit.
        Statement::one(
            ROTATE,
            "UPDATE tokens SET live_name = live_name WHERE id = $1 AND revoked_at IS NULL",
            [text.clone()],
        ),
        // The values are copied from the token's row, since the token may have been extended meanwhile.
        Statement::one(
            "insert_secret",
            "INSERT INTO secrets (slot, rest, token_id, name, scopes, cidrs, expires_at, revoked) \
             SELECT $2, $3, $4, name, scopes, cidrs, expires_at, 0 FROM tokens WHERE id = $1",
            [text.clone(), slot.clone(), rest, bytes.clone()],
        ),
        Statement::any(
            "replace_secrets",
            "UPDATE secrets SET replaced_until = $3 \
             WHERE (slot = (SELECT secret FROM tokens WHERE id = $1) OR (token_id = $2 AND replaced_until IS NOT NULL)) \
             AND (replaced_until IS NULL OR replaced_until > $3)",
            [text.clone(), bytes, previous_end.into()],
        ),
        Statement::one("name_secret", "UPDATE tokens SET secret = $2 WHERE id = $1", [text, slot]),
    ]
}

/// Records uses, each with its time; a later time is kept, unless a wrong clock has set it.
pub fn mark_used(uses: impl IntoIterator<Item = (TokenId, Millis)>) -> Batch {
    uses.into_iter()
        .map(|(id, at)| {
            Statement::any(
                "mark_used",
                "UPDATE tokens SET last_used_at = $2 \
                 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2 OR last_used_at > $3)",
                [id.into(), at.into(), (at + SKEW).into()],
            )
        })
        .collect()
}

/// The use of an `Idempotency-Key`.
#[derive(Debug)]
pub struct Used {
    /// SHA-256 of the request.
    pub request: [u8; 32],
    pub token_id: TokenId,
    pub key_id: String,
    /// When the key was used.
    pub at: Millis,
}

/// How long a retry with the same `Idempotency-Key` gets the same answer. An end further away is void.
const IDEMPOTENCY_LIFE: Millis = DAY;

pub async fn find_idempotency(db: &dyn Db, key: &[u8; 32], now: Millis) -> Result<Option<Used>> {
    let sql = "SELECT request, subject, key_id, created_at FROM idempotency WHERE key = $1 \
         AND expires_at > $2 AND expires_at <= $3";
    let read = |row: &Row| {
        let mut row = row.cursor();
        let request = row.bytes()?.try_into().map_err(Error::internal)?;
        Ok(Used { request, token_id: row.id()?, key_id: row.string()?, at: row.int()? })
    };
    db.query(Query::point(sql, [(*key).into(), now.into(), (now + IDEMPOTENCY_LIFE + SKEW).into()]))
        .await?
        .first()
        .map(read)
        .transpose()
}

/// Records a use, and replaces an expired or void one. [`INSERT_IDEMPOTENCY`] fails if there is a live one.
pub fn insert_idempotency(key: &[u8; 32], used: &Used) -> Statement {
    let expires_at = used.at + IDEMPOTENCY_LIFE;
    Statement::one(
        INSERT_IDEMPOTENCY,
        "INSERT INTO idempotency (key, request, subject, key_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (key) DO UPDATE SET request = excluded.request, subject = excluded.subject, \
         key_id = excluded.key_id, created_at = excluded.created_at, expires_at = excluded.expires_at \
         WHERE idempotency.expires_at <= excluded.created_at OR idempotency.expires_at > $7",
        [
            (*key).into(),
            used.request.into(),
            used.token_id.into(),
            used.key_id.as_str().into(),
            used.at.into(),
            expires_at.into(),
            (expires_at + SKEW).into(),
        ],
    )
}
