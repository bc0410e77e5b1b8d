//! The SQL of the tables `files`, `file_usage` and `file_leftovers`.

use shared::id::{FileId, UserId};

use crate::db::{Db, Query, Row, Statement, Value};
use crate::env::Millis;
use crate::error::Result;
use crate::page::{Listed, Page};

/// Names of statements whose failure has a meaning.
pub(super) const COMPLETE: &str = "complete_upload";
pub(super) const QUOTA: &str = "count_file";
pub(super) const DELETE: &str = "delete_file";
const DUE: &str = "claim_leftovers";
const CLAIM: &str = "claim_leftover";

macro_rules! select_files {
    ($rest:literal) => {
        concat!("SELECT key, user_id, name, content_type, size, etag, created_at FROM files ", $rest)
    };
}
const FIND: &str = select_files!("WHERE key = $1");
const LIST: &str = select_files!("WHERE key < $1 ORDER BY key DESC LIMIT $2");
const LIST_OF_USER: &str = select_files!("WHERE user_id = $1 AND key < $2 ORDER BY key DESC LIMIT $3");
const USED: &str = "SELECT bytes, files FROM file_usage WHERE user_id = $1";

const RESERVE: &str = "INSERT INTO file_leftovers (key, is_upload, claimed, remove_after) VALUES ($1, 1, 0, $2)";
const COMPLETE_SQL: &str = "DELETE FROM file_leftovers WHERE key = $1 AND claimed = 0";
const INSERT: &str = "INSERT INTO files (key, user_id, name, content_type, size, etag, created_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)";
const BEGIN_USAGE: &str = "INSERT INTO file_usage (user_id, bytes, files) VALUES ($1, 0, 0) ON CONFLICT DO NOTHING";
const COUNT: &str = "UPDATE file_usage SET bytes = bytes + $2, files = files + 1 \
     WHERE user_id = $1 AND bytes + $2 <= $3 AND files < $4";
const DISCOUNT: &str = "UPDATE file_usage SET bytes = bytes - $2, files = files - 1 WHERE user_id = $1";
const DELETE_SQL: &str = "DELETE FROM files WHERE key = $1";
const LEAVE: &str = "INSERT INTO file_leftovers (key, is_upload, claimed, remove_after) VALUES ($1, 0, 1, $2)";
const LEAVE_ALL: &str = "INSERT INTO file_leftovers (key, is_upload, claimed, remove_after) \
     SELECT key, 0, 1, CAST($2 AS BIGINT) FROM files WHERE user_id = $1";
const DELETE_ALL: &str = "DELETE FROM files WHERE user_id = $1";
const END_USAGE: &str = "DELETE FROM file_usage WHERE user_id = $1";

const CLAIM_SQL: &str = "UPDATE file_leftovers SET claimed = 1, remove_after = $2 WHERE key = $1 AND claimed = 0";
// Also what waits for a moment so far in the future that a wrong clock must have set it.
const DUE_SQL: &str = "UPDATE file_leftovers SET claimed = 1, remove_after = $3 WHERE key IN \
     (SELECT key FROM file_leftovers WHERE remove_after <= $1 OR remove_after > $2 LIMIT $4) RETURNING key, is_upload";
const REMOVED: &str = "DELETE FROM file_leftovers WHERE key = $1 AND claimed = 1";

/// A file's row.
#[derive(Clone, Debug)]
pub struct Stored {
    pub key: FileId,
    pub user_id: UserId,
    pub name: String,
    pub content_type: String,
    pub size: u64,
    /// The SHA-256 of the content, hexadecimal.
    pub etag: String,
    pub created_at: Millis,
}

/// What the files of a user take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub bytes: u64,
    pub files: u64,
}

fn read(row: &Row) -> Result<Stored> {
    let mut row = row.cursor();
    Ok(Stored {
        key: row.id()?,
        user_id: row.id()?,
        name: row.string()?,
        content_type: row.string()?,
        size: u64::try_from(row.int()?).unwrap_or_default(),
        etag: row.string()?,
        created_at: row.int()?,
    })
}

fn number(number: u64) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

pub(super) async fn find(db: &dyn Db, key: FileId) -> Result<Option<Stored>> {
    db.query(Query::point(FIND, [key.into()])).await?.first().map(read).transpose()
}

