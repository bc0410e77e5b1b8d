//! The SQL of users.

use shared::api::users::{DocumentType, PersonType, Status, User};
use shared::id::UserId;
use shared::time::Time;

use uuid::Uuid;

use crate::db::named::named;
use crate::db::{Db, Query, Row, Statement};
use crate::env::Millis;
use crate::error::{Error, Result};
use crate::names;
use crate::page::Page;

named!(
    "user",
    "users",
    "id, username, name, status, CASE WHEN password_hash IS NULL THEN 0 ELSE 1 END, person_type, document_type, \
     document_number, created_at, updated_at",
    User,
    UserId
);

const INSERT: &str = "INSERT INTO users (id, username, live_name, name, status, password_hash, password_changed_at, \
       person_type, document_type, document_number, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)";
// A login that verified the password of before must find another time of change, even within a millisecond.
const UPDATE: &str = "UPDATE users SET username = COALESCE($2, username), live_name = COALESCE($3, live_name), \
       name = COALESCE($4, name), status = COALESCE($5, status), password_hash = COALESCE($6, password_hash), \
       password_changed_at = CASE WHEN CAST($7 AS BIGINT) < 0 THEN password_changed_at \
         WHEN COALESCE(password_changed_at, 0) >= $7 THEN password_changed_at + 1 ELSE $7 END, \
       person_type = COALESCE($8, person_type), document_type = COALESCE($9, document_type), \
       document_number = COALESCE($10, document_number), updated_at = $11 \
     WHERE id = $1 AND deleted_at IS NULL \
     RETURNING id, username, name, status, CASE WHEN password_hash IS NULL THEN 0 ELSE 1 END, person_type, \
       document_type, document_number, created_at, updated_at";
const FORGET_PASSWORD: &str = "UPDATE users SET password_hash = NULL WHERE id = $1";
/// A new password, hashed, and when it was set.
#[derive(Debug)]
pub struct Password {
    pub hash: String,
    pub set_at: Millis,
}

/// What changes of a user; what is absent stays.
#[derive(Debug, Default)]
pub struct Changes<'a> {
    /// With its folded form.
    pub username: Option<(&'a str, &'a str)>,
    pub name: Option<&'a str>,
    pub status: Option<Status>,
    pub password: Option<&'a Password>,
    pub person_type: Option<PersonType>,
    pub document_type: Option<DocumentType>,
    pub document_number: Option<&'a str>,
}

/// Duplicate when the name is taken.
pub fn insert(user: &User, folded: &str, password: Option<&Password>) -> Statement {
    Statement::one(
        NAME,
        INSERT,
        [
            user.id.into(),
            user.username.as_str().into(),
            folded.into(),
            user.name.as_str().into(),
            user.status.as_str().into(),
            password.map(|password| password.hash.as_str()).into(),
            password.map(|password| password.set_at).into(),
            user.person_type.map(person_type).into(),
            user.document_type.map(document_type).into(),
            user.document_number.as_deref().into(),
            user.created_at.millis().into(),
        ],
    )
}

/// Returns the user as they are now, for [`read`]. Fails when there is none, duplicate when the name is taken.
pub fn update(user: UserId, changes: &Changes<'_>, now: Millis) -> Statement {
    let (username, folded) = changes.username.unzip();
    Statement::one(
        NAME,
        UPDATE,
        [
            user.into(),
            username.into(),
            folded.into(),
            changes.name.into(),
            changes.status.map(Status::as_str).into(),
            changes.password.map(|password| password.hash.as_str()).into(),
            changes.password.map_or(-1, |password| password.set_at).into(),
            changes.person_type.map(person_type).into(),
            changes.document_type.map(document_type).into(),
            changes.document_number.into(),
            now.into(),
        ],
    )
}

/// Of a deleted user nothing is kept that a thief could try guesses on.
pub fn forget_password(user: UserId) -> Statement {
    Statement::one("forget_password", FORGET_PASSWORD, [user.into()])
}

