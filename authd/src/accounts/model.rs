//! Rules about a user's data: no I/O, no clock.

use shared::api::users::MAX_DOCUMENT;
use shared::names;

use crate::error::{Error, Result};

/// Checks a display name: 1 to 128 visible characters. Not unique, and it may look like an id: nothing is looked up by it.
pub fn check_display_name(field: &str, name: &str) -> Result<()> {
    names::check_visible(name, names::MAX).map_err(|detail| Error::field(field, detail))
}

/// Checks a document number: 1 to 32 visible characters without space at the ends.
pub fn check_document_number(number: &str) -> Result<()> {
    names::check_visible(number, MAX_DOCUMENT).map_err(|detail| Error::field("document_number", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded() {
        assert!(check_document_number(&"1".repeat(32)).is_ok() && check_document_number(&"1".repeat(33)).is_err());
        assert!(check_document_number("").is_err() && check_document_number("12\u{200b}").is_err());
        assert!(check_display_name("name", "Zoë").is_ok() && check_display_name("name", " ").is_err());
        check_display_name("name", "０190a6f0-0000-7000-8000-000000000000").unwrap();
    }
}
