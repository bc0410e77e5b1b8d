//! Names of users, services, roles and permissions. Spellings that fold to the same text are one name.

use std::ops::RangeInclusive;

use schemars::Schema;
use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

use crate::patterns;

/// Maximum number of characters in a name.
pub const MAX: usize = 128;

/// The form in which names are compared: NFKC, lower case, trimmed. It is applied once, before the name becomes a key:
/// in other systems, two look-ups that normalised differently led to two lock-out counters for one account.
pub fn fold(name: &str) -> String {
    // Lower-casing may undo normalisation (İ), so normalise again. The length is bounded, also of what a character
    // becomes (U+FDFA is eighteen): what is folded folds to itself.
    // PostgreSQL cannot store a NUL character.
    let visible = |c| if c == '\0' { char::REPLACEMENT_CHARACTER } else { c };
    let bounded: String = name.trim().chars().map(visible).take(4 * MAX).collect();
    let lower: String = bounded.nfkc().flat_map(char::to_lowercase).collect();
    lower.nfkc().take(4 * MAX).collect::<String>().trim().to_owned()
}

/// Checks a new name and returns its folded form: 1 to 128 characters, none of them control or invisible, no space at
/// the ends, and not like an id, since a path may have either. The error says what is expected.
pub fn check(name: &str) -> Result<String, String> {
    check_visible(name, MAX)?;
    let folded = fold(name);
    if Uuid::try_parse(&folded).is_ok() {
        return Err("a name must not look like an id".to_owned());
    }
    Ok(folded)
}

/// Checks text that people read: 1 to `max` characters, none of them control or invisible, no space at the ends.
pub fn check_visible(text: &str, max: usize) -> Result<(), String> {
    let is_hidden = patterns::any_of(patterns::CONTROL, text) || text.chars().any(is_invisible);
    if text.trim() != text || text.is_empty() || text.chars().count() > max || is_hidden {
        return Err(format!("expected 1 to {max} visible characters without space at the ends"));
    }
    Ok(())
}

/// Characters that are invisible or change how others are shown: names that look the same must be the same.
pub(crate) const INVISIBLE: &[RangeInclusive<char>] = &[
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{61c}'..='\u{61c}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0f}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{e0000}'..='\u{e0fff}',
];

/// Whether the character is invisible or changes how others are shown.
pub fn is_invisible(c: char) -> bool {
    INVISIBLE.iter().any(|range| range.contains(&c))
}

/// The schema of text that [`check_visible`] accepts.
pub fn visible(schema: &mut Schema, max: usize) {
    patterns::text(schema, 1, max, &patterns::trimmed(&[patterns::CONTROL, INVISIBLE].concat()));
}

/// The schema of a new name, as [`check`] accepts it. That a name must not look like an id in any Unicode form is more
/// than a pattern can say; the schema has it for ASCII.
pub fn schema(schema: &mut Schema) {
    visible(schema, MAX);
    patterns::not_an_id(schema);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn variants_of_a_name_are_one_name() {
        for variant in ["alice", "ALICE", " Alice ", "ａｌｉｃｅ", "Al\u{ff49}ce"] {
            assert_eq!(fold(variant), "alice", "{variant:?}");
        }
        assert_eq!(fold("Zoe\u{308}"), fold("ZO\u{cb}"));
        assert_ne!(fold("alice"), fold("alicé"));
    }

    #[test]
    fn names_are_bounded_and_visible() {
        let long = "x".repeat(129);
        for name in ["", " ", " a", "a\u{200b}", "a\nb", "0190a6f0-0000-7000-8000-000000000000", &long] {
            assert!(check(name).is_err(), "{name:?}");
        }
        for name in ["a", "Ωmega builds", "tokens.write", "山田"] {
            assert!(check(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn a_folded_name_folds_to_itself_however_long() {
        for long in ["\u{fb2c}".repeat(512), "\u{fdfa}".repeat(128), format!("{}\u{a0}x", "\u{fb2c}".repeat(170))] {
            assert_eq!(fold(&fold(&long)), fold(&long), "{long:?}");
        }
    }

    proptest! {
        #[test]
        fn folding_twice_is_folding_once(name in "\\PC{0,40}") {
            prop_assert_eq!(fold(&fold(&name)), fold(&name));
        }
    }
}
