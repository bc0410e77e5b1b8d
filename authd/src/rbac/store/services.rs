//! The SQL of services.

use shared::api::rbac::Service;
use shared::api::users::Status;
use shared::id::ServiceId;
use shared::time::Time;

use uuid::Uuid;

use crate::db::named::named;
use crate::db::{Db, Query, Row, Statement};
use crate::env::Millis;
use crate::error::Result;
use crate::names;
use crate::page::Page;
use crate::users::store as users;

named!("service", "services", "id, name, description, status, created_at, updated_at", Service, ServiceId);

const INSERT: &str = "INSERT INTO services (id, name, live_name, description, status, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $6)";
const UPDATE: &str = "UPDATE services SET name = COALESCE($2, name), live_name = COALESCE($3, live_name), \
       description = COALESCE($4, description), status = COALESCE($5, status), updated_at = $6 \
     WHERE id = $1 AND deleted_at IS NULL \
     RETURNING id, name, description, status, created_at, updated_at";

/// Duplicate when the name is taken.
pub fn insert(service: &Service, folded: &str) -> Statement {
    Statement::one(
        NAME,
        INSERT,
        [
            service.id.into(),
            service.name.as_str().into(),
            folded.into(),
            service.description.as_str().into(),
            service.status.as_str().into(),
            service.created_at.millis().into(),
        ],
    )
}

/// Changes what is given (a name comes with its folded form) and returns the service as it is now, for [`read`].
/// Fails when there is none, duplicate when the name is taken.
pub fn update(
    service: ServiceId,
    name: Option<(&str, &str)>,
    description: Option<&str>,
    status: Option<Status>,
    now: Millis,
) -> Statement {
    let (name, folded) = name.unzip();
    Statement::one(
        NAME,
        UPDATE,
        [service.into(), name.into(), folded.into(), description.into(), status.map(Status::as_str).into(), now.into()],
    )
}

pub fn read(row: &Row) -> Result<Service> {
    let mut row = row.cursor();
    Ok(Service {
        id: row.id()?,
        name: row.string()?,
        description: row.string()?,
        status: users::status(row.text()?),
        created_at: Time::from_millis(row.int()?),
        updated_at: Time::from_millis(row.int()?),
    })
}
