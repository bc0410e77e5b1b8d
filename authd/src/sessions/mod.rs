//! Sessions: one table with kinds, one of identities.
//!
//! Invariants: a session that has ended never comes back; whoever changes one says in the same statement that it must
//! still be alive, so that an end and a renewal cannot both win; ending forgets the provider's tokens at once.

pub mod model;
pub mod ops;
pub mod store;

use crate::registry::Registry;

pub fn register(registry: &mut Registry) {
    registry.add(ops::list);
    registry.add(ops::end);
}
