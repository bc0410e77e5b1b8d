//! Whether a database is the one that is meant, asked before anything is written to it.

use std::fmt;

use super::{DbError, Row};

/// Who tells, and from which rows.
pub struct Identity {
    sql: &'static str,
    check: Box<Check>,
}

/// Given the rows, or `None` if the database has no schema yet; refuses with what to do.
type Check = dyn Fn(Option<&[Row]>) -> Result<(), String> + Send + Sync;

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sql)
    }
}

impl Identity {
    /// `sql` is a query on the schema as it has been from the first migration on.
    pub fn new(
        sql: &'static str,
        check: impl Fn(Option<&[Row]>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self { sql, check: Box::new(check) }
    }

    /// Every database is the right one.
    #[cfg(test)]
    pub fn any() -> Self {
        Self::new("SELECT 1", |_| Ok(()))
    }

    /// The query to run before these migrations are applied; `None` without a schema.
    pub(super) fn query(&self, applied: &[Row]) -> Option<&'static str> {
        (!applied.is_empty()).then_some(self.sql)
    }

    pub(super) fn check(&self, rows: Option<&[Row]>) -> Result<(), DbError> {
        (self.check)(rows).map_err(DbError::Setting)
    }
}
