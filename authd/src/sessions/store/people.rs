//! The SQL of users as a login sees them.

use shared::id::UserId;

use crate::db::{Db, Query, Row, Statement};
use crate::error::{Error, Result};
use crate::world::Millis;

// Users that are not active are found too: they cost the same as all others.
const FIND_BY_NAME: &str =
    "SELECT id, username, name, status, password_hash, password_changed_at FROM users WHERE live_name = $1";
const FIND: &str = "SELECT id, username, name, status, password_hash, password_changed_at FROM users WHERE id = $1";
const FIND_ID: &str = "SELECT id FROM users WHERE live_name = $1";
const FIND_NAME: &str = "SELECT name FROM users WHERE id = $1";
const UPGRADE: &str = "UPDATE users SET password_hash = $2 WHERE id = $1 AND password_hash = $3";
const SET_PASSWORD: &str = "UPDATE users SET password_hash = $2, password_changed_at = $3, updated_at = $3 \
     WHERE id = $1 AND password_hash = $4 AND deleted_at IS NULL";

/// The name of the statement that stores a new password.
pub const PASSWORD: &str = "set_password";

/// A user as a login sees them.
#[derive(Debug)]
pub struct Person {
    pub id: UserId,
    pub username: String,
    pub name: String,
    pub is_active: bool,
    pub password_hash: Option<String>,
    pub password_changed_at: Millis,
}

/// The user of this folded name, active or not, who is not deleted.
pub async fn find_by_name(db: &dyn Db, folded: &str) -> Result<Option<Person>> {
    let rows = db.query(Query::point(FIND_BY_NAME, [folded.into()])).await?;
    rows.first().map(read).transpose()
}

pub async fn find(db: &dyn Db, id: UserId) -> Result<Option<Person>> {
    let rows = db.query(Query::point(FIND, [id.to_string().into()])).await?;
    rows.first().map(read).transpose()
}

/// The id of the user of this folded name.
pub async fn find_id(db: &dyn Db, folded: &str) -> Result<Option<UserId>> {
    let rows = db.query(Query::point(FIND_ID, [folded.into()])).await?;
    rows.first().map(|row| row.text(0)?.parse().map_err(Error::internal)).transpose()
}

/// The full name of a user, deleted or not.
pub async fn find_name(db: &dyn Db, id: UserId) -> Result<Option<String>> {
    let rows = db.query(Query::point(FIND_NAME, [id.to_string().into()])).await?;
    Ok(rows.first().map(|row| row.text(0).map(str::to_owned)).transpose()?)
}

/// Stores the same password by another hash, unless somebody was first.
pub fn upgrade(person: &Person, hash: String) -> Statement {
    Statement::any(
        "upgrade_hash",
        UPGRADE,
        [person.id.to_string().into(), hash.into(), person.password_hash.clone().into()],
    )
}

/// Stores a new password ([`PASSWORD`]); fails when somebody was first.
pub fn set_password(person: &Person, hash: String, now: Millis) -> Statement {
    let old = person.password_hash.clone();
    Statement::one(PASSWORD, SET_PASSWORD, [person.id.to_string().into(), hash.into(), now.into(), old.into()])
}

fn read(row: &Row) -> Result<Person> {
    Ok(Person {
        id: row.text(0)?.parse().map_err(Error::internal)?,
        username: row.text(1)?.to_owned(),
        name: row.text(2)?.to_owned(),
        is_active: row.text(3)? == "active",
        password_hash: row.opt_text(4)?.map(str::to_owned),
        password_changed_at: row.opt_int(5)?.unwrap_or_default(),
    })
}
