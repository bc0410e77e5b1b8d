//! Regular expressions and bounds of the published schemas. They stand beside the checks that they describe, and a test
//! in authd compares the two. Only what all engines read alike is used: no look-around, no back-references, no `\p`, no
//! `\u{…}`; a character outside of the BMP stands for itself.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// The control characters.
pub const CONTROL: &[RangeInclusive<char>] = &['\0'..='\x1f', '\x7f'..='\u{9f}'];

/// What [`char::is_whitespace`] and [`str::trim`] take for white space.
pub(crate) const SPACE: &[RangeInclusive<char>] = &[
    '\t'..='\r',
    ' '..=' ',
    '\u{85}'..='\u{85}',
    '\u{a0}'..='\u{a0}',
    '\u{1680}'..='\u{1680}',
    '\u{2000}'..='\u{200a}',
    '\u{2028}'..='\u{2029}',
    '\u{202f}'..='\u{202f}',
    '\u{205f}'..='\u{205f}',
    '\u{3000}'..='\u{3000}',
];

/// Whether the text has a character of these ranges.
pub fn any_of(ranges: &[RangeInclusive<char>], text: &str) -> bool {
    text.chars().any(|c| ranges.iter().any(|range| range.contains(&c)))
}

/// One character that is in none of these ranges.
pub(crate) fn none_of(ranges: &[RangeInclusive<char>]) -> String {
    let mut class = String::from("[^");
    for range in ranges {
        for (position, c) in [*range.start(), *range.end()].into_iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = match u16::try_from(u32::from(c)) {
                Ok(_) if position == 1 && range.start() == range.end() => Ok(()),
                Ok(code) => write!(class, "{}\\u{code:04x}", if position == 1 { "-" } else { "" }),
                Err(_) => write!(class, "{}{c}", if position == 1 { "-" } else { "" }),
            };
        }
    }
    class + "]"
}

/// Text with none of these characters.
pub fn without(ranges: &[RangeInclusive<char>]) -> String {
    format!("^{}*$", none_of(ranges))
}

/// Text with none of these characters, and no space at the ends.
pub fn trimmed(ranges: &[RangeInclusive<char>]) -> String {
    let end = none_of(&[ranges, SPACE].concat());
    format!("^{end}({}*{end})?$", none_of(ranges))
}

/// Text of `min` to `max` characters of this form.
pub fn text(schema: &mut Schema, min: usize, max: usize, pattern: &str) {
    if min > 0 {
        schema.insert("minLength".into(), min.into());
    }
    schema.insert("maxLength".into(), max.into());
    schema.insert("pattern".into(), pattern.into());
}

/// Text that no kind of id looks like: [`uuid::Uuid::try_parse`].
pub fn not_an_id(schema: &mut Schema) {
    let hex = |digits: usize| format!("[0-9A-Fa-f]{{{digits}}}");
    let hyphenated = [8, 4, 4, 4, 12].map(hex).join("-");
    let any = format!("^({}|{hyphenated}|\\{{{hyphenated}\\}}|urn:uuid:{hyphenated})$", hex(32));
    schema.insert("not".into(), json!({ "type": "string", "pattern": any }));
}

/// An IPv4 address, as RFC 3986 writes it.
const V4: &str = "((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";

/// An IPv6 address: the grammar of RFC 3986 §3.2.2.
fn v6() -> String {
    let group = "[0-9A-Fa-f]{1,4}";
    let last_two = format!("({group}:{group}|{V4})");
    let mut forms = vec![format!("({group}:){{6}}{last_two}")];
    // Up to `before` groups stand before the `::`.
    for before in 0..=7_usize {
        let left = match before {
            0 => String::new(),
            1 => format!("({group})?"),
            _ => format!("(({group}:){{0,{}}}{group})?", before - 1),
        };
        let right = match 7 - before {
            0 => String::new(),
            1 => group.to_owned(),
            2 => last_two.clone(),
            after => format!("({group}:){{{}}}{last_two}", after - 2),
        };
        forms.push(format!("{left}::{right}"));
    }
    format!("({})", forms.join("|"))
}

/// An IP address.
pub fn ip_address() -> String {
    format!("({V4}|{})", v6())
}

/// A network, such as `10.0.0.0/8` or `2001:db8::/32`.
pub fn network() -> String {
    format!("^({V4}/(3[0-2]|[12]?[0-9])|{}/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))$", v6())
}

/// The schema of an address; the name of the format that schemars gives it is known to nobody.
#[derive(Debug)]
pub enum Address {}

impl JsonSchema for Address {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Address".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] })
    }
}

/// At most one of these fields: two together are refused, unless one of them is null.
pub fn at_most_one(schema: &mut Schema, fields: &[&str]) {
    let pairs =
        fields.iter().enumerate().flat_map(|(at, one)| fields[at + 1..].iter().map(move |other| [*one, *other]));
    let pairs: Vec<Value> = pairs.map(|pair| present(&pair)).collect();
    schema.insert("not".into(), json!({ "anyOf": pairs }));
}

/// Exactly one of these fields; null is as good as absent.
pub fn exactly_one(schema: &mut Schema, fields: &[&str]) {
    let each: Vec<Value> = fields.iter().map(|field| present(&[*field])).collect();
    schema.insert("oneOf".into(), json!(each));
}

/// Each of these fields is there and not null.
fn present(fields: &[&str]) -> Value {
    let not_null = |name: &&str| ((*name).to_owned(), json!({ "not": { "type": "null" } }));
    let properties: serde_json::Map<String, Value> = fields.iter().map(not_null).collect();
    json!({ "required": fields, "properties": properties })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_and_control_characters_are_those_of_the_checks() {
        for c in '\0'..=char::MAX {
            assert_eq!(SPACE.iter().any(|range| range.contains(&c)), c.is_whitespace(), "{c:?}");
            assert_eq!(CONTROL.iter().any(|range| range.contains(&c)), c.is_control(), "{c:?}");
        }
    }
}
