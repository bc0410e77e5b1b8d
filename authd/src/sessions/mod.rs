//! Sessions: one table with kinds, one of identities.

use crate::registry::Registry;

pub fn register(_registry: &mut Registry) {}
