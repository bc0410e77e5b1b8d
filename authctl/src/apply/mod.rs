//! What a file says about access, what there is, and the difference: no I/O here, see `commands/apply.rs`.
//!
//! Invariants: nothing is asked of the daemon while the file has a fault; a plan refers to nothing that neither is nor
//! is made before; what a plan takes away comes after what it gives, and what it lets work again comes after both;
//! what authd brings itself is never taken away.

mod current;
mod file;
mod locate;
mod plan;
mod show;
mod step;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

pub(crate) use current::{Current, Held};
pub(crate) use file::{Fault, File, MAX_BYTES};
pub(crate) use plan::{Plan, idle};
pub(crate) use step::Step;

/// The built-in service, whose permissions are authd's own.
pub(crate) const AUTHD: &str = "authd";
/// The built-in role, which has all of them.
pub(crate) const AUTHD_ADMIN: &str = "authd-admin";

/// What a file can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Permission,
    Role,
    Service,
    Grant,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
