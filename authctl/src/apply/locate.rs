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

/// Reads anything, and fails at the end of the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailAt<'w>(pub &'w [Way]);

impl FailAt<'_> {
    fn scalar<E: Error>(self) -> Result<(), E> {
        if self.0.is_empty() { Err(E::custom("here")) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for FailAt<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FailAt<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.scalar()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let (wanted, rest) = match self.0.split_first() {
            None => return self.scalar(),
            Some((Way::Item(index), rest)) => (Some(*index), rest),
            Some((Way::Key(_), rest)) => (None, rest),
        };
        for index in 0.. {
            let found = if wanted == Some(index) {
                items.next_element_seed(FailAt(rest))?.is_some()
            } else {
                items.next_element::<IgnoredAny>()?.is_some()
            };
            if !found {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (names, rest): (&[&str], _) = match self.0.split_first() {
            None => return self.scalar(),
            Some((Way::Key(names), rest)) => (names, rest),
            Some((Way::Item(_), rest)) => (&[], rest),
        };
        while let Some(key) = map.next_key::<String>()? {
            if names.contains(&key.as_str()) {
                map.next_value_seed(FailAt(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}
