//! The SQL of services.

use shared::api::rbac::Service;
use shared::api::users::Status;
use shared::id::ServiceId;
use shared::time::Time;

use super::super::model::{self, Page};
use super::{id, opt, thing};
use crate::db::{Db, Query, Row, Statement};
use crate::error::Result;
use crate::names;
use crate::world::Millis;

thing!("service", "services", "id, name, description, status, created_at, updated_at", Service, ServiceId);

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
            service.id.to_string().into(),
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
        [
            service.to_string().into(),
            opt(name),
            opt(folded),
            opt(description),
            opt(status.map(Status::as_str)),
            now.into(),
        ],
    )
}

pub fn read(row: &Row) -> Result<Service> {
    Ok(Service {
        id: id(row, 0)?,
        name: row.text(1)?.to_owned(),
        description: row.text(2)?.to_owned(),
        status: model::status(row.text(3)?),
        created_at: Time::from_millis(row.int(4)?),
        updated_at: Time::from_millis(row.int(5)?),
    })
}