/// The files of a user, or of everybody, newest first.
pub(super) async fn list(db: &dyn Db, user: Option<UserId>, page: &Page<FileId>) -> Result<Listed<Stored>> {
    let before = page.after_or("g");
    let query = match user {
        Some(user) => Query::new(LIST_OF_USER, [user.into(), before, page.rows()]),
        None => Query::new(LIST, [before, page.rows()]),
    };
    let files = db.query(query).await?.iter().map(read).collect::<Result<Vec<_>>>()?;
    Ok(page.cut(files, |file| file.key))
}

pub(super) async fn used(db: &dyn Db, user: UserId) -> Result<Usage> {
    let rows = db.query(Query::point(USED, [user.into()])).await?;
    let Some(row) = rows.first() else { return Ok(Usage::default()) };
    let mut row = row.cursor();
    let mut number = || row.int().map(|number| u64::try_from(number).unwrap_or_default());
    Ok(Usage { bytes: number()?, files: number()? })
}

/// Before an object is written: it is removed after this time unless the upload is completed.
pub(super) fn reserve(key: FileId, remove_after: Millis) -> Statement {
    Statement::one("reserve_file", RESERVE, [key.into(), remove_after.into()])
}

/// Makes a file of a written object. Fails if its removal has begun ([`COMPLETE`]), or if the user's files would take more
/// than this ([`QUOTA`]).
pub(super) fn complete(file: &Stored, quota: Usage) -> [Statement; 4] {
    let (key, user) = (file.key, file.user_id);
    [
        Statement::one(COMPLETE, COMPLETE_SQL, [key.into()]),
        Statement::one(
            "insert_file",
            INSERT,
            [
                key.into(),
                user.into(),
                file.name.as_str().into(),
                file.content_type.as_str().into(),
                number(file.size),
                file.etag.as_str().into(),
                file.created_at.into(),
            ],
        ),
        Statement::any("begin_usage", BEGIN_USAGE, [user.into()]),
        Statement::one(QUOTA, COUNT, [user.into(), number(file.size), number(quota.bytes), number(quota.files)]),
    ]
}

/// Deletes a file ([`DELETE`]); its object is removed later.
pub(super) fn delete(file: &Stored, now: Millis) -> [Statement; 3] {
    [
        Statement::one(DELETE, DELETE_SQL, [file.key.into()]),
        Statement::one("leave_object", LEAVE, [file.key.into(), now.into()]),
        Statement::any("discount_file", DISCOUNT, [file.user_id.into(), number(file.size)]),
    ]
}

/// Deletes all files of a user; their objects are removed later.
pub fn delete_all(user: UserId, now: Millis) -> [Statement; 3] {
    [
        Statement::any("leave_objects", LEAVE_ALL, [user.into(), now.into()]),
        Statement::any("delete_files", DELETE_ALL, [user.into()]),
        Statement::any("end_usage", END_USAGE, [user.into()]),
    ]
}

/// Claims the object of an upload that will not be completed; false if it was completed, or is claimed already. It is
/// removed again after this time: a write that was under way may end after a removal.
pub(super) async fn claim(db: &dyn Db, key: FileId, remove_after: Millis) -> Result<bool> {
    let claim = Statement::any(CLAIM, CLAIM_SQL, [key.into(), remove_after.into()]);
    Ok(db.commit(vec![claim]).await?.affected(CLAIM) > 0)
}

/// Claims objects that are to be removed now, each with whether it is of an upload; what fails is claimed again at
/// `again`. `latest` is the last moment that a right clock can have set.
pub(super) async fn claim_due(
    db: &dyn Db,
    now: Millis,
    latest: Millis,
    again: Millis,
    most: i64,
) -> Result<Vec<(FileId, bool)>> {
    let claim = Statement::any(DUE, DUE_SQL, [now.into(), latest.into(), again.into(), most.into()]);
    let committed = db.commit(vec![claim]).await?;
    let read = |row: &Row| {
        let mut row = row.cursor();
        Ok((row.id()?, row.bool()?))
    };
    committed.rows(DUE).iter().map(read).collect()
}

/// The object was removed.
pub(super) async fn removed(db: &dyn Db, key: FileId) -> Result<()> {
    Ok(db.commit(vec![Statement::any("forget_object", REMOVED, [key.into()])]).await.map(drop)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing;

    #[test]
    fn no_statement_reads_a_whole_table() {
        testing::plans(&[FIND, LIST_OF_USER, USED, COMPLETE_SQL, DELETE_SQL, LEAVE_ALL, CLAIM_SQL, DUE_SQL]);
    }
}
