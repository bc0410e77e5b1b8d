//! How others ask about tokens, API tokens and session tokens alike: introspection (RFC 7662), revocation (RFC 7009),
//! and the policies that proxies ask with every request.
//!
//! Invariants: an answer about a token is decided anew each time, of an identity that may come from a cache; storage
//! that fails is never an answer about a token; nobody learns about a token that they may not ask about; nothing that
//! a client sends chooses or weakens a policy, and what cannot be parsed is denied.

pub mod forward;
mod introspect;
pub mod model;
mod revoke;
#[cfg(test)]
pub mod tests;

use crate::registry::Registry;

pub fn register(registry: &mut Registry) {
    registry.add_direct(introspect::introspect_cached, introspect::introspect);
    registry.add(revoke::revoke);
}