pub fn read(row: &Row) -> Result<User> {
    let mut row = row.cursor();
    Ok(User {
        id: row.id()?,
        username: row.string()?,
        name: row.string()?,
        status: status(row.text()?),
        has_password: row.bool()?,
        person_type: match row.opt_text()? {
            None => None,
            Some("N") => Some(PersonType::N),
            Some("J") => Some(PersonType::J),
            Some(other) => return Err(Error::internal(format!("person_type {other}"))),
        },
        document_type: match row.opt_text()? {
            None => None,
            Some("DNI") => Some(DocumentType::Dni),
            Some("CE") => Some(DocumentType::Ce),
            Some("RUC") => Some(DocumentType::Ruc),
            Some(other) => return Err(Error::internal(format!("document_type {other}"))),
        },
        document_number: row.opt_string()?,
        created_at: Time::from_millis(row.int()?),
        updated_at: Time::from_millis(row.int()?),
    })
}

/// From what is stored.
pub fn status(text: &str) -> Status {
    if text == Status::Active.as_str() { Status::Active } else { Status::Inactive }
}

fn person_type(kind: PersonType) -> &'static str {
    match kind {
        PersonType::N => "N",
        PersonType::J => "J",
    }
}

fn document_type(kind: DocumentType) -> &'static str {
    match kind {
        DocumentType::Dni => "DNI",
        DocumentType::Ce => "CE",
        DocumentType::Ruc => "RUC",
    }
}

// Users that are not active are found too: they cost the same as all others.
const FIND_LOGIN_BY_NAME: &str =
    "SELECT id, username, name, status, password_hash, password_changed_at FROM users WHERE live_name = $1";
const FIND_LOGIN: &str =
    "SELECT id, username, name, status, password_hash, password_changed_at FROM users WHERE id = $1";
const FIND_ID: &str = "SELECT id FROM users WHERE live_name = $1";
const FIND_NAME: &str = "SELECT name FROM users WHERE id = $1";
const UPGRADE: &str = "UPDATE users SET password_hash = $2 WHERE id = $1 AND password_hash = $3";
const SET_PASSWORD: &str = "UPDATE users SET password_hash = $2, password_changed_at = $3, updated_at = $3 \
     WHERE id = $1 AND password_hash = $4 AND deleted_at IS NULL";

/// The name of the statement that stores a new password.
pub const PASSWORD: &str = "set_password";

/// A user as a sign-in sees them.
#[derive(Debug)]
pub struct Login {
    pub id: UserId,
    pub username: String,
    pub name: String,
    pub is_active: bool,
    pub password_hash: Option<String>,
    pub password_changed_at: Millis,
}

/// The user of this folded name, active or not, who is not deleted.
pub async fn find_login_by_name(db: &dyn Db, folded: &str) -> Result<Option<Login>> {
    let rows = db.query(Query::point(FIND_LOGIN_BY_NAME, [folded.into()])).await?;
    rows.first().map(read_login).transpose()
}

pub async fn find_login(db: &dyn Db, id: UserId) -> Result<Option<Login>> {
    let rows = db.query(Query::point(FIND_LOGIN, [id.into()])).await?;
    rows.first().map(read_login).transpose()
}

/// The id of the user of this name who is not deleted.
pub async fn find_id(db: &dyn Db, name: &str) -> Result<Option<UserId>> {
    let rows = db.query(Query::point(FIND_ID, [names::fold(name).into()])).await?;
    Ok(rows.first().map(|row| row.cursor().id()).transpose()?)
}

/// The full name of a user, deleted or not.
pub async fn find_name(db: &dyn Db, id: UserId) -> Result<Option<String>> {
    let rows = db.query(Query::point(FIND_NAME, [id.into()])).await?;
    Ok(rows.first().map(|row| row.cursor().text().map(str::to_owned)).transpose()?)
}

/// Stores the same password by another hash, unless somebody was first.
pub fn upgrade(user: &Login, hash: String) -> Statement {
    Statement::any("upgrade_hash", UPGRADE, [user.id.into(), hash.into(), user.password_hash.clone().into()])
}

/// Stores a new password ([`PASSWORD`]); fails when somebody was first.
pub fn set_password(user: &Login, hash: String, now: Millis) -> Statement {
    let old = user.password_hash.clone();
    Statement::one(PASSWORD, SET_PASSWORD, [user.id.into(), hash.into(), now.into(), old.into()])
}

fn read_login(row: &Row) -> Result<Login> {
    let mut row = row.cursor();
    Ok(Login {
        id: row.id()?,
        username: row.string()?,
        name: row.string()?,
        is_active: row.text()? == "active",
        password_hash: row.opt_string()?,
        password_changed_at: row.opt_int()?.unwrap_or_default(),
    })
}
