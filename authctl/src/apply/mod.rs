//! The access in a file, the current state, and the difference. No I/O here; see `commands/apply.rs`.
//!
//! Invariants: the daemon is not called while the file has a fault; a step of a plan refers only to objects that exist
//! or are created before; removals come after additions, and activations after both; authd's built-in objects are never
//! removed.

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
pub(crate) use file::{Fault, File, MAX_BYTES, User, email_of_user, name_of_user};
pub(crate) use plan::{Plan, idle};
pub(crate) use step::Step;

/// The built-in service, whose permissions are authd's own.
pub(crate) const AUTHD: &str = "authd";
/// The built-in role, which has all permissions.
pub(crate) const AUTHD_ADMIN: &str = "authd-admin";

/// The kinds of objects in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Permission,
    Role,
    Service,
    User,
    Grant,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
