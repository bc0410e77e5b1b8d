//! In which line of a file a value is. The formats tell the place of an *error*: so the file is read once more, by a
//! reader that fails at that value. A parser with positions was refused: there would be one more for each format.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A step of the way from the top of a file to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The key of a table, by all its names.
    Key(&'static [&'static str]),
    /// The element of a list, from 0.
    Item(usize),
}

/// Reads lists and tables, and fails at the end of the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailAt<'w>(pub &'w [Way]);

impl<'de> DeserializeSeed<'de> for FailAt<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// What a visitor has no function for is a value that it does not expect: at any but a list or a table it fails by itself.
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
