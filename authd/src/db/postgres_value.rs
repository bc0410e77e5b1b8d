//! Conversion of values for PostgreSQL, and the meaning of its errors.

use std::error::Error;

use deadpool_postgres::PoolError;
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::{DbError, Row, Value};
use crate::error::Chain;

pub(super) fn borrowed(params: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    params.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

type Mismatch = Box<dyn Error + Sync + Send>;

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Mismatch> {
        match (self, ty) {
            (Self::Null, _) => Ok(IsNull::Yes),
            (Self::Int(value), &Type::INT8) => value.to_sql(ty, out),
            (Self::Int(value), &Type::INT4) => i32::try_from(*value)?.to_sql(ty, out),
            (Self::Text(value), _) if <String as ToSql>::accepts(ty) => value.to_sql(ty, out),
            (Self::Bytes(value), &Type::BYTEA) => value.to_sql(ty, out),
            // The messages name the types, never the value.
            (Self::Int(_), _) => Err(format!("an integer where the statement wants {ty}").into()),
            (Self::Text(_), _) => Err(format!("text where the statement wants {ty}").into()),
            (Self::Bytes(_), _) => Err(format!("bytes where the statement wants {ty}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Mismatch> {
        match *ty {
            Type::INT8 => i64::from_sql(ty, raw).map(Self::Int),
            Type::INT4 => i32::from_sql(ty, raw).map(|value| Self::Int(value.into())),
            // SQLite has no booleans.
            Type::BOOL => bool::from_sql(ty, raw).map(|value| Self::Int(value.into())),
            Type::BYTEA => Vec::from_sql(ty, raw).map(Self::Bytes),
            _ => String::from_sql(ty, raw).map(Self::Text),
        }
    }

    fn from_sql_null(_: &Type) -> Result<Self, Mismatch> {
        Ok(Self::Null)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::INT8 | Type::INT4 | Type::BOOL | Type::BYTEA) || <String as FromSql>::accepts(ty)
    }
}

pub(super) fn row(found: &tokio_postgres::Row) -> Result<Row, DbError> {
    let values = (0..found.len()).map(|column| found.try_get(column).map_err(|error| failed(&error, "query")));
    values.collect::<Result<_, _>>().map(Row)
}

/// The type of a value, where the statement is not prepared before; PostgreSQL infers that of NULL.
pub(super) fn type_of(value: &Value) -> Type {
    match value {
        Value::Null => Type::UNKNOWN,
        Value::Int(_) => Type::INT8,
        Value::Text(_) => Type::TEXT,
        Value::Bytes(_) => Type::BYTEA,
    }
}

/// Whether a migration by a newer authd has changed what a prepared statement answers.
pub(super) fn is_stale(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|cause| {
        *cause.code() == SqlState::FEATURE_NOT_SUPPORTED && cause.routine() == Some("RevalidateCachedQuery")
    })
}

/// Whether a prepared statement is missing, or its name is taken: the session is shared with others. The statement was
/// not executed.
pub(super) fn is_shared(error: &tokio_postgres::Error) -> bool {
    let signs = [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PSTATEMENT];
    error.code().is_some_and(|code| signs.contains(code))
}

/// Whether the server answered that the statement failed and the session continues; not the end of the session or a
/// broken connection, which a pooler reports as an error of class 08.
pub(super) fn is_refusal(error: &tokio_postgres::Error) -> bool {
    error
        .as_db_error()
        .is_some_and(|cause| cause.parsed_severity() == Some(Severity::Error) && !cause.code().code().starts_with("08"))
}

/// Converts PostgreSQL's error for the caller of the statement of this name.
pub(super) fn failed(error: &tokio_postgres::Error, name: &'static str) -> DbError {
    let Some(code) = error.code() else {
        let broken = error.is_closed() || error.source().is_some_and(<dyn Error>::is::<std::io::Error>);
        return if broken { DbError::Unavailable(told(error).into()) } else { DbError::Defect(told(error).into()) };
    };
    if *code == SqlState::UNIQUE_VIOLATION {
        return DbError::Duplicate(name);
    }
    // Classes of PostgreSQL's appendix A: connection, invalid authorization, transaction rollback, resources,
    // object not in prerequisite state (locks), operator intervention, system error; and a read-only standby.
    let down = ["08", "28", "40", "53", "55", "57", "58"].iter().any(|class| code.code().starts_with(class));
    if down || *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        DbError::Unavailable(told(error).into())
    } else {
        DbError::Defect(told(error).into())
    }
}

pub(super) fn no_connection(error: &PoolError) -> DbError {
    DbError::Unavailable(match error {
        PoolError::Backend(error) => format!("no connection to PostgreSQL: {}", told(error)).into(),
        PoolError::Timeout(_) => "no connection to PostgreSQL within the deadline".into(),
        error => format!("no connection to PostgreSQL: {error}").into(),
    })
}

/// The error for the log: code and message, but not DETAIL, which quotes values of rows.
pub(super) fn told(error: &tokio_postgres::Error) -> String {
    if let Some(cause) = error.as_db_error() {
        return format!("{} ({})", cause.message(), cause.code().code());
    }
    Chain(error).to_string()
}
