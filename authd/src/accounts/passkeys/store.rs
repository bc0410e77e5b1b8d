//! The SQL of passkeys, in the table of factors: the handle is the id of the credential.

use serde::{Deserialize, Serialize};
use shared::api::passkeys::{CredentialDescriptor, MAX_PUBLIC_KEY, Passkey};
use shared::base64url::Base64Url;
use shared::id::{FactorId, UserId};
use shared::time::Time;

use crate::accounts::factors::store::SECOND_FACTOR;
use crate::db::{Cursor, Db, Query, Row, Statement};
use crate::env::Millis;
use crate::error::{Error, Result};
use crate::webauthn::{Asserted, Backup};

const INSERT: &str = "INSERT INTO factors (id, user_id, kind, name, handle, attributes, counter, created_at, \
       confirmed_at) VALUES ($1, $2, 'passkey', $3, $4, $5, $6, $7, $7)";
const FIND: &str = "SELECT id, user_id, handle, name, attributes, counter, created_at, last_used_at FROM factors \
     WHERE handle = $1 AND kind = 'passkey'";
const LIST: &str = "SELECT id, user_id, handle, name, attributes, counter, created_at, last_used_at FROM factors \
     WHERE user_id = $1 AND kind = 'passkey' ORDER BY id";
const FIND_LAST: &str = "SELECT 1 FROM factors WHERE user_id = $1 AND kind = 'passkey' LIMIT 1 OFFSET $2";
const FIND_OTHER: &str = "SELECT 1 FROM factors WHERE user_id = $1 AND kind = 'passkey' AND id <> $2 LIMIT 1";
const ACCEPT: &str = "UPDATE factors SET counter = $2, last_used_at = $3, attributes = $4 \
     WHERE id = $1 AND kind = 'passkey' AND (counter < $2 OR (counter = 0 AND $2 = 0))";
const RENAME: &str = "UPDATE factors SET name = $3 WHERE id = $1 AND user_id = $2 AND kind = 'passkey'";
const REMOVE: &str = "DELETE FROM factors WHERE id = $1 AND user_id = $2 AND kind = 'passkey'";

/// Maximum number of passkeys of a user.
pub const MOST: i64 = 32;

/// Names of statements whose failure has a meaning.
///
/// The credential is registered already.
pub const INSERTED: &str = "insert_passkey";
/// The user has [`MOST`].
pub const FULL: &str = "has_room_for_passkey";
/// The user has no such passkey.
pub const CHANGED: &str = "change_passkey";
/// The user has no other passkey.
pub const LAST: &str = "has_other_passkey";

/// Other data of a passkey; no secrets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Attributes {
    /// SubjectPublicKeyInfo.
    pub public_key: Base64Url<MAX_PUBLIC_KEY>,
    /// The number of the algorithm (IANA, COSE Algorithms).
    pub algorithm: i32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transports: Vec<String>,
    #[serde(flatten)]
    pub backup: Backup,
}

/// A stored passkey.
#[derive(Debug)]
pub struct Stored {
    pub id: FactorId,
    pub user: UserId,
    pub credential_id: Vec<u8>,
    pub name: String,
    pub attributes: Attributes,
    pub counter: u32,
    pub created_at: Millis,
    pub last_used_at: Option<Millis>,
}

impl Stored {
    /// What a browser finds it by.
    pub fn descriptor(&self) -> CredentialDescriptor {
        CredentialDescriptor {
            kind: "public-key".to_owned(),
            id: Base64Url(self.credential_id.clone()),
            transports: self.attributes.transports.clone(),
        }
    }
}

impl From<Stored> for Passkey {
    fn from(stored: Stored) -> Self {
        Self {
            id: stored.id,
            name: stored.name,
            backed_up: stored.attributes.backup.is_backed_up,
            created_at: Time::from_millis(stored.created_at),
            last_used_at: stored.last_used_at.map(Time::from_millis),
        }
    }
}

fn read(row: &Row) -> Result<Stored> {
    let mut row = row.cursor();
    Ok(Stored {
        id: row.id()?,
        user: row.id()?,
        credential_id: row.bytes()?.to_vec(),
        name: row.string()?,
        attributes: serde_json::from_str(row.text()?).map_err(Error::internal)?,
        counter: u32::try_from(row.int()?).map_err(Error::internal)?,
        created_at: row.int()?,
        last_used_at: row.opt(Cursor::int)?,
    })
}

fn json(attributes: &Attributes) -> String {
    serde_json::to_string(attributes).unwrap_or_default()
}

/// The passkey of a credential id.
pub async fn find(db: &dyn Db, credential_id: &[u8]) -> Result<Option<Stored>> {
    db.query(Query::point(FIND, [credential_id.to_vec().into()])).await?.first().map(read).transpose()
}

/// The passkeys of a user, oldest first.
pub async fn list(db: &dyn Db, user: UserId) -> Result<Vec<Stored>> {
    db.query(Query::new(LIST, [user.into()])).await?.iter().map(read).collect()
}

/// Whether a user has a passkey.
pub async fn has_any(db: &dyn Db, user: UserId) -> Result<bool> {
    Ok(!db.query(Query::point(FIND_LAST, [user.into(), 0.into()])).await?.is_empty())
}

/// Inserts a passkey ([`INSERTED`]) of a user who has room for it ([`FULL`]).
pub fn insert(passkey: &Stored) -> [Statement; 2] {
    let params = [
        passkey.id.into(),
        passkey.user.into(),
        passkey.name.clone().into(),
        passkey.credential_id.clone().into(),
        json(&passkey.attributes).into(),
        i64::from(passkey.counter).into(),
        passkey.created_at.into(),
    ];
    [
        Statement::absent(FULL, FIND_LAST, [passkey.user.into(), (MOST - 1).into()]),
        Statement::one(INSERTED, INSERT, params),
    ]
}

/// Accepts an assertion ([`SECOND_FACTOR`]), unless a later one was accepted since, or the passkey is gone.
pub fn accept(passkey: &Stored, asserted: &Asserted, now: Millis) -> Statement {
    let backup = Backup { is_backed_up: asserted.is_backed_up(), ..passkey.attributes.backup };
    let attributes = Attributes { backup, ..passkey.attributes.clone() };
    let params = [passkey.id.into(), i64::from(asserted.counter()).into(), now.into(), json(&attributes).into()];
    Statement::one(SECOND_FACTOR, ACCEPT, params)
}

/// Renames a passkey of a user ([`CHANGED`]).
pub fn rename(id: FactorId, user: UserId, name: &str) -> Statement {
    Statement::one(CHANGED, RENAME, [id.into(), user.into(), name.into()])
}

/// Removes a passkey of a user ([`CHANGED`]).
pub fn remove(id: FactorId, user: UserId) -> Statement {
    Statement::one(CHANGED, REMOVE, [id.into(), user.into()])
}

/// Requires that a user has another passkey ([`LAST`]).
pub fn has_other(user: UserId, id: FactorId) -> Statement {
    Statement::exists(LAST, FIND_OTHER, [user.into(), id.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing;

    #[test]
    fn what_is_asked_of_one_passkey_or_user_reads_no_others() {
        testing::plans(&[FIND, LIST, FIND_LAST, FIND_OTHER, ACCEPT, RENAME, REMOVE]);
    }
}
