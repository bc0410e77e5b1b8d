//! Roles.

use serde_json::json;
use shared::api::Done;
use shared::api::rbac::{CreateRole, DeleteRole, ListRoles, Role, RoleList, ShowRole, UpdateRole};
use shared::api::users::Status;
use shared::id::RoleId;
use shared::op::Operation;
use shared::time::Time;

use super::{renamed, returned};
use crate::call::Call;
use crate::error::{Error, Result};
use crate::ledger::Change;
use crate::names;
use crate::page::Page;
use crate::rbac::change::Guard;
use crate::rbac::model;
use crate::rbac::store::{relations, roles as store};
use crate::rbac::{ADMIN_ROLE, ADMIN_ROLE_NAME, Rbac};

impl Rbac {
    pub(in crate::rbac) async fn create_role(&self, call: Call, op: CreateRole) -> Result<Role> {
        let folded = names::check("name", &op.name)?;
        let now = Time::from_millis(self.base.now());
        let role = Role {
            id: RoleId(self.base.env.uuid()),
            name: op.name,
            status: op.status.unwrap_or_default(),
            created_at: now,
            updated_at: now,
        };
        let change = Change::new(CreateRole::INFO.name, role.id)
            .with([store::insert(&role, &folded)])
            .detail([("name", Some(json!(role.name))), ("status", Some(json!(role.status)))]);
        self.write(&call, change, store::NAME, &role.name).await?;
        Ok(role)
    }

    pub(in crate::rbac) async fn list_roles(&self, _: Call, op: ListRoles) -> Result<RoleList> {
        let page = Page::new(op.cursor.as_deref(), op.limit)?;
        let roles = store::list(self.base.db.as_ref(), &page).await?;
        let (roles, next_cursor) = page.cut(roles, |role| role.id);
        Ok(RoleList { roles, next_cursor })
    }

    pub(in crate::rbac) async fn show_role(&self, _: Call, op: ShowRole) -> Result<Role> {
        self.stored_role(&op.id).await
    }

    pub(in crate::rbac) async fn update_role(&self, call: Call, op: UpdateRole) -> Result<Role> {
        let mut folded = String::new();
        let name = renamed("name", op.name.as_deref(), &mut folded)?;
        let role = self.stored_role(&op.id).await?;
        if role.id == ADMIN_ROLE && (op.name.is_some() || op.status == Some(Status::Inactive)) {
            return Err(built_in());
        }
        let guard = self.role_guard(&call, role.id).await?;
        let update = store::update(role.id, name, op.status, self.base.now());
        let change = Change::new(UpdateRole::INFO.name, role.id).with([update]).detail([
            ("from", op.name.is_some().then(|| json!(role.name))),
            ("name", Some(json!(op.name.as_ref().unwrap_or(&role.name)))),
            ("status", op.status.map(|status| json!(status))),
        ]);
        let committed =
            self.write(&call, guard.guard(change), store::NAME, op.name.as_deref().unwrap_or_default()).await?;
        returned(&committed, store::NAME, store::read)
    }

    pub(in crate::rbac) async fn delete_role(&self, call: Call, op: DeleteRole) -> Result<Done> {
        let role = self.stored_role(&op.id).await?;
        if role.id == ADMIN_ROLE {
            return Err(built_in());
        }
        let guard = self.role_guard(&call, role.id).await?;
        let change = Change::new(DeleteRole::INFO.name, role.id)
            .with([store::delete(role.id, self.base.now())])
            .with(relations::delete_of_role(role.id))
            .detail([("name", Some(json!(role.name)))]);
        self.write(&call, guard.guard(change), store::NAME, "").await?;
        Ok(Done::default())
    }

    /// A role that counts on authd is changed only by those who hold all that it is worth there.
    async fn role_guard<'a>(&self, call: &'a Call, role: RoleId) -> Result<Guard<'a>> {
        let db = self.base.db.as_ref();
        let mut guard = Guard::new(self.base.db.as_ref(), &call.caller).await?;
        if store::counts_on_authd(db, role).await? {
            guard.check_changed(store::on_authd(db, role).await?)?;
        }
        Ok(guard)
    }
}

fn built_in() -> Error {
    model::built_in(&format!("the role {ADMIN_ROLE_NAME}"))
}
