//! The SQL of services.

use shared::api::rbac::{Service, UpdateService};
use shared::api::users::Status;
use shared::id::ServiceId;
use shared::time::Time;

use crate::db::{Row, Statement};
use crate::entities::{Entity, Sql, sql};
use crate::env::Millis;
use crate::error::Result;
use crate::names;
use crate::users::store as users;

const INSERT: &str = "INSERT INTO services (id, name, live_name, description, status, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $6)";
const UPDATE: &str = "UPDATE services SET name = COALESCE($2, name), live_name = COALESCE($3, live_name), \
       description = COALESCE($4, description), status = COALESCE($5, status), updated_at = $6 \
     WHERE id = $1 AND deleted_at IS NULL \
     RETURNING id, name, description, status, created_at, updated_at";

impl Entity for Service {
    type Id = ServiceId;

    const KIND: &'static str = "service";
    const SQL: Sql = sql!("services", "id, name, description, status, created_at, updated_at");

    fn id(&self) -> ServiceId {
        self.id
    }

    fn read(row: &Row) -> Result<Self> {
        let mut row = row.cursor();
        Ok(Self {
            id: row.id()?,
            name: row.string()?,
            description: row.string()?,
            status: users::status(row.text()?),
            created_at: Time::from_millis(row.int()?),
            updated_at: Time::from_millis(row.int()?),
        })
    }
}

/// Inserts a service; a duplicate if the name is taken.
pub fn insert(service: &Service) -> Statement {
    Statement::one(
        Service::KIND,
        INSERT,
        [
            service.id.into(),
            service.name.as_str().into(),
            names::fold(&service.name).into(),
            service.description.as_str().into(),
            service.status.as_str().into(),
            service.created_at.millis().into(),
        ],
    )
}

/// Changes the given fields, and returns the new state. Fails if there is no such service; a duplicate if the name is
/// taken.
pub fn update(service: ServiceId, changes: &UpdateService, now: Millis) -> Statement {
    let (name, status) = (changes.name.as_deref(), changes.status.map(Status::as_str));
    let description = changes.description.as_deref();
    let folded = name.map(names::fold);
    let params = [service.into(), name.into(), folded.into(), description.into(), status.into(), now.into()];
    Statement::one(Service::KIND, UPDATE, params)
}
