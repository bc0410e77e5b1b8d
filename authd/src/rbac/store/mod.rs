//! The SQL of people and access. What is deleted is not there: its row stays for the audit log, without a name.

pub mod access;
pub mod grants;
pub mod permissions;
pub mod relations;
pub mod roles;
pub mod services;
pub mod users;

use shared::op::Permission;

use crate::authority;
use crate::caller::Permissions;
use crate::db::{Db, Query, Row, Statement, Value};
use crate::error::{Error, Result};

/// Declares what users, services, roles and permissions have in common; the module supplies `read`. Every statement that
/// says that the thing is there, or writes its row, has the name `NAME`.
macro_rules! thing {
    ($name:literal, $table:literal, $columns:literal, $type:ty, $id:ty) => {
        pub const NAME: &str = $name;
        const FIND_BY_ID: &str =
            concat!("SELECT ", $columns, " FROM ", $table, " WHERE id = $1 AND deleted_at IS NULL");
        const FIND_BY_NAME: &str = concat!("SELECT ", $columns, " FROM ", $table, " WHERE live_name = $1");
        const LIST: &str = concat!(
            "SELECT ",
            $columns,
            " FROM ",
            $table,
            " WHERE id > $1 AND deleted_at IS NULL ORDER BY id LIMIT $2"
        );
        const ALIVE: &str = concat!("SELECT 1 FROM ", $table, " WHERE id = $1 AND deleted_at IS NULL");
        const DELETE: &str = concat!(
            "UPDATE ",
            $table,
            " SET deleted_at = $2, updated_at = $2, live_name = NULL WHERE id = $1 AND deleted_at IS NULL"
        );

        /// By id or name.
        pub async fn find(db: &dyn Db, id_or_name: &str) -> Result<Option<$type>> {
            let query = match id_or_name.parse::<$id>() {
                Ok(id) => Query::point(FIND_BY_ID, [id.to_string().into()]),
                Err(_) => Query::point(FIND_BY_NAME, [names::fold(id_or_name).into()]),
            };
            db.query(query).await?.first().map(read).transpose()
        }

        /// All of them, oldest first.
        pub async fn list(db: &dyn Db, page: &Page) -> Result<Vec<$type>> {
            let query = Query::new(LIST, [page.after.as_str().into(), page.rows()]);
            db.query(query).await?.iter().map(read).collect()
        }

        /// Fails when it has been deleted.
        pub fn alive(id: $id) -> Statement {
            Statement::exists(NAME, ALIVE, [id.to_string().into()])
        }

        /// Frees the name; fails when it has been deleted before.
        pub fn delete(id: $id, now: Millis) -> Statement {
            Statement::one(NAME, DELETE, [id.to_string().into(), now.into()])
        }
    };
}
pub(crate) use thing;

/// Counts the changes of what somebody may do on authd: see [`count_change`].
pub const CHANGES: &str = "access.changes";

const COUNT_CHANGE: &str = "UPDATE counters SET value = value + 1 WHERE name = $1";
const CHANGES_ARE: &str = "SELECT 1 FROM counters WHERE name = $1 AND value = $2";

/// How many changes there have been.
pub async fn changes(db: &dyn Db) -> Result<i64> {
    let rows = db.query(Query::point("SELECT value FROM counters WHERE name = $1", [CHANGES.into()])).await?;
    let row = rows.first().ok_or_else(|| Error::internal("the counter of changes of access is missing"))?;
    Ok(row.int(0)?)
}

/// Counts a change of what somebody may do on authd.
pub fn count_change() -> Statement {
    Statement::one("count_change", COUNT_CHANGE, [CHANGES.into()])
}

/// Fails, as a proof of authority, when there has been another change since `seen` were counted.
pub fn no_change_since(seen: i64) -> Statement {
    Statement::exists(authority::PROOF, CHANGES_ARE, [CHANGES.into(), seen.into()])
}

/// Permissions of authd, from rows of names. Others that have the name of none are the services' business.
fn of_authd(rows: &[Row]) -> Result<Permissions> {
    let names = rows.iter().map(|row| row.text(0)).collect::<Result<Vec<_>, _>>()?;
    Ok(names.into_iter().filter_map(Permission::parse).collect())
}

fn id<T: std::str::FromStr<Err = uuid::Error>>(row: &Row, column: usize) -> Result<T> {
    row.text(column)?.parse().map_err(Error::internal)
}

/// A given text, or null for a field that stays.
fn opt(text: Option<&str>) -> Value {
    text.into()
}
