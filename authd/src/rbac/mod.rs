//! Users, services, roles, permissions and their relations.
//!
//! Invariants: a permission works for a person in a service only while person, service and role are active, and the
//! role is one of that service's; what a change takes away is gone from this node's next answer before the change is
//! answered; nobody gives anybody a permission on authd that they do not hold, by whatever route (a role, a role's
//! permission, a service's role, somebody's password); names are compared folded, and unique among the living.

pub mod access;

use shared::id::ServiceId;
use uuid::Uuid;

pub use self::access::{Access, Rbac};

/// The built-in service, whose permissions are authd's own ([`shared::op::Permission`]).
pub const AUTHD: ServiceId = ServiceId(Uuid::from_u128(0x0000_0000_0000_7000_8000_6175_7468_6400));
/// The name of the built-in service.
pub const AUTHD_NAME: &str = "authd";
