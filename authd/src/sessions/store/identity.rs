//! The SQL of identities: people as OpenID providers know them, by (issuer, subject), and whose accounts they are.

use shared::id::UserId;

use crate::db::{Cursor, Db, Query, Statement, Value};
use crate::env::Millis;
use crate::error::Result;
use crate::oidc_client::Identity;

const UPSERT: &str = "INSERT INTO identities (id, issuer, subject, email, name, attributes, created_at, seen_at) \
     VALUES ($1, $2, $3, $4, $5, '{}', $6, $6) \
     ON CONFLICT (issuer, subject) DO UPDATE SET email = excluded.email, name = excluded.name, seen_at = excluded.seen_at";
const FIND_USER: &str = "SELECT user_id FROM identities WHERE issuer = $1 AND subject = $2";
const LINK: &str =
    "UPDATE identities SET user_id = $3 WHERE issuer = $1 AND subject = $2 AND (user_id IS NULL OR user_id = $3)";
const UNLINK_ALL: &str = "UPDATE identities SET user_id = NULL, email = NULL, name = NULL WHERE user_id = $1";

/// The statement that requires that an identity is not another account's.
pub const LINKED: &str = "link_identity";

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

/// The user whose account the identity is linked to.
pub async fn find_user(db: &dyn Db, identity: &Identity) -> Result<Option<UserId>> {
    let rows = db.query(Query::point(FIND_USER, key(identity))).await?;
    Ok(rows.first().map(|row| row.cursor().opt(Cursor::id)).transpose()?.flatten())
}

/// Links the identity to an account; fails ([`LINKED`]) if it is linked to another one.
pub fn link(identity: &Identity, user: UserId) -> Statement {
    let [issuer, subject] = key(identity);
    Statement::one(LINKED, LINK, [issuer, subject, user.into()])
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
        testing::plans(&[FIND_USER, LINK, UNLINK_ALL]);
    }
}
