//! Rules about people and access: no I/O, no clock.

use shared::api::users::Status;
use shared::op::Permission;
use shared::page::Limit;
use shared::problem::Code;
use uuid::Uuid;

use crate::db::Value;
use crate::error::{Error, Result};
use crate::names;

/// Characters of a service's description.
pub const MAX_DESCRIPTION: usize = 1_000;
/// Characters of a document number.
pub const MAX_DOCUMENT: usize = 32;

/// Which part of a list is asked for: what comes after an id, oldest first.
#[derive(Debug)]
pub struct Page {
    pub after: String,
    pub limit: usize,
}

impl Page {
    /// The cursor is the id of the last entry of the page before.
    pub fn new(cursor: Option<&str>, limit: Option<Limit>) -> Result<Self> {
        let after = match cursor {
            Some(cursor) => Uuid::try_parse(cursor).map_err(|_| not_a_cursor())?.to_string(),
            None => String::new(),
        };
        Ok(Self { after, limit: limit.unwrap_or_default().rows() })
    }

    /// One more than is asked for, to know whether there is more.
    pub fn rows(&self) -> Value {
        Value::Int(i64::try_from(self.limit + 1).unwrap_or(i64::MAX))
    }

    /// The page, and the cursor of the next one if there is more.
    pub fn cut<T>(&self, mut entries: Vec<T>, id: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
        let next = (entries.len() > self.limit).then(|| id(&entries[self.limit - 1]));
        entries.truncate(self.limit);
        (entries, next)
    }
}

pub fn not_a_cursor() -> Error {
    Error::field("cursor", "not a cursor that a list answered")
}

/// What people are called: 1 to 128 visible characters. Not unique.
pub fn check_display_name(field: &str, name: &str) -> Result<()> {
    // An id's form is fine here: nothing is looked up by this.
    if Uuid::try_parse(name).is_ok() { Ok(()) } else { names::check(field, name).map(drop) }
}

/// 1 to 32 visible characters without space at the ends.
pub fn check_document_number(number: &str) -> Result<()> {
    let is_long = number.chars().count() > MAX_DOCUMENT;
    if is_long || (Uuid::try_parse(number).is_err() && names::check("document_number", number).is_err()) {
        let detail = format!("expected 1 to {MAX_DOCUMENT} visible characters without space at the ends");
        return Err(Error::field("document_number", detail));
    }
    Ok(())
}

/// Any text of bounded length; of control characters only line breaks and tabs.
pub fn check_description(description: &str) -> Result<()> {
    let is_bad = |c: char| c.is_control() && c != '\n' && c != '\t';
    if description.chars().count() > MAX_DESCRIPTION || description.chars().any(is_bad) {
        let detail = format!("at most {MAX_DESCRIPTION} characters, no control characters");
        return Err(Error::field("description", detail));
    }
    Ok(())
}

/// Whether a permission of this name is authd's own, whatever its case.
pub fn is_authd_permission(name: &str) -> bool {
    Permission::parse(&names::fold(name)).is_some()
}

/// What authd stands on stays as it is.
pub fn built_in(what: &str) -> Error {
    Error::new(Code::Conflict, format!("{what} is built in: it cannot be renamed, deactivated or deleted"))
}

/// From what is stored.
pub fn status(text: &str) -> Status {
    if text == Status::Active.as_str() { Status::Active } else { Status::Inactive }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_tells_whether_there_is_more() {
        let page = Page { after: String::new(), limit: 2 };
        let cut = |entries: &[u32]| page.cut(entries.to_vec(), ToString::to_string);
        assert_eq!(cut(&[1, 2]), (vec![1, 2], None));
        assert_eq!(cut(&[1, 2, 3]), (vec![1, 2], Some("2".into())));
        assert_eq!(cut(&[]), (vec![], None));
        assert!(Page::new(Some("x"), None).is_err());
    }

    #[test]
    fn texts_are_bounded() {
        assert!(check_document_number(&"1".repeat(32)).is_ok() && check_document_number(&"1".repeat(33)).is_err());
        assert!(check_document_number("").is_err() && check_document_number("12\u{200b}").is_err());
        assert!(check_description("two\nlines").is_ok() && check_description(&"x".repeat(1_001)).is_err());
        assert!(check_description("\u{7}").is_err());
        assert!(check_display_name("name", "Zoë").is_ok() && check_display_name("name", " ").is_err());
    }

    #[test]
    fn variants_of_authds_permissions_are_authds() {
        assert!(is_authd_permission("Tokens.Write") && is_authd_permission("ＡＤＭＩＮ"));
        assert!(!is_authd_permission("tokens"));
    }
}
