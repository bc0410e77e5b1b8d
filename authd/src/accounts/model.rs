//! Rules about a user's data: no I/O, no clock.

use uuid::Uuid;

use crate::error::{Error, Result};
use crate::names;

/// Maximum number of characters in a document number.
const MAX_DOCUMENT: usize = 32;

/// Checks a display name: 1 to 128 visible characters. Not unique.
pub fn check_display_name(field: &str, name: &str) -> Result<()> {
    // A name that looks like an id is allowed: nothing is looked up by it.
    if Uuid::try_parse(name).is_ok() { Ok(()) } else { names::check(field, name).map(drop) }
}

/// Checks a document number: 1 to 32 visible characters without space at the ends.
pub fn check_document_number(number: &str) -> Result<()> {
    let is_long = number.chars().count() > MAX_DOCUMENT;
    if is_long || (Uuid::try_parse(number).is_err() && names::check("document_number", number).is_err()) {
        let detail = format!("expected 1 to {MAX_DOCUMENT} visible characters without space at the ends");
        return Err(Error::field("document_number", detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded() {
        assert!(check_document_number(&"1".repeat(32)).is_ok() && check_document_number(&"1".repeat(33)).is_err());
        assert!(check_document_number("").is_err() && check_document_number("12\u{200b}").is_err());
        assert!(check_display_name("name", "Zoë").is_ok() && check_display_name("name", " ").is_err());
    }
}
