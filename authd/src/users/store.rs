//! The SQL of users.

use shared::api::users::{DocumentType, PersonType, Status, UpdateUser, User};
use shared::email::Email;
use shared::id::UserId;
use shared::time::Time;

use crate::db::{Cursor, Db, Query, Row, Statement, Value};
use crate::entities::{Entity, NAME_TAKEN, Sql, sql};
use crate::env::Millis;
use crate::error::{Error, Result};
use crate::names;

const INSERT: &str = "INSERT INTO users (id, username, live_name, name, status, password_hash, password_changed_at, \
       person_type, document_type, document_number, created_at, updated_at, email, live_email, email_verified_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12, $13, $14)";
// A login that verified the previous password must see another time of change, even within a millisecond.
const UPDATE: &str = "UPDATE users SET username = COALESCE($2, username), live_name = COALESCE($3, live_name), \
       name = COALESCE($4, name), status = COALESCE($5, status), password_hash = COALESCE($6, password_hash), \
       password_changed_at = CASE WHEN CAST($7 AS BIGINT) < 0 THEN password_changed_at \
         WHEN COALESCE(password_changed_at, 0) >= $7 THEN password_changed_at + 1 ELSE $7 END, \
       person_type = COALESCE($8, person_type), document_type = COALESCE($9, document_type), \
       document_number = COALESCE($10, document_number), updated_at = $11, email = COALESCE($12, email), \
       email_verified_at = CASE WHEN COALESCE($13, live_email) = live_email THEN email_verified_at END, \
       live_email = COALESCE($13, live_email) \
     WHERE id = $1 AND deleted_at IS NULL \
     RETURNING id, username, name, status, CASE WHEN password_hash IS NULL THEN 0 ELSE 1 END, person_type, \
       document_type, document_number, created_at, updated_at, email, \
       CASE WHEN email_verified_at IS NULL THEN 0 ELSE 1 END";
const VERIFY: &str = "UPDATE users SET email_verified_at = COALESCE(email_verified_at, $2) \
     WHERE id = $1 AND live_email = $3 AND deleted_at IS NULL \
     RETURNING id, username, name, status, CASE WHEN password_hash IS NULL THEN 0 ELSE 1 END, person_type, \
       document_type, document_number, created_at, updated_at, email, 1";
// Names and addresses are one namespace: each is unique by its index, and one of each kind by this.
const TAKEN: &str = "SELECT 1 FROM users WHERE (live_name = $1 OR live_email = $1) AND id <> $2";
const FORGET: &str = "UPDATE users SET password_hash = NULL, email = NULL, live_email = NULL, email_verified_at = NULL, \
       document_type = NULL, document_number = NULL WHERE id = $1";
const ERASE_NAMES: &str = "UPDATE users SET username = '', name = '', person_type = NULL WHERE id = $1";

impl Entity for User {
    type Id = UserId;

    const KIND: &'static str = "user";
    const SQL: Sql = sql!(
        "users",
        "id, username, name, status, CASE WHEN password_hash IS NULL THEN 0 ELSE 1 END, person_type, document_type, \
         document_number, created_at, updated_at, email, CASE WHEN email_verified_at IS NULL THEN 0 ELSE 1 END"
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
            email: row.opt(Cursor::string)?,
            email_verified: row.bool()?,
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

/// Inserts a user; a duplicate if the name or the address is taken. `folded_email` is [`Email::folded`] of the address.
pub fn insert(user: &User, folded_email: Option<&str>, password: Option<&Password>) -> Statement {
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
            user.email.as_deref().into(),
            folded_email.into(),
            user.email_verified.then(|| user.created_at.millis()).into(),
        ],
    )
}

/// Fails ([`NAME_TAKEN`]) if another user has this folded name or address.
pub fn is_free(folded: &str, user: UserId) -> Statement {
    Statement::absent(NAME_TAKEN, TAKEN, [folded.into(), user.into()])
}

/// Changes the given fields and the password, and returns the new state. Fails if there is no such user; a duplicate if
/// the name is taken.
pub fn update(
    user: UserId,
    changes: &UpdateUser,
    email: Option<&Email>,
    password: Option<&Password>,
    now: Millis,
) -> Statement {
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
            email.map(Email::address).into(),
            email.map(Email::folded).into(),
        ],
    )
}

/// Marks this address as verified, and returns the new state. Fails if there is no such user, or they have another one.
pub fn verify(user: UserId, folded_email: &str, now: Millis) -> Statement {
    Statement::one(User::KIND, VERIFY, [user.into(), now.into(), folded_email.into()])
}

/// Requires that this is the user's address, and verified ([`VERIFIED`]).
pub fn has_verified(user: UserId, folded_email: &str) -> Statement {
    Statement::exists(VERIFIED, HAS_VERIFIED, [user.into(), folded_email.into()])
}

/// Deletes what the row of a deleted user need not keep: the password hash, which could be attacked offline, the address
/// and the identity document.
pub fn forget(user: UserId) -> Statement {
    Statement::one("forget_user", FORGET, [user.into()])
}

/// Deletes the names of a deleted user too.
pub fn erase_names(user: UserId) -> Statement {
    Statement::one("erase_names", ERASE_NAMES, [user.into()])
}

// Inactive users are found too, so that a login takes the same time for them.
const FIND_LOGIN_BY_NAME: &str = "SELECT id, username, name, status, password_hash, password_changed_at, email, \
       CASE WHEN email_verified_at IS NULL THEN 0 ELSE 1 END FROM users WHERE live_name = $1 OR live_email = $2";
