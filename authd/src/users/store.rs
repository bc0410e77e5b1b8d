//! The SQL of users.

use shared::api::users::{DocumentType, PersonType, Status, UpdateUser, User};
use shared::id::UserId;
use shared::time::Time;

use crate::db::{Cursor, Db, Query, Row, Statement};
use crate::entities::{Entity, Sql, sql};
use crate::env::Millis;
use crate::error::{Error, Result};
use crate::names;

const INSERT: &str = "INSERT INTO users (id, username, live_name, name, status, password_hash, password_changed_at, \
       person_type, document_type, document_number, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)";
// A login that verified the previous password must see another time of change, even within a millisecond.
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

impl Entity for User {
    type Id = UserId;

    const KIND: &'static str = "user";
    const SQL: Sql = sql!(
        "users",
        "id, username, name, status, CASE WHEN password_hash IS NULL THEN 0 ELSE 1 END, person_type, document_type, \
         document_number, created_at, updated_at"
    );

    fn id(&self) -> UserId {
        self.id
    }

    fn read(row: &Row) -> Result<Self> {
        let mut row = row.cursor();
        let documents = [DocumentType::Dni, DocumentType::Ce, DocumentType::Ruc];
        Ok(Self {
            id: row.id()?,
            username: row.string()?,
            name: row.string()?,
            status: status(row.text()?),
            has_password: row.bool()?,
            person_type: row
                .opt(Cursor::text)?
                .map(|text| one_of([PersonType::N, PersonType::J], person_type, text))
                .transpose()?,
            document_type: row.opt(Cursor::text)?.map(|text| one_of(documents, document_type, text)).transpose()?,
            document_number: row.opt(Cursor::string)?,
            created_at: Time::from_millis(row.int()?),
            updated_at: Time::from_millis(row.int()?),
        })
    }
}

/// Parses a stored status.
pub fn status(text: &str) -> Status {
    if text == Status::Active.as_str() { Status::Active } else { Status::Inactive }
}

/// The value that is stored as this text.
fn one_of<T: Copy, const N: usize>(all: [T; N], to_text: fn(T) -> &'static str, text: &str) -> Result<T> {
    let found = all.into_iter().find(|one| to_text(*one) == text);
    found.ok_or_else(|| Error::internal(format!("a user's row has {text}")))
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

/// A new password, hashed, and when it was set.
#[derive(Debug)]
pub struct Password {
    pub hash: String,
    pub set_at: Millis,
}

/// Inserts a user; a duplicate if the name is taken.
pub fn insert(user: &User, password: Option<&Password>) -> Statement {
    Statement::one(
        User::KIND,
        INSERT,
        [
            user.id.into(),
            user.username.as_str().into(),
            names::fold(&user.username).into(),
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

/// Changes the given fields and the password, and returns the new state. Fails if there is no such user; a duplicate if
/// the name is taken.
pub fn update(user: UserId, changes: &UpdateUser, password: Option<&Password>, now: Millis) -> Statement {
    let username = changes.username.as_deref();
    Statement::one(
        User::KIND,
        UPDATE,
        [
            user.into(),
            username.into(),
            username.map(names::fold).into(),
            changes.name.as_deref().into(),
            changes.status.map(Status::as_str).into(),
            password.map(|password| password.hash.as_str()).into(),
            password.map_or(-1, |password| password.set_at).into(),
            changes.person_type.map(person_type).into(),
            changes.document_type.map(document_type).into(),
            changes.document_number.as_deref().into(),
            now.into(),
        ],
    )
}

/// Deletes the password hash of a deleted user, so that it cannot be attacked offline.
pub fn forget_password(user: UserId) -> Statement {
    Statement::one("forget_password", FORGET_PASSWORD, [user.into()])
}

// Inactive users are found too, so that a login takes the same time for them.
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

/// A user's data for a sign-in.
#[derive(Debug)]
pub struct Login {
    pub id: UserId,
    pub username: String,
    pub name: String,
    pub is_active: bool,
    pub password_hash: Option<String>,
    pub password_changed_at: Millis,
}

/// The user with this folded name, active or not, who is not deleted.
pub async fn find_login_by_name(db: &dyn Db, folded: &str) -> Result<Option<Login>> {
    let rows = db.query(Query::point(FIND_LOGIN_BY_NAME, [folded.into()])).await?;
    rows.first().map(read_login).transpose()
}

pub async fn find_login(db: &dyn Db, id: UserId) -> Result<Option<Login>> {
    let rows = db.query(Query::point(FIND_LOGIN, [id.into()])).await?;
    rows.first().map(read_login).transpose()
}

/// The id of the user with this name who is not deleted.
pub async fn find_id(db: &dyn Db, name: &str) -> Result<Option<UserId>> {
    let rows = db.query(Query::point(FIND_ID, [names::fold(name).into()])).await?;
    Ok(rows.first().map(|row| row.cursor().id()).transpose()?)
}

/// The full name of a user, deleted or not.
pub async fn find_name(db: &dyn Db, id: UserId) -> Result<Option<String>> {
    let rows = db.query(Query::point(FIND_NAME, [id.into()])).await?;
    Ok(rows.first().map(|row| row.cursor().string()).transpose()?)
}

/// Stores a new hash of the same password, unless another call was first.
pub fn upgrade(user: &Login, hash: String) -> Statement {
    Statement::any("upgrade_hash", UPGRADE, [user.id.into(), hash.into(), user.password_hash.clone().into()])
}

/// Stores a new password ([`PASSWORD`]); fails if another call was first.
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
        password_hash: row.opt(Cursor::string)?,
        password_changed_at: row.opt(Cursor::int)?.unwrap_or_default(),
    })
}
