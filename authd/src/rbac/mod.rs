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

use shared::id::{RoleId, ServiceId};
use uuid::Uuid;

pub use self::access::{Access, Rbac};
pub use self::seed::seed;
use crate::ledger::Invalidation;
use crate::registry::Registry;

/// The built-in service, whose permissions are authd's own ([`shared::op::Permission`]).
pub const AUTHD: ServiceId = ServiceId(Uuid::from_u128(0x0000_0000_0000_7000_8000_6175_7468_6400));
/// The name of the built-in service.
pub const AUTHD_NAME: &str = "authd";
/// The built-in role that holds `admin` on authd: what the first administrator is granted.
pub const ADMIN_ROLE: RoleId = RoleId(Uuid::from_u128(0x0000_0000_0000_7000_8000_6175_7468_6401));
/// The name of the built-in role.
pub const ADMIN_ROLE_NAME: &str = "authd-admin";

/// The kind of the invalidations of access; their subject is the id of what changed.
const INVALIDATION: &str = "access";

/// People or access have changed.
pub(crate) fn invalidation(subject: impl ToString) -> Invalidation {
    Invalidation::One(INVALIDATION, subject.to_string())
}

pub fn register(registry: &mut Registry) {
    registry.add(ops::users::create);
    registry.add(ops::users::list);
    registry.add(ops::users::show);
    registry.add(ops::users::update);
    registry.add(ops::users::delete);

    registry.add(ops::services::create);
    registry.add(ops::services::list);
    registry.add(ops::services::show);
    registry.add(ops::services::update);
    registry.add(ops::services::delete);
    registry.add(ops::service_tokens::create);
    registry.add(ops::service_tokens::list);
    registry.add(ops::service_tokens::revoke);

    registry.add(ops::roles::create);
    registry.add(ops::roles::list);
    registry.add(ops::roles::show);
    registry.add(ops::roles::update);
    registry.add(ops::roles::delete);

    registry.add(ops::permissions::create);
    registry.add(ops::permissions::list);
    registry.add(ops::permissions::show);
    registry.add(ops::permissions::update);
    registry.add(ops::permissions::delete);

    registry.add(ops::relations::add_role_permission);
    registry.add(ops::relations::remove_role_permission);
    registry.add(ops::relations::list_role_permissions);
    registry.add(ops::relations::add_service_role);
    registry.add(ops::relations::remove_service_role);
    registry.add(ops::relations::list_service_roles);

    registry.add(ops::grants::grant_role);
    registry.add(ops::grants::ungrant_role);
    registry.add(ops::grants::grant_permission);
    registry.add(ops::grants::ungrant_permission);
    registry.add(ops::grants::list);
    registry.add(ops::grants::list_person_roles);
    registry.add(ops::grants::list_role_people);
    registry.add(ops::grants::list_person_services);

    registry.add(explain::explain_permission);
}
