//! Users, services, roles, permissions and their relations.
//!
//! Invariants: a permission works for a person in a service only while person, service and role are active, and the
//! role is one of that service's; a change is effective on this node before it is answered; a caller can grant or
//! remove a permission on authd only if they have it, by any route (a role, a role's permission, a service's role, a
//! user's password); names are compared folded, and unique among objects that are not deleted; a relation is between
//! existing objects.

pub mod access;
mod change;
mod explain;
mod model;
mod ops;
mod own_access;
mod seed;
pub mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use shared::id::RoleId;
use uuid::Uuid;

pub use self::access::{Access, InService, Named, Service};
pub use self::change::Guard;
pub use self::own_access::{OwnAccess, OwnService, Reason};
pub use self::seed::seed;
use crate::base::Base;
use crate::cache::{ALLOCATION, Cache};
pub use crate::caller::AUTHD;
use crate::registry::Registry;
use crate::tokens::Tokens;
use crate::users::Users;

/// The name of the built-in service.
pub const AUTHD_NAME: &str = "authd";
/// The built-in role with `admin` on authd, which the first administrator is granted.
pub const ADMIN_ROLE: RoleId = RoleId(Uuid::from_u128(0x0000_0000_0000_7000_8000_6175_7468_6401));
/// The name of the built-in role.
pub const ADMIN_ROLE_NAME: &str = "authd-admin";

/// Bytes of cached access, and of cached services.
const ACCESS_BYTES: u64 = 16 << 20;
const SERVICE_BYTES: u64 = 1 << 20;
/// Maximum number of concurrent reads of each kind, so that requests about unknown services do not block the
/// database.
const READS: usize = 4;

/// Services, roles, permissions and grants.
#[derive(Debug)]
pub struct Rbac {
    base: Base,
    tokens: Arc<Tokens>,
    users: Arc<Users>,
    access: Cache<Access>,
    services: Cache<Service>,
}

impl Rbac {
    pub fn new(base: &Base, tokens: Arc<Tokens>, users: Arc<Users>) -> Arc<Self> {
        let trust = base.ledger.trust();
        let this = Arc::new(Self {
            base: base.clone(),
            tokens,
            users,
            access: Cache::new(ACCESS_BYTES, trust.clone(), READS, Access::heap_bytes),
            services: Cache::new(SERVICE_BYTES, trust, READS, |service| service.name.capacity() + ALLOCATION),
        });
        base.ledger.subscribe(&this);
        this
    }

    pub fn users(&self) -> &Users {
        &self.users
    }

    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.add(self, Self::create_service);
        registry.add(self, Self::list_services);
        registry.add(self, Self::show_service);
        registry.add(self, Self::update_service);
        registry.add(self, Self::delete_service);
        registry.add(self, Self::create_service_token);
        registry.add(self, Self::list_service_tokens);
        registry.add(self, Self::revoke_service_token);

        registry.add(self, Self::create_role);
        registry.add(self, Self::list_roles);
        registry.add(self, Self::show_role);
        registry.add(self, Self::update_role);
        registry.add(self, Self::delete_role);

        registry.add(self, Self::create_permission);
        registry.add(self, Self::list_permissions);
        registry.add(self, Self::show_permission);
        registry.add(self, Self::update_permission);
        registry.add(self, Self::delete_permission);

        registry.add(self, Self::add_role_permission);
        registry.add(self, Self::remove_role_permission);
        registry.add(self, Self::list_role_permissions);
        registry.add(self, Self::add_service_role);
        registry.add(self, Self::remove_service_role);
        registry.add(self, Self::list_service_roles);

        registry.add(self, Self::grant_role);
        registry.add(self, Self::ungrant_role);
        registry.add(self, Self::grant_permission);
        registry.add(self, Self::ungrant_permission);
        registry.add(self, Self::list_grants);
        registry.add(self, Self::list_person_roles);
        registry.add(self, Self::list_role_people);
        registry.add(self, Self::list_person_services);

        registry.add(self, Self::explain_permission);
    }
}
