//! Pages of a list: one more row than requested is read, to know whether there is a next page.

use std::str::FromStr;

use shared::page::Limit;

use crate::db::Value;
use crate::error::{Error, Result};

/// The entries of a page, and the cursor of the next page if there is one.
pub type Listed<T> = (Vec<T>, Option<String>);

/// The requested part of a list.
#[derive(Debug)]
pub struct Page<Cursor> {
    /// The last entry of the previous page.
    pub after: Option<Cursor>,
    limit: usize,
}

impl<Cursor: FromStr> Page<Cursor> {
    /// 422 for a cursor that no list returned.
    pub fn new(cursor: Option<&str>, limit: Option<Limit>) -> Result<Self> {
        let after = cursor.map(|cursor| cursor.parse().map_err(|_| not_a_cursor())).transpose()?;
        Ok(Self { after, limit: limit.unwrap_or_default().rows() })
    }
}

impl<Cursor> Page<Cursor> {
    /// How many rows to read.
    pub fn rows(&self) -> Value {
        Value::Int(i64::try_from(self.limit + 1).unwrap_or(i64::MAX))
    }

    /// Removes the additional row, and returns the entries with the next cursor.
    pub fn cut<T, C: ToString>(&self, mut entries: Vec<T>, cursor: impl Fn(&T) -> C) -> Listed<T> {
        let next = (entries.len() > self.limit).then(|| cursor(&entries[self.limit - 1]).to_string());
        entries.truncate(self.limit);
        (entries, next)
    }
}

impl<Cursor: ToString> Page<Cursor> {
    /// The cursor as a parameter, or a value that sorts before or after every entry.
    pub fn after_or(&self, start: &str) -> Value {
        self.after.as_ref().map_or_else(|| start.into(), |after| after.to_string().into())
    }
}

pub fn not_a_cursor() -> Error {
    Error::field("cursor", "not a cursor that a list returned")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_tells_whether_there_is_more() {
        let page = Page::<u32> { after: None, limit: 2 };
        let cut = |entries: &[u32]| page.cut(entries.to_vec(), |entry| *entry);
        assert_eq!(cut(&[1, 2]), (vec![1, 2], None));
        assert_eq!(cut(&[1, 2, 3]), (vec![1, 2], Some("2".into())));
        assert_eq!(cut(&[]), (vec![], None));
        assert!(Page::<u32>::new(Some("x"), None).is_err());
    }
}
