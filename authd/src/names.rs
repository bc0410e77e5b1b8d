//! Names that people type, as [`shared::names`] has them, with the errors of this daemon.

pub use shared::names::{MAX, fold};
use shared::problem::Code;

use crate::error::{Error, Result};

/// A name that may be given to something, in its folded form (see [`shared::names::check`]).
pub fn check(field: &str, name: &str) -> Result<String> {
    shared::names::check(name).map_err(|detail| Error::field(field, detail))
}

/// Somebody else has the name.
pub fn taken(what: &str, name: &str) -> Error {
    Error::new(Code::NameTaken, format!("there is already a {what} named {name:?}"))
}
