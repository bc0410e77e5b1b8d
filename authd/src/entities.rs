//! Entities with an id and a name: users, services, roles and permissions. The SQL that their tables share is here;
//! their own columns are in their stores. A deleted row stays for the audit log, without a name.

use std::str::FromStr;

use shared::page::Limit;

use crate::db::{Db, Query, Row, Statement, Value};
use crate::env::Millis;
use crate::error::{Error, Result};
use crate::names;
use crate::page::{Listed, Page};

/// An entity.
pub trait Entity: Sized {
    type Id: Copy + FromStr + ToString + Into<Value>;

    /// The kind in errors, and the name of every statement that requires or writes its row.
    const KIND: &'static str;
    const SQL: Sql;

    fn id(&self) -> Self::Id;

    /// Reads the columns that [`sql`] was given.
    fn read(row: &Row) -> Result<Self>;
}

/// The statements that differ between kinds only by table and columns: see [`sql`].
#[derive(Debug)]
pub struct Sql {
    pub find_by_id: &'static str,
    pub find_by_name: &'static str,
    pub list: &'static str,
    pub list_by_prefix: &'static str,
    pub alive: &'static str,
    pub delete: &'static str,
}

/// The [`Sql`] of a table, built at compile time since the text of a statement is static.
macro_rules! sql {
    ($table:literal, $columns:literal) => {
        Sql {
            find_by_id: concat!("SELECT ", $columns, " FROM ", $table, " WHERE id = $1 AND deleted_at IS NULL"),
            find_by_name: concat!("SELECT ", $columns, " FROM ", $table, " WHERE live_name = $1"),
            list: concat!(
                "SELECT ",
                $columns,
                " FROM ",
                $table,
                " WHERE id > $1 AND deleted_at IS NULL ORDER BY id LIMIT $2"
            ),
            // The order of texts is the server's own in PostgreSQL, so a prefix is no range of the index there.
            list_by_prefix: concat!(
                "SELECT ",
                $columns,
                " FROM ",
                $table,
                " WHERE id > $1 AND deleted_at IS NULL AND substr(live_name, 1, length($3)) = $3 ORDER BY id LIMIT $2"
            ),
            alive: concat!("SELECT 1 FROM ", $table, " WHERE id = $1 AND deleted_at IS NULL"),
            delete: concat!(
                "UPDATE ",
                $table,
                " SET deleted_at = $2, updated_at = $2, live_name = NULL \
                 WHERE id = $1 AND deleted_at IS NULL"
            ),
        }
    };
}
pub(crate) use sql;

/// The name of a statement that fails if a name is taken which no unique index compares.
pub const NAME_TAKEN: &str = "name_taken";

/// Finds an entity by id or name.
pub async fn find<T: Entity>(db: &dyn Db, id_or_name: &str) -> Result<Option<T>> {
    let query = match id_or_name.parse::<T::Id>() {
        Ok(id) => Query::point(T::SQL.find_by_id, [id.into()]),
        Err(_) => Query::point(T::SQL.find_by_name, [names::fold(id_or_name).into()]),
    };
    db.query(query).await?.first().map(T::read).transpose()
}

/// Finds an entity by id or name; 404 if there is none.
pub async fn stored<T: Entity>(db: &dyn Db, id_or_name: &str) -> Result<T> {
    find(db, id_or_name).await?.ok_or_else(|| Error::not_found(T::KIND))
}

/// A page of all of them, or of those whose name begins with `prefix`, oldest first, and the cursor of the next one.
pub async fn list<T: Entity>(
    db: &dyn Db,
    cursor: Option<&str>,
    limit: Option<Limit>,
    prefix: Option<&str>,
) -> Result<Listed<T>> {
    let page = Page::new(cursor, limit)?;
    match prefix {
        Some(prefix) => list_by(db, T::SQL.list_by_prefix, &page, [names::fold(prefix).into()]).await,
        None => list_by(db, T::SQL.list, &page, []).await,
    }
}

/// A page of the entities that `sql` finds. Its first parameters are the cursor and the number of rows.
pub async fn list_by<T: Entity, const N: usize>(
    db: &dyn Db,
    sql: &'static str,
    page: &Page<T::Id>,
    params: [Value; N],
) -> Result<Listed<T>> {
    let params: Vec<Value> = [page.after_or(""), page.rows()].into_iter().chain(params).collect();
    let things = db.query(Query::new(sql, params)).await?.iter().map(T::read).collect::<Result<_>>()?;
    Ok(page.cut(things, T::id))
}

/// Fails if it is deleted.
pub fn alive<T: Entity>(id: T::Id) -> Statement {
    Statement::exists(T::KIND, T::SQL.alive, [id.into()])
}

/// Deletes an entity and frees its name; fails if it is already deleted.
pub fn delete<T: Entity>(id: T::Id, now: Millis) -> Statement {
    Statement::one(T::KIND, T::SQL.delete, [id.into(), now.into()])
}
