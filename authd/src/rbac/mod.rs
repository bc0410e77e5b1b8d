//! Users, services, roles, permissions and their relations.
//!
//! Invariants: a permission works for a person in a service only while person, service and role are active, and the
//! role is one of that service's; what a change takes away is gone from this node's next answer before the change is
//! answered; nobody gives anybody a permission on authd that they do not hold, by whatever route (a role, a role's
//! permission, a service's role, somebody's password), nor takes one away; names are compared folded, and unique
//! among the living; a relation is between things that are there.

pub mod access;
mod change;
mod explain;
mod model;
mod ops;
mod seed;
mod store;
#[cfg(test)]
mod tests;

use std::future::Future;

use shared::id::{RoleId, ServiceId};
use shared::op::Operation;
use uuid::Uuid;

pub use self::access::{Access, Rbac};
pub use self::seed::seed;
use crate::app::Ctx;
use crate::caller::Caller;
use crate::error::Result;
use crate::registry::{Registry, authorize};

/// The built-in service, whose permissions are authd's own ([`shared::op::Permission`]).
pub const AUTHD: ServiceId = ServiceId(Uuid::from_u128(0x0000_0000_0000_7000_8000_6175_7468_6400));
/// The name of the built-in service.
pub const AUTHD_NAME: &str = "authd";
/// The built-in role that holds `admin` on authd: what the first administrator is granted.
pub const ADMIN_ROLE: RoleId = RoleId(Uuid::from_u128(0x0000_0000_0000_7000_8000_6175_7468_6401));
/// The name of the built-in role.
pub const ADMIN_ROLE_NAME: &str = "authd-admin";

/// How often a change is tried that somebody else's keep overtaking.
const TRIES: usize = 8;

pub fn register(registry: &mut Registry) {
    add_change(registry, ops::users::create);
    registry.add(ops::users::list);
    registry.add(ops::users::show);
    add_change(registry, ops::users::update);
    add_change(registry, ops::users::delete);

    add_change(registry, ops::services::create);
    registry.add(ops::services::list);
    registry.add(ops::services::show);
    add_change(registry, ops::services::update);
    add_change(registry, ops::services::delete);
    registry.add(ops::service_tokens::create);
    registry.add(ops::service_tokens::list);
    registry.add(ops::service_tokens::revoke);

    add_change(registry, ops::roles::create);
    registry.add(ops::roles::list);
    registry.add(ops::roles::show);
    add_change(registry, ops::roles::update);
    add_change(registry, ops::roles::delete);

    add_change(registry, ops::permissions::create);
    registry.add(ops::permissions::list);
    registry.add(ops::permissions::show);
    add_change(registry, ops::permissions::update);
    add_change(registry, ops::permissions::delete);

    add_change(registry, ops::relations::add_role_permission);
    add_change(registry, ops::relations::remove_role_permission);
    registry.add(ops::relations::list_role_permissions);
    add_change(registry, ops::relations::add_service_role);
    add_change(registry, ops::relations::remove_service_role);
    registry.add(ops::relations::list_service_roles);

    add_change(registry, ops::grants::grant_role);
    add_change(registry, ops::grants::ungrant_role);
    add_change(registry, ops::grants::grant_permission);
    add_change(registry, ops::grants::ungrant_permission);
    registry.add(ops::grants::list);
    registry.add(ops::grants::list_person_roles);
    registry.add(ops::grants::list_role_people);
    registry.add(ops::grants::list_person_services);

    registry.add(explain::explain_permission);
}

/// Registers a change: it begins anew when somebody else's was committed between its checks and its commit, by what
/// the caller then still may.
fn add_change<Op, F, Fut>(registry: &mut Registry, handler: F)
where
    Op: Operation + Clone,
    F: Fn(Ctx, Op) -> Fut + Send + Sync + Copy + 'static,
    Fut: Future<Output = Result<Op::Response>> + Send + 'static,
{
    registry.add(move |mut ctx: Ctx, op: Op| async move {
        for _ in 1..TRIES {
            match handler(ctx.clone(), op.clone()).await {
                Err(error) if change::is_overtaken(&error) => {}
                answer => return answer,
            }
            if let Caller::User { id, permissions, .. } = &mut ctx.caller {
                *permissions = ctx.app.rbac.access(&ctx.app, *id, AUTHD).await?.authd;
            }
            authorize(&Op::INFO, &ctx.caller)?;
        }
        handler(ctx, op).await
    });
}
