//! The deserializer of a request: its parameters, then the members of its body.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{BorrowedStrDeserializer, CowStrDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor};

/// A parameter with all its values.
#[derive(Clone)]
pub(super) struct Param<'a> {
    pub name: Cow<'a, str>,
    pub values: Vec<Cow<'a, str>>,
}

/// All the fields of a request: the parameters, then the members of the JSON object in the body.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    pub params: Vec<Param<'a>>,
    pub body: &'a [u8],
    /// The fields that are sent as headers, and nowhere else.
    pub headers: Headers,
}

type Headers = &'static [(&'static str, &'static str)];

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        // No body is the same as an empty object.
        let mut json = serde_json::Deserializer::from_slice(if self.body.is_empty() { b"{}" } else { self.body });
        let value =
            (&mut json).deserialize_map(Merge { params: self.params.into_iter(), visitor, headers: self.headers })?;
        json.end()?;
        Ok(value)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Takes the body's object and passes the chain to the request's visitor.
struct Merge<'de, V> {
    params: std::vec::IntoIter<Param<'de>>,
    visitor: V,
    headers: Headers,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Merge<'de, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, body: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Chained { params: self.params, current: None, body, headers: self.headers })
    }
}

struct Chained<'de, A> {
    params: std::vec::IntoIter<Param<'de>>,
    current: Option<Vec<Cow<'de, str>>>,
    body: A,
    headers: Headers,
}

/// Reads a name in the body, and refuses those of fields that are sent as headers.
struct BodyName<K> {
    seed: K,
    headers: Headers,
}

impl<K> BodyName<K> {
    fn check<E: de::Error>(&self, name: &str) -> Result<(), E> {
        match self.headers.iter().find(|(field, _)| *field == name) {
            Some((field, header)) => Err(E::custom(format_args!("send `{field}` in the header {header}"))),
            None => Ok(()),
        }
    }
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for BodyName<K> {
    type Value = K::Value;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<K::Value, D::Error> {
        name.deserialize_str(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for BodyName<K> {
    type Value = K::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<K::Value, E> {
        self.check(name)?;
        self.seed.deserialize(BorrowedStrDeserializer::new(name))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<K::Value, E> {
        self.check(name)?;
        self.seed.deserialize(name.into_deserializer())
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Chained<'de, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        match self.params.next() {
            Some(param) => {
                self.current = Some(param.values);
                seed.deserialize(CowStrDeserializer::new(param.name)).map(Some)
            }
            None => self.body.next_key_seed(BodyName { seed, headers: self.headers }),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        match self.current.take() {
            Some(values) => seed.deserialize(ParamDeserializer { values, error: PhantomData }),
            None => self.body.next_value_seed(seed),
        }
    }
}

/// Deserializes a parameter's text as the type of the field.
struct ParamDeserializer<'de, E> {
    values: Vec<Cow<'de, str>>,
    error: PhantomData<E>,
}

impl<'de, E: de::Error> ParamDeserializer<'de, E> {
    fn single(mut self) -> Result<Cow<'de, str>, E> {
        match (self.values.pop(), self.values.is_empty()) {
            (Some(value), true) => Ok(value),
            _ => Err(E::custom("given more than once")),
        }
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident $type:ty, $what:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
            let value: $type = self.single()?.parse().map_err(|_| E::custom(concat!("expected ", $what)))?;
            visitor.$visit(value)
        }
    )*};
}

impl<'de, E: de::Error> Deserializer<'de> for ParamDeserializer<'de, E> {
    type Error = E;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        match self.single()? {
            Cow::Borrowed(value) => visitor.visit_borrowed_str(value),
            Cow::Owned(value) => visitor.visit_string(value),
        }
    }

    parsed! {
        deserialize_bool visit_bool bool, "true or false";
        deserialize_u8 visit_u8 u8, "a number";
        deserialize_u16 visit_u16 u16, "a number";
        deserialize_u32 visit_u32 u32, "a number";
        deserialize_u64 visit_u64 u64, "a number";
        deserialize_i64 visit_i64 i64, "a number";
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, E> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_seq(SeqDeserializer::new(self.values.into_iter().map(CowStrDeserializer::new)))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, E> {
        visitor.visit_enum(self.single()?.into_deserializer())
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct
        identifier ignored_any
    }
}
