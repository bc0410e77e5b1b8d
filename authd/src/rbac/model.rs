//! Rules about people and access: no I/O, no clock.

use shared::api::rbac::{MAX_DESCRIPTION, NOT_IN_DESCRIPTION};
use shared::op::Permission;
use shared::patterns;
use shared::problem::Code;

use crate::error::{Error, Result};
use crate::names;

/// Checks a description: text of bounded length, without control characters other than line breaks and tabs.
pub fn check_description(description: &str) -> Result<()> {
    if description.chars().count() > MAX_DESCRIPTION || patterns::any_of(NOT_IN_DESCRIPTION, description) {
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
