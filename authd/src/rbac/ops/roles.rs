//! Roles.

use serde_json::json;
use shared::api::Done;
use shared::api::rbac::{CreateRole, DeleteRole, ListRoles, Role, RoleList, ShowRole, UpdateRole};
use shared::api::users::Status;
use shared::id::RoleId;
use shared::op::Operation;
use shared::time::Time;

use crate::call::Call;
use crate::entities;
use crate::error::Result;
use crate::ledger::Change;
use crate::names;
use crate::rbac::change::Guard;
use crate::rbac::model;
use crate::rbac::store::relations::delete_with_relations;
use crate::rbac::store::roles as store;
use crate::rbac::{ADMIN_ROLE, ADMIN_ROLE_NAME, Rbac};

impl Rbac {
    pub(in crate::rbac) async fn create_role(&self, call: Call, op: CreateRole) -> Result<Role> {
        names::check("name", &op.name)?;
        let now = Time::from_millis(self.base.now());
        let role = Role {
            id: RoleId(self.base.env.uuid()),
            name: op.name,
            status: op.status.unwrap_or_default(),
            created_at: now,
            updated_at: now,
        };
        let change = Change::new(CreateRole::INFO.name, role.id)
            .with([store::insert(&role)])
            .detail([("name", Some(json!(role.name))), ("status", Some(json!(role.status)))]);
        self.write::<Role>(&call, change, &role.name).await?;
        Ok(role)
    }

    pub(in crate::rbac) async fn list_roles(&self, _: Call, op: ListRoles) -> Result<RoleList> {
        let (db, prefix) = (self.base.db.as_ref(), op.prefix.as_deref());
        let (roles, next_cursor) = entities::list(db, op.cursor.as_deref(), op.limit, prefix).await?;
        Ok(RoleList { roles, next_cursor })
    }

    pub(in crate::rbac) async fn show_role(&self, _: Call, op: ShowRole) -> Result<Role> {
        self.stored(&op.id).await
    }

    pub(in crate::rbac) async fn update_role(&self, call: Call, op: UpdateRole) -> Result<Role> {
        op.name.as_deref().map(|name| names::check("name", name)).transpose()?;
        let role: Role = self.stored(&op.id).await?;
        if role.id == ADMIN_ROLE && (op.name.is_some() || op.status == Some(Status::Inactive)) {
            return Err(model::built_in(format_args!("the role {ADMIN_ROLE_NAME}")));
        }
        let guard = self.role_guard(&call, role.id).await?;
        let change = Change::new(UpdateRole::INFO.name, role.id)
            .urgent_if(op.name.is_none() && op.status == Some(Status::Inactive))
            .with([store::update(role.id, &op, self.base.now())])
            .detail([
                ("from", op.name.is_some().then(|| json!(role.name))),
                ("name", Some(json!(op.name.as_ref().unwrap_or(&role.name)))),
                ("status", op.status.map(|status| json!(status))),
            ]);
        self.update(&call, guard.guard(change), op.name.as_deref()).await
    }

    pub(in crate::rbac) async fn delete_role(&self, call: Call, op: DeleteRole) -> Result<Done> {
        let role: Role = self.stored(&op.id).await?;
        if role.id == ADMIN_ROLE {
            return Err(model::built_in(format_args!("the role {ADMIN_ROLE_NAME}")));
        }
        let guard = self.role_guard(&call, role.id).await?;
        let change = Change::new(DeleteRole::INFO.name, role.id)
            .urgent()
            .with(delete_with_relations::<Role>(role.id, self.base.now()))
            .detail([("name", Some(json!(role.name)))]);
        self.write::<Role>(&call, guard.guard(change), "").await?;
        Ok(Done::default())
    }

    /// A role that counts on authd can be changed only by callers with all its permissions there.
    async fn role_guard<'a>(&self, call: &'a Call, role: RoleId) -> Result<Guard<'a>> {
        let db = self.base.db.as_ref();
        let mut guard = Guard::new(self.base.db.as_ref(), &call.caller).await?;
        if store::counts_on_authd(db, role).await? {
            guard.check_changed(store::on_authd(db, role).await?)?;
        }
        Ok(guard)
    }
}
