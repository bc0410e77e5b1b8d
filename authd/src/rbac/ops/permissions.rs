//! Permissions.

use serde_json::json;
use shared::api::Done;
use shared::api::rbac::{
    CreatePermission, DeletePermission, ListPermissions, Permission, PermissionList, ShowPermission, UpdatePermission,
};
use shared::id::PermissionId;
use shared::op::Operation;
use shared::time::Time;

use super::{renamed, returned};
use crate::call::Call;
use crate::error::{Error, Result};
use crate::ledger::Change;
use crate::names;
use crate::page::Page;
use crate::rbac::Rbac;
use crate::rbac::model;
use crate::rbac::store::{permissions as store, relations};

impl Rbac {
    pub(in crate::rbac) async fn create_permission(&self, call: Call, op: CreatePermission) -> Result<Permission> {
        let folded = names::check("name", &op.name)?;
        let now = Time::from_millis(self.base.now());
        let permission =
            Permission { id: PermissionId(self.base.env.uuid()), name: op.name, created_at: now, updated_at: now };
        let change = Change::new(CreatePermission::INFO.name, permission.id)
            .with([store::insert(&permission, &folded)])
            .detail([("name", Some(json!(permission.name)))]);
        self.write(&call, change, store::NAME, &permission.name).await?;
        Ok(permission)
    }

    pub(in crate::rbac) async fn list_permissions(&self, _: Call, op: ListPermissions) -> Result<PermissionList> {
        let page = Page::new(op.cursor.as_deref(), op.limit)?;
        let permissions = store::list(self.base.db.as_ref(), &page).await?;
        let (permissions, next_cursor) = page.cut(permissions, |permission| permission.id);
        Ok(PermissionList { permissions, next_cursor })
    }

    pub(in crate::rbac) async fn show_permission(&self, _: Call, op: ShowPermission) -> Result<Permission> {
        self.stored_permission(&op.id).await
    }

    pub(in crate::rbac) async fn update_permission(&self, call: Call, op: UpdatePermission) -> Result<Permission> {
        let mut folded = String::new();
        let name = renamed("name", op.name.as_deref(), &mut folded)?;
        let permission = self.stored_permission(&op.id).await?;
        if model::is_authd_permission(&permission.name) && op.name.is_some() {
            return Err(built_in(&permission));
        }
        let update = store::update(permission.id, name, self.base.now());
        let change = Change::new(UpdatePermission::INFO.name, permission.id).with([update]).detail([
            ("from", op.name.is_some().then(|| json!(permission.name))),
            ("name", Some(json!(op.name.as_ref().unwrap_or(&permission.name)))),
        ]);
        let committed = self.write(&call, change, store::NAME, op.name.as_deref().unwrap_or_default()).await?;
        returned(&committed, store::NAME, store::read)
    }

    pub(in crate::rbac) async fn delete_permission(&self, call: Call, op: DeletePermission) -> Result<Done> {
        let permission = self.stored_permission(&op.id).await?;
        if model::is_authd_permission(&permission.name) {
            return Err(built_in(&permission));
        }
        let change = Change::new(DeletePermission::INFO.name, permission.id)
            .with([store::delete(permission.id, self.base.now())])
            .with(relations::delete_of_permission(permission.id))
            .detail([("name", Some(json!(permission.name)))]);
        self.write(&call, change, store::NAME, "").await?;
        Ok(Done::default())
    }
}

fn built_in(permission: &Permission) -> Error {
    model::built_in(&format!("authd's own permission {}", permission.name))
}
