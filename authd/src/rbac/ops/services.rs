//! Services.

use serde_json::json;
use shared::api::Done;
use shared::api::rbac::{CreateService, DeleteService, ListServices, Service, ServiceList, ShowService, UpdateService};
use shared::api::users::Status;
use shared::id::ServiceId;
use shared::op::Operation;
use shared::time::Time;

use super::{renamed, returned};
use crate::call::Call;
use crate::error::Result;
use crate::ledger::Change;
use crate::names;
use crate::page::Page;
use crate::rbac::model;
use crate::rbac::store::{relations, services as store};
use crate::rbac::{AUTHD, AUTHD_NAME, Rbac};
use crate::tokens;

impl Rbac {
    pub(in crate::rbac) async fn create_service(&self, call: Call, op: CreateService) -> Result<Service> {
        let folded = names::check("name", &op.name)?;
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
            .with([store::insert(&service, &folded)])
            .detail([("name", Some(json!(service.name))), ("status", Some(json!(service.status)))]);
        self.write(&call, change, store::NAME, &service.name).await?;
        Ok(service)
    }

    pub(in crate::rbac) async fn list_services(&self, _: Call, op: ListServices) -> Result<ServiceList> {
        let page = Page::new(op.cursor.as_deref(), op.limit)?;
        let services = store::list(self.base.db.as_ref(), &page).await?;
        let (services, next_cursor) = page.cut(services, |service| service.id);
        Ok(ServiceList { services, next_cursor })
    }

    pub(in crate::rbac) async fn show_service(&self, _: Call, op: ShowService) -> Result<Service> {
        self.stored_service(&op.id).await
    }

    pub(in crate::rbac) async fn update_service(&self, call: Call, op: UpdateService) -> Result<Service> {
        let mut folded = String::new();
        let name = renamed("name", op.name.as_deref(), &mut folded)?;
        op.description.as_deref().map_or(Ok(()), model::check_description)?;
        let service = self.stored_service(&op.id).await?;
        if service.id == AUTHD && (op.name.is_some() || op.status == Some(Status::Inactive)) {
            return Err(built_in());
        }
        let update = store::update(service.id, name, op.description.as_deref(), op.status, self.base.now());
        let change = Change::new(UpdateService::INFO.name, service.id).with([update]).detail([
            ("from", op.name.is_some().then(|| json!(service.name))),
            ("name", Some(json!(op.name.as_ref().unwrap_or(&service.name)))),
            ("description", op.description.as_ref().map(|description| json!(description))),
            ("status", op.status.map(|status| json!(status))),
        ]);
        let committed = self.write(&call, change, store::NAME, op.name.as_deref().unwrap_or_default()).await?;
        returned(&committed, store::NAME, store::read)
    }

    /// Its tokens end with it: they could ask about nobody any more, but would still be good at /auth/validate.
    pub(in crate::rbac) async fn delete_service(&self, call: Call, op: DeleteService) -> Result<Done> {
        let service = self.stored_service(&op.id).await?;
        if service.id == AUTHD {
            return Err(built_in());
        }
        let now = self.base.now();
        let (revoke_tokens, revoked_tokens) = tokens::revoke_of_service(service.id, "the service was deleted", now);
        let change = Change::new(DeleteService::INFO.name, service.id)
            .with([store::delete(service.id, now)])
            .with(relations::delete_of_service(service.id))
            .with(revoke_tokens)
            .invalidates(revoked_tokens)
            .detail([("name", Some(json!(service.name)))]);
        self.write(&call, change, store::NAME, "").await?;
        Ok(Done::default())
    }
}

fn built_in() -> crate::error::Error {
    model::built_in(&format!("the service {AUTHD_NAME}"))
}
