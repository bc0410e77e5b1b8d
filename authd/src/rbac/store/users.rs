//! The SQL of users.

use shared::api::users::{DocumentType, PersonType, Status, User};
use shared::id::UserId;
use shared::time::Time;

use super::super::AUTHD;
use super::super::model::{self, Page};
use super::{id, of_authd, opt, thing};
use crate::caller::Permissions;
use crate::db::{Db, Query, Row, Statement, Value};
use crate::error::{Error, Result};
use crate::names;
use crate::world::Millis;

thing!(
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
const ON_AUTHD: &str = "\
    SELECT p.name FROM person_service_permissions g JOIN permissions p ON p.id = g.permission_id \
     WHERE g.person_id = $1 AND g.service_id = $2 \
    UNION SELECT p.name FROM person_service_roles g \
      JOIN service_roles sr ON sr.service_id = g.service_id AND sr.role_id = g.role_id \
      JOIN role_permissions rp ON rp.role_id = g.role_id JOIN permissions p ON p.id = rp.permission_id \
     WHERE g.person_id = $1 AND g.service_id = $2";

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
            user.id.to_string().into(),
            user.username.as_str().into(),
            folded.into(),
            user.name.as_str().into(),
            user.status.as_str().into(),
            opt(password.map(|password| password.hash.as_str())),
            password.map(|password| password.set_at).into(),
            opt(user.person_type.map(person_type)),
            opt(user.document_type.map(document_type)),
            opt(user.document_number.as_deref()),
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
            user.to_string().into(),
            opt(username),
            opt(folded),
            opt(changes.name),
            opt(changes.status.map(Status::as_str)),
            opt(changes.password.map(|password| password.hash.as_str())),
            changes.password.map_or(-1, |password| password.set_at).into(),
            opt(changes.person_type.map(person_type)),
            opt(changes.document_type.map(document_type)),
            opt(changes.document_number),
            now.into(),
        ],
    )
}

/// Of a deleted user nothing is kept that a thief could try guesses on.
pub fn forget_password(user: UserId) -> Statement {
    Statement::one("forget_password", FORGET_PASSWORD, [Value::from(user.to_string())])
}

/// What a user would hold on authd if the user and every role of theirs were active.
pub async fn on_authd(db: &dyn Db, user: UserId) -> Result<Permissions> {
    of_authd(&db.query(Query::new(ON_AUTHD, [user.to_string().into(), AUTHD.to_string().into()])).await?)
}

pub fn read(row: &Row) -> Result<User> {
    let opt_text = |column| row.opt_text(column).map(|text| text.map(str::to_owned));
    Ok(User {
        id: id(row, 0)?,
        username: row.text(1)?.to_owned(),
        name: row.text(2)?.to_owned(),
        status: model::status(row.text(3)?),
        has_password: row.int(4)? != 0,
        person_type: match row.opt_text(5)? {
            None => None,
            Some("N") => Some(PersonType::N),
            Some("J") => Some(PersonType::J),
            Some(other) => return Err(Error::internal(format!("person_type {other}"))),
        },
        document_type: match row.opt_text(6)? {
            None => None,
            Some("DNI") => Some(DocumentType::Dni),
            Some("CE") => Some(DocumentType::Ce),
            Some("RUC") => Some(DocumentType::Ruc),
            Some(other) => return Err(Error::internal(format!("document_type {other}"))),
        },
        document_number: opt_text(7)?,
        created_at: Time::from_millis(row.int(8)?),
        updated_at: Time::from_millis(row.int(9)?),
    })
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
