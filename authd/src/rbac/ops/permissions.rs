//! Permissions.

use serde_json::json;
use shared::api::Done;
use shared::api::rbac::{
    CreatePermission, DeletePermission, ListPermissions, Permission, PermissionList, ShowPermission, UpdatePermission,
};
use shared::id::PermissionId;
use shared::op::Operation;
use shared::time::Time;

use crate::call::Call;
use crate::entities;
use crate::error::Result;
use crate::ledger::Change;
use crate::names;
use crate::rbac::Rbac;
use crate::rbac::model;
use crate::rbac::store::permissions as store;
use crate::rbac::store::relations::delete_with_relations;

impl Rbac {
    pub(in crate::rbac) async fn create_permission(&self, call: Call, op: CreatePermission) -> Result<Permission> {
        names::check("name", &op.name)?;
        let now = Time::from_millis(self.base.now());
        let permission =
            Permission { id: PermissionId(self.base.env.uuid()), name: op.name, created_at: now, updated_at: now };
        let change = Change::new(CreatePermission::INFO.name, permission.id)
            .with([store::insert(&permission)])
            .detail([("name", Some(json!(permission.name)))]);
        self.write::<Permission>(&call, change, &permission.name).await?;
        Ok(permission)
    }

    pub(in crate::rbac) async fn list_permissions(&self, _: Call, op: ListPermissions) -> Result<PermissionList> {
        let (db, prefix) = (self.base.db.as_ref(), op.prefix.as_deref());
        let (permissions, next_cursor) = entities::list(db, op.cursor.as_deref(), op.limit, prefix).await?;
        Ok(PermissionList { permissions, next_cursor })
    }

    pub(in crate::rbac) async fn show_permission(&self, _: Call, op: ShowPermission) -> Result<Permission> {
        self.stored(&op.id).await
    }

    pub(in crate::rbac) async fn update_permission(&self, call: Call, op: UpdatePermission) -> Result<Permission> {
        op.name.as_deref().map(|name| names::check("name", name)).transpose()?;
        let permission: Permission = self.stored(&op.id).await?;
        if model::is_authd_permission(&permission.name) && op.name.is_some() {
            return Err(model::built_in(format_args!("authd's own permission {}", permission.name)));
        }
        let change = Change::new(UpdatePermission::INFO.name, permission.id)
            .with([store::update(permission.id, &op, self.base.now())])
            .detail([
                ("from", op.name.is_some().then(|| json!(permission.name))),
                ("name", Some(json!(op.name.as_ref().unwrap_or(&permission.name)))),
            ]);
        self.update(&call, change, op.name.as_deref()).await
    }

    pub(in crate::rbac) async fn delete_permission(&self, call: Call, op: DeletePermission) -> Result<Done> {
        let permission: Permission = self.stored(&op.id).await?;
        if model::is_authd_permission(&permission.name) {
            return Err(model::built_in(format_args!("authd's own permission {}", permission.name)));
        }
        let change = Change::new(DeletePermission::INFO.name, permission.id)
            .urgent()
            .with(delete_with_relations::<Permission>(permission.id, self.base.now()))
            .detail([("name", Some(json!(permission.name)))]);
        self.write::<Permission>(&call, change, "").await?;
        Ok(Done::default())
    }
}
