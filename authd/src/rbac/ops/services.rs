//! Services.

use serde_json::json;
use shared::api::Done;
use shared::api::rbac::{CreateService, DeleteService, ListServices, Service, ServiceList, ShowService, UpdateService};
use shared::api::users::Status;
use shared::id::ServiceId;
use shared::op::Operation;
use shared::time::Time;

use crate::call::Call;
use crate::entities;
use crate::error::Result;
use crate::ledger::Change;
use crate::names;
use crate::rbac::model;
use crate::rbac::store::relations::delete_with_relations;
use crate::rbac::store::services as store;
use crate::rbac::{AUTHD, AUTHD_NAME, Rbac};
use crate::tokens;

impl Rbac {
    pub(in crate::rbac) async fn create_service(&self, call: Call, op: CreateService) -> Result<Service> {
        names::check("name", &op.name)?;
        op.description.as_deref().map_or(Ok(()), model::check_description)?;
        let now = Time::from_millis(self.base.now());
        let service = Service {
            id: ServiceId(self.base.env.uuid()),
            name: op.name,
            description: op.description.unwrap_or_default(),
            status: op.status.unwrap_or_default(),
            created_at: now,
            updated_at: now,
        };
        let change = Change::new(CreateService::INFO.name, service.id)
            .with([store::insert(&service)])
            .detail([("name", Some(json!(service.name))), ("status", Some(json!(service.status)))]);
        self.write::<Service>(&call, change, &service.name).await?;
        Ok(service)
    }

    pub(in crate::rbac) async fn list_services(&self, _: Call, op: ListServices) -> Result<ServiceList> {
        let (db, prefix) = (self.base.db.as_ref(), op.prefix.as_deref());
        let (services, next_cursor) = entities::list(db, op.cursor.as_deref(), op.limit, prefix).await?;
        Ok(ServiceList { services, next_cursor })
    }

    pub(in crate::rbac) async fn show_service(&self, _: Call, op: ShowService) -> Result<Service> {
        self.stored(&op.id).await
    }

    pub(in crate::rbac) async fn update_service(&self, call: Call, op: UpdateService) -> Result<Service> {
        op.name.as_deref().map(|name| names::check("name", name)).transpose()?;
        op.description.as_deref().map_or(Ok(()), model::check_description)?;
        let service: Service = self.stored(&op.id).await?;
        if service.id == AUTHD && (op.name.is_some() || op.status == Some(Status::Inactive)) {
            return Err(model::built_in(format_args!("the service {AUTHD_NAME}")));
        }
        let change = Change::new(UpdateService::INFO.name, service.id)
            .urgent_if(op.name.is_none() && op.description.is_none() && op.status == Some(Status::Inactive))
            .with([store::update(service.id, &op, self.base.now())])
            .detail([
                ("from", op.name.is_some().then(|| json!(service.name))),
                ("name", Some(json!(op.name.as_ref().unwrap_or(&service.name)))),
                ("description", op.description.as_ref().map(|description| json!(description))),
                ("status", op.status.map(|status| json!(status))),
            ]);
        self.update(&call, change, op.name.as_deref()).await
    }

    /// The service's tokens are revoked too: they would otherwise still be valid at /auth/validate.
    pub(in crate::rbac) async fn delete_service(&self, call: Call, op: DeleteService) -> Result<Done> {
        let service: Service = self.stored(&op.id).await?;
        if service.id == AUTHD {
            return Err(model::built_in(format_args!("the service {AUTHD_NAME}")));
        }
        let now = self.base.now();
        let (revoke_tokens, revoked_tokens) = tokens::revoke_of_service(service.id, "the service was deleted", now);
        let change = Change::new(DeleteService::INFO.name, service.id)
            .urgent()
            .with(delete_with_relations::<Service>(service.id, now))
            .with(revoke_tokens)
            .invalidates(revoked_tokens)
            .detail([("name", Some(json!(service.name)))]);
        self.write::<Service>(&call, change, "").await?;
        Ok(Done::default())
    }
}
