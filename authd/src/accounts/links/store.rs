//! The SQL of mailed links.

use shared::email::Email;
use shared::id::UserId;

use super::{Kind, Link};
use crate::cache::Hash;
use crate::db::{Cursor, Db, Query, Statement};
use crate::env::Millis;
use crate::error::{Error, Result};

const INSERT: &str =
    "INSERT INTO links (hash, kind, user_id, email, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)";
const FIND: &str = "SELECT user_id, email, expires_at FROM links WHERE hash = $1 AND kind = $2";
const CONSUME: &str = "DELETE FROM links WHERE hash = $1 AND expires_at > $2";
const INVITED: &str =
    "SELECT 1 FROM links WHERE user_id = $1 AND kind = 'invitation' AND email = $2 AND expires_at > $3 LIMIT 1";
const DELETE_ALL: &str = "DELETE FROM links WHERE user_id = $1";

/// Deletes links that have ended; the parameters are the time and the maximum number of rows.
pub const SWEEP: &str =
    "DELETE FROM links WHERE hash IN (SELECT hash FROM links WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)";

/// The name of the statement that uses a link up; it fails if the link was used or replaced.
pub const LINK: &str = "consume_link";

pub fn insert(
    hash: &Hash,
    kind: Kind,
    user: Option<UserId>,
    email: &Email,
    now: Millis,
    expires_at: Millis,
) -> Statement {
    let params =
        [(*hash).into(), kind.name().into(), user.into(), email.address().into(), now.into(), expires_at.into()];
    Statement::one("insert_link", INSERT, params)
}

/// The link of this hash and kind, and when it ends.
pub async fn find(db: &dyn Db, hash: Hash, kind: Kind) -> Result<Option<(Link, Millis)>> {
    let rows = db.query(Query::point(FIND, [hash.into(), kind.name().into()])).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let mut row = row.cursor();
    let user = row.opt(Cursor::id)?;
    let email = Email::parse(row.text()?).map_err(Error::internal)?;
    Ok(Some((Link { kind, user, email, hash }, row.int()?)))
}

/// Whether the user was invited by a mail to this address whose link still works.
pub async fn is_invited(db: &dyn Db, user: Option<UserId>, email: &Email, now: Millis) -> Result<bool> {
    let params = [user.into(), email.address().into(), now.into()];
    Ok(!db.query(Query::point(INVITED, params)).await?.is_empty())
}

/// Uses a link up ([`LINK`]).
pub fn consume(link: &Link, now: Millis) -> Statement {
    Statement::one(LINK, CONSUME, [link.hash.into(), now.into()])
}

/// Deletes every link of a user.
pub fn delete_all(user: UserId) -> Statement {
    Statement::any("delete_links", DELETE_ALL, [user.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing;

    #[test]
    fn what_is_asked_of_one_link_reads_no_table() {
        testing::plans(&[FIND, INVITED, CONSUME, DELETE_ALL, "DELETE FROM links WHERE expires_at <= $1"]);
    }
}
