//! The values of parameters and of result rows.

use std::str::FromStr;

use shared::id::{FactorId, FileId, IdentityId, MailId, PermissionId, RoleId, ServiceId, SessionId, TokenId, UserId};
use uuid::Uuid;

use super::DbError;

/// One SQL value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(value: [u8; N]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

/// Ids are stored as text.
macro_rules! ids {
    ($($id:ty),*) => {$(
        impl From<$id> for Value {
            fn from(id: $id) -> Self {
                Self::Text(id.to_string())
            }
        }
    )*};
}

ids!(FactorId, FileId, IdentityId, MailId, TokenId, SessionId, UserId, ServiceId, RoleId, PermissionId, Uuid);

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A hash as in the table of secrets: its first eight bytes are the key, the others are compared.
pub fn split_hash(hash: &[u8; 32]) -> (Value, Value) {
    let (slot, rest) = hash.split_at(8);
    (Value::Int(i64::from_be_bytes(slot.try_into().unwrap_or_default())), rest.to_vec().into())
}

/// A row of a result, read by position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(pub Vec<Value>);

impl Row {
    /// Reads the columns in the order of the statement.
    pub fn cursor(&self) -> Cursor<'_> {
        Cursor { values: &self.0, column: 0 }
    }
}

/// Reads the columns of a row one after the other, each by its type.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    values: &'a [Value],
    column: usize,
}

impl<'a> Cursor<'a> {
    fn next<T>(&mut self, kind: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Result<T, DbError> {
        let column = self.column;
        self.column += 1;
        self.values.get(column).and_then(read).ok_or_else(|| DbError::shape(column, kind))
    }

    pub fn int(&mut self) -> Result<i64, DbError> {
        self.next("an integer", |value| if let Value::Int(value) = value { Some(*value) } else { None })
    }

    /// Stored as 0 or 1.
    pub fn bool(&mut self) -> Result<bool, DbError> {
        Ok(self.int()? != 0)
    }

    pub fn text(&mut self) -> Result<&'a str, DbError> {
        self.next("text", |value| if let Value::Text(value) = value { Some(value.as_str()) } else { None })
    }

    pub fn string(&mut self) -> Result<String, DbError> {
        self.text().map(str::to_owned)
    }

    pub fn id<T: FromStr>(&mut self) -> Result<T, DbError> {
        let column = self.column;
        self.text()?.parse().map_err(|_| DbError::shape(column, "an id"))
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], DbError> {
        self.next("bytes", |value| if let Value::Bytes(value) = value { Some(value.as_slice()) } else { None })
    }

    /// A value that may be NULL: `row.opt(Cursor::int)`.
    pub fn opt<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, DbError>) -> Result<Option<T>, DbError> {
        if self.values.get(self.column) == Some(&Value::Null) {
            self.column += 1;
            return Ok(None);
        }
        read(self).map(Some)
    }
}