const FIND_LOGIN: &str = "SELECT id, username, name, status, password_hash, password_changed_at, email, \
       CASE WHEN email_verified_at IS NULL THEN 0 ELSE 1 END FROM users WHERE id = $1";
const FIND_ID: &str = "SELECT id FROM users WHERE live_name = $1 OR live_email = $2";
const FIND_NAME: &str = "SELECT name FROM users WHERE id = $1";
const UPGRADE: &str = "UPDATE users SET password_hash = $2 WHERE id = $1 AND password_hash = $3";
const SET_PASSWORD: &str = "UPDATE users SET password_hash = $2, password_changed_at = $3, updated_at = $3 \
     WHERE id = $1 AND password_hash = $4 AND deleted_at IS NULL";
// A login that verified the previous password must see another time of change, even within a millisecond.
const RESET_PASSWORD: &str = "UPDATE users SET password_hash = $2, updated_at = $3, \
       password_changed_at = CASE WHEN COALESCE(password_changed_at, 0) >= $3 THEN password_changed_at + 1 ELSE $3 END, \
       email_verified_at = COALESCE(email_verified_at, $3) \
     WHERE id = $1 AND live_email = $4 AND status = 'active' AND deleted_at IS NULL";
const ACCEPT_INVITATION: &str = "UPDATE users SET password_hash = $2, password_changed_at = $3, updated_at = $3, \
       email_verified_at = $3, name = COALESCE($5, name) \
     WHERE id = $1 AND live_email = $4 AND password_hash IS NULL AND status = 'active' AND deleted_at IS NULL";
const CHANGE_EMAIL: &str = "UPDATE users SET email = $2, email_verified_at = $4, updated_at = $4, \
       username = CASE WHEN live_name = live_email THEN $2 ELSE username END, \
       live_name = CASE WHEN live_name = live_email THEN $3 ELSE live_name END, live_email = $3 \
     WHERE id = $1 AND status = 'active' AND deleted_at IS NULL";

const HAS_VERIFIED: &str =
    "SELECT 1 FROM users WHERE id = $1 AND live_email = $2 AND email_verified_at IS NOT NULL AND deleted_at IS NULL";

/// The statement that requires that a user has verified an address.
pub const VERIFIED: &str = "has_verified_email";
/// The names of the statements that store a new password, and a new address.
pub const PASSWORD: &str = "set_password";
pub const EMAIL: &str = "set_email";

/// A user's data for a sign-in.
#[derive(Debug)]
pub struct Login {
    pub id: UserId,
    pub username: String,
    pub name: String,
    pub is_active: bool,
    pub password_hash: Option<String>,
    pub password_changed_at: Millis,
    pub email: Option<String>,
    pub email_verified: bool,
}

impl Login {
    /// What they sign in by, for [`crate::passwords::check`].
    pub fn names(&self) -> [&str; 2] {
        [&self.username, self.email.as_deref().unwrap_or_default()]
    }

    /// Where mails go, in the spelling that was proved or that an operator typed.
    pub fn address(&self) -> Option<Email> {
        self.email.as_deref().and_then(|email| Email::parse(email).ok())
    }
}

/// The user with this name or address as it was typed, active or not, who is not deleted.
pub async fn find_login_by_name(db: &dyn Db, typed: &str) -> Result<Option<Login>> {
    let rows = db.query(Query::point(FIND_LOGIN_BY_NAME, folded(typed))).await?;
    rows.first().map(read_login).transpose()
}

/// The folded forms of what was typed: as a name, and as an address.
fn folded(typed: &str) -> [Value; 2] {
    let email = Email::parse(typed.trim()).ok();
    [names::fold(typed).into(), email.as_ref().map(Email::folded).into()]
}

pub async fn find_login(db: &dyn Db, id: UserId) -> Result<Option<Login>> {
    let rows = db.query(Query::point(FIND_LOGIN, [id.into()])).await?;
    rows.first().map(read_login).transpose()
}

/// The id of the user with this name or address who is not deleted.
pub async fn find_id(db: &dyn Db, name: &str) -> Result<Option<UserId>> {
    let rows = db.query(Query::point(FIND_ID, folded(name))).await?;
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

/// Stores a password ([`PASSWORD`]) that was set with a mailed token, which verifies the address. Fails if the user is not
/// active, or has another address.
pub fn reset_password(user: UserId, folded_email: &str, hash: String, now: Millis) -> Statement {
    Statement::one(PASSWORD, RESET_PASSWORD, [user.into(), hash.into(), now.into(), folded_email.into()])
}

/// Stores the first password ([`PASSWORD`]) of a user who was invited. Fails if there is one, or as [`reset_password`].
pub fn accept_invitation(user: UserId, folded_email: &str, password: &Password, name: Option<&str>) -> Statement {
    let (hash, now) = (password.hash.as_str(), password.set_at);
    Statement::one(
        PASSWORD,
        ACCEPT_INVITATION,
        [user.into(), hash.into(), now.into(), folded_email.into(), name.into()],
    )
}

/// Stores a verified address ([`EMAIL`]); a user name that was the old address follows. A duplicate if it is taken; fails
/// if the user is not active.
pub fn change_email(user: UserId, email: &Email, now: Millis) -> Statement {
    Statement::one(EMAIL, CHANGE_EMAIL, [user.into(), email.address().into(), email.folded().into(), now.into()])
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
        email: row.opt(Cursor::string)?,
        email_verified: row.bool()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing;

    #[test]
    fn what_is_asked_of_one_name_reads_no_table() {
        testing::plans(&[TAKEN, FIND_LOGIN_BY_NAME, FIND_LOGIN, FIND_ID]);
    }
}
