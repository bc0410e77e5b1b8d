//! Checks of names, as in [`shared::names`], with authd's errors.

use std::fmt::Write as _;

pub use shared::names::{MAX, fold};
use shared::problem::Code;

use crate::error::{Error, Result};

/// Checks a new name and returns its folded form (see [`shared::names::check`]).
pub fn check(field: &str, name: &str) -> Result<String> {
    shared::names::check(name).map_err(|detail| Error::field(field, detail))
}

/// The error if the name is taken.
pub fn taken(what: &str, name: &str) -> Error {
    Error::new(Code::NameTaken, format!("there is already a {what} named {name:?}"))
}

/// Appends a name encoded for a header or a list separated by spaces: characters that a scope may not contain (RFC 6749
/// §3.3) and `%` are percent-encoded, so that the encoding is reversible.
pub fn encode(name: &str, out: &mut String) {
    for byte in name.bytes() {
        if matches!(byte, 0x21 | 0x23 | 0x24 | 0x26..=0x5b | 0x5d..=0x7e) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// Encoded names, separated by spaces.
pub fn encode_list(names: &[String]) -> String {
    let mut text = String::with_capacity(names.iter().map(|name| name.len() + 1).sum());
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            text.push(' ');
        }
        encode(name, &mut text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_list_is_one_word() {
        let names = ["plain", "read admin", "a,b", "50%", "\"\\", "ö", "\r\nX: y"].map(str::to_owned);
        assert_eq!(encode_list(&names), "plain read%20admin a,b 50%25 %22%5C %C3%B6 %0D%0AX:%20y");
    }
}
