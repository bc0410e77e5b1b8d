//! Tables of things that have an id and a name, whose deleted rows stay for the audit log without a name.

/// Declares what users, services, roles and permissions have in common; the module supplies `read`. Every statement that
/// says that the thing is there, or writes its row, has the name `NAME`.
macro_rules! named {
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
                Ok(id) => Query::point(FIND_BY_ID, [id.into()]),
                Err(_) => Query::point(FIND_BY_NAME, [names::fold(id_or_name).into()]),
            };
            db.query(query).await?.first().map(read).transpose()
        }

        /// All of them, oldest first.
        pub async fn list(db: &dyn Db, page: &Page<Uuid>) -> Result<Vec<$type>> {
            let query = Query::new(LIST, [page.after_or(""), page.rows()]);
            db.query(query).await?.iter().map(read).collect()
        }

        /// Fails when it has been deleted.
        pub fn alive(id: $id) -> Statement {
            Statement::exists(NAME, ALIVE, [id.into()])
        }

        /// Frees the name; fails when it has been deleted before.
        pub fn delete(id: $id, now: Millis) -> Statement {
            Statement::one(NAME, DELETE, [id.into(), now.into()])
        }
    };
}
pub(crate) use named;
