//! Finds the line of a value in a file. The parsers report the position of an *error*, so the file is read again by a
//! reader that fails at that value. A parser with positions was rejected: it would be needed for each format.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A step of the path from the top of a file to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The key of a table, by all its names.
    Key(&'static [&'static str]),
    /// The element of a list, from 0.
    Item(usize),
}

/// Reads lists and tables, and fails at the end of the path.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailAt<'w>(pub &'w [Way]);

impl<'de> DeserializeSeed<'de> for FailAt<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A visitor without a function for a type rejects it, so it fails at every value that is not a list or a table.
impl<'de> Visitor<'de> for FailAt<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((Way::Item(index), rest)) = self.0.split_first() else { return Err(A::Error::custom("here")) };
        for _ in 0..*index {
            items.next_element::<IgnoredAny>()?;
        }
        items.next_element_seed(FailAt(rest)).map(drop)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Way::Key(names), rest)) = self.0.split_first() else { return Err(A::Error::custom("here")) };
        while let Some(key) = map.next_key::<String>()? {
            if names.contains(&key.as_str()) {
                return map.next_value_seed(FailAt(rest));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}
