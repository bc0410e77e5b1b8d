//! Fields of a query or of a form (`application/x-www-form-urlencoded`), read strictly.

use shared::wire::decode_pairs;

/// The longest query or form, in bytes. The code of some providers has two thousand characters.
const MAX_LENGTH: usize = 8 << 10;
const MAX_FIELDS: usize = 24;

/// Decoded fields, each name once.
#[derive(Debug, Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// `None` if it is too long, has a broken escape, or repeats a name: parsers differ on which of two values
    /// counts.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_LENGTH {
            return None;
        }
        let mut fields: Vec<(String, String)> = Vec::new();
        for pair in decode_pairs(text) {
            let (name, value) = pair.ok()?;
            if fields.len() == MAX_FIELDS || fields.iter().any(|(other, _)| *other == name) {
                return None;
            }
            fields.push((name.into_owned(), value.into_owned()));
        }
        Some(Self(fields))
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded() {
        let form = Form::parse("code=a%2Bb&state=x+y&empty=&flag").unwrap();
        assert_eq!(form.field("code"), Some("a+b"));
        assert_eq!(form.field("state"), Some("x y"));
        assert_eq!((form.field("empty"), form.field("flag"), form.field("none")), (Some(""), Some(""), None));
    }

    #[test]
    fn ambiguous_broken_and_huge_forms_are_refused() {
        for text in ["state=a&state=b", "state=%zz", "state=%f", "state=%ff"] {
            assert!(Form::parse(text).is_none(), "{text}");
        }
        assert!(Form::parse(&"a".repeat(MAX_LENGTH + 1)).is_none());
        let many: Vec<String> = (0..=MAX_FIELDS).map(|n| format!("f{n}=")).collect();
        assert!(Form::parse(&many.join("&")).is_none());
    }
}
