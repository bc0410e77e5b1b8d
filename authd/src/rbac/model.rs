//! Rules about people and access: no I/O, no clock.

use shared::op::Permission;
use shared::problem::Code;

use crate::error::{Error, Result};
use crate::names;

/// Maximum number of characters in a service's description.
pub const MAX_DESCRIPTION: usize = 1_000;

/// Checks a description: text of bounded length, without control characters other than line breaks and tabs.
pub fn check_description(description: &str) -> Result<()> {
    let is_bad = |c: char| c.is_control() && c != '\n' && c != '\t';
    if description.chars().count() > MAX_DESCRIPTION || description.chars().any(is_bad) {
        let detail = format!("at most {MAX_DESCRIPTION} characters, no control characters");
        return Err(Error::field("description", detail));
    }
    Ok(())
}

/// Whether a permission of this name is authd's own, ignoring case.
pub fn is_authd_permission(name: &str) -> bool {
    Permission::parse(&names::fold(name)).is_some()
}

/// The error for a change of a built-in object.
pub fn built_in(what: impl std::fmt::Display) -> Error {
    Error::new(Code::Conflict, format!("{what} is built in: it cannot be renamed, deactivated or deleted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded() {
        assert!(check_description("two\nlines").is_ok() && check_description(&"x".repeat(1_001)).is_err());
        assert!(check_description("\u{7}").is_err());
    }

    #[test]
    fn variants_of_authds_permissions_are_authds() {
        assert!(is_authd_permission("Tokens.Write") && is_authd_permission("ＡＤＭＩＮ"));
        assert!(!is_authd_permission("tokens"));
    }
}
