//! The SQL of identities: people as OpenID providers know them, by (issuer, subject), and whose accounts they are.

use shared::api::identities::LinkedIdentity;
use shared::id::{IdentityId, UserId};
use shared::time::Time;

use crate::db::{Cursor, Db, Query, Row, Statement, Value};
use crate::env::Millis;
use crate::error::Result;
use crate::oidc_client::Identity;

const UPSERT: &str = "INSERT INTO identities (id, issuer, subject, email, name, attributes, created_at, seen_at) \
     VALUES ($1, $2, $3, $4, $5, '{}', $6, $6) \
     ON CONFLICT (issuer, subject) DO UPDATE SET email = excluded.email, name = excluded.name, seen_at = excluded.seen_at";
const INSERT: &str = "INSERT INTO identities (id, issuer, subject, attributes, created_at, seen_at) \
     VALUES ($1, $2, $3, '{}', $4, $4) ON CONFLICT (issuer, subject) DO NOTHING";
// Who was unlinked on purpose is not linked again by an address.
const FIND_USER: &str = "SELECT user_id, attributes FROM identities WHERE issuer = $1 AND subject = $2";
const LINK: &str = "UPDATE identities SET user_id = $3, attributes = '{}' \
     WHERE issuer = $1 AND subject = $2 AND (user_id IS NULL OR user_id = $3)";
const LINK_BY_ITSELF: &str = "UPDATE identities SET user_id = $3 \
     WHERE issuer = $1 AND subject = $2 AND (user_id = $3 OR (user_id IS NULL AND attributes = '{}'))";
const UNLINK: &str = "UPDATE identities SET user_id = NULL, email = NULL, name = NULL, attributes = '{\"unlinked\":true}' \
     WHERE id = $1 AND user_id = $2";
const LIST: &str = "SELECT id, issuer, subject, email, name, created_at, seen_at FROM identities \
     WHERE user_id = $1 ORDER BY created_at, id LIMIT $2";
const FIND_LAST: &str = "SELECT 1 FROM identities WHERE user_id = $1 LIMIT 1 OFFSET $2";
const UNLINK_ALL: &str = "UPDATE identities SET user_id = NULL, email = NULL, name = NULL WHERE user_id = $1";

/// The statement that requires that an identity is not another account's.
pub const LINKED: &str = "link_identity";
/// The user has no such identity.
pub const UNLINKED: &str = "unlink_identity";
/// The user has [`MOST`].
pub const FULL: &str = "has_room_for_identity";
/// Maximum number of identities of a user.
pub const MOST: i64 = 32;

/// Inserts the identity, with this id, or updates what the provider says of the person.
pub fn upsert(identity: &Identity, id: String, now: Millis) -> Statement {
    let [issuer, subject] = key(identity);
    let params = [id.into(), issuer, subject, identity.email.clone().into(), identity.name.clone().into(), now.into()];
    Statement::one("upsert_identity", UPSERT, params)
}

/// The issuer and the subject.
pub fn key(identity: &Identity) -> [Value; 2] {
    [identity.issuer.as_str().into(), identity.subject.as_str().into()]
}

/// What is known of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing, or only a device has it.
    Unlinked,
    /// It was an account's, and was unlinked on purpose.
    Withdrawn,
    Linked(UserId),
}

/// What is known of the identity.
pub async fn find(db: &dyn Db, identity: &Identity) -> Result<Known> {
    let rows = db.query(Query::point(FIND_USER, key(identity))).await?;
    let Some(row) = rows.first() else { return Ok(Known::Unlinked) };
    let mut row = row.cursor();
    Ok(match (row.opt(Cursor::id)?, row.text()?) {
        (Some(user), _) => Known::Linked(user),
        (None, "{}") => Known::Unlinked,
        (None, _) => Known::Withdrawn,
    })
}

/// The identities of a user, oldest first; the providers' names are the caller's to add.
pub async fn list(db: &dyn Db, user: UserId) -> Result<Vec<LinkedIdentity>> {
    let read = |row: &Row| {
        let mut row = row.cursor();
        Ok(LinkedIdentity {
            id: row.id()?,
            provider: None,
            issuer: row.string()?,
            subject: row.string()?,
            email: row.opt(Cursor::string)?,
            name: row.opt(Cursor::string)?,
            created_at: Time::from_millis(row.int()?),
            last_used_at: Time::from_millis(row.int()?),
        })
    };
    db.query(Query::new(LIST, [user.into(), MOST.into()])).await?.iter().map(read).collect()
}

/// Links the identity to an account; fails ([`LINKED`]) if it is linked to another one.
pub fn link(identity: &Identity, user: UserId) -> Statement {
    let [issuer, subject] = key(identity);
    Statement::one(LINKED, LINK, [issuer, subject, user.into()])
}

/// The same at a sign-in, without a decision of anybody: an identity that was unlinked on purpose stays so.
pub fn link_by_itself(identity: &Identity, user: UserId) -> Statement {
    let [issuer, subject] = key(identity);
    Statement::one(LINKED, LINK_BY_ITSELF, [issuer, subject, user.into()])
}

/// Links an identity of which only issuer and subject are known; fails ([`LINKED`]) if it is another account's.
pub fn link_known([issuer, subject]: [&str; 2], id: String, user: UserId, now: Millis) -> [Statement; 2] {
    [
        Statement::any("insert_identity", INSERT, [id.into(), issuer.into(), subject.into(), now.into()]),
        Statement::one(LINKED, LINK, [issuer.into(), subject.into(), user.into()]),
    ]
}

/// Requires that the user has room for one more ([`FULL`]).
pub fn has_room(user: UserId) -> Statement {
    Statement::absent(FULL, FIND_LAST, [user.into(), (MOST - 1).into()])
}

/// Unlinks an identity of this user ([`UNLINKED`]).
pub fn unlink(id: IdentityId, user: UserId) -> Statement {
    Statement::one(UNLINKED, UNLINK, [id.into(), user.into()])
}

/// Unlinks every identity of a user who is deleted, and forgets what the providers said of the person.
pub fn unlink_all(user: UserId) -> Statement {
    Statement::any("unlink_identities", UNLINK_ALL, [user.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing;

    #[test]
    fn identities_are_found_by_index() {
        testing::plans(&[FIND_USER, LINK, LINK_BY_ITSELF, UNLINK, LIST, FIND_LAST, UNLINK_ALL]);
    }
}
