//! The reader of requests, for every operation. Input: the operation's name, the values of its path separated by
//! slashes, the query, the fields sent as headers separated by lines, the body.
//!
//! What is read is written and reads back as the same; a field is never given twice, wherever it is sent; the body of a
//! request that was read is an object of known names.

use std::collections::HashSet;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use shared::api;
use shared::op::{self, Info, Operation};
use shared::wire::{self, Encoded, Parts};

/// An input, read.
struct Sent<'a> {
    name: &'a str,
    path: Vec<&'a str>,
    query: &'a str,
    headers: Vec<&'a str>,
    body: &'a [u8],
}

pub fn check(input: &[u8]) {
    let mut parts = crate::parts(input);
    let (Some(name), Some(path), Some(query), Some(headers)) =
        (crate::text(&mut parts), crate::text(&mut parts), crate::text(&mut parts), crate::text(&mut parts))
    else {
        return;
    };
    let body = parts.next().unwrap_or_default();
    let sent = Sent { name, path: path.split('/').collect(), query, headers: headers.split('\n').collect(), body };
    // A name that is no operation's stands for one of them, so that mutations of it go somewhere.
    let infos: Vec<&Info> = api::operations().collect();
    let any = name.bytes().fold(0, |sum, byte| sum + usize::from(byte)) % infos.len();
    let name = infos.iter().find(|info| info.name == name).unwrap_or(&infos[any]).name;
    api::visit(&mut Find(Sent { name, ..sent }));
}

/// Gives the input to the one operation that it names.
struct Find<'a>(Sent<'a>);

impl op::Visitor for Find<'_> {
    fn operation<Op: Operation + JsonSchema>(&mut self)
    where
        Op::Response: JsonSchema,
    {
        if Op::INFO.name == self.0.name {
            judge::<Op>(&self.0);
        }
    }
}

fn judge<Op: Operation>(sent: &Sent<'_>) {
    let path: Vec<_> = Op::INFO.path_params().zip(sent.path.iter().copied()).collect();
    let values = sent.headers.iter().copied().filter(|value| !value.is_empty());
    let headers: Vec<_> = Op::INFO.headers.iter().map(|(field, _)| *field).zip(values).collect();
    let parts = Parts { path: &path, query: Some(sent.query), headers: &headers, body: sent.body };
    let Ok(op) = wire::decode::<Op>(parts) else { return };
    let read = serde_json::to_value(&op).expect("an operation is JSON");
    let again = read_back::<Op>(&wire::encode(&op).expect("an operation can be sent"));
    assert_eq!(again, read, "{}: what is written does not read back", Op::INFO.name);
    if Op::INFO.oauth || sent.body.is_empty() {
        return;
    }
    let Names(names) = serde_json::from_slice(sent.body).expect("another reader takes the body for an object");
    let elsewhere = path.iter().map(|(name, _)| *name).chain(headers.iter().map(|(name, _)| *name));
    let mut seen: HashSet<String> = elsewhere.map(str::to_owned).collect();
    for name in names {
        assert!(seen.insert(name.clone()), "{}: {name} is given twice", Op::INFO.name);
    }
}

fn read_back<Op: Operation>(encoded: &Encoded) -> Value {
    let (target, query) = match encoded.target.split_once('?') {
        Some((target, query)) => (target, Some(query)),
        None => (encoded.target.as_str(), None),
    };
    let segments = Op::INFO.path.split('/').zip(target.split('/'));
    let params = segments.filter_map(|(name, value)| Some((name.strip_prefix('{')?.strip_suffix('}')?, value)));
    let path: Vec<_> = params.collect();
    let headers: Vec<_> = encoded
        .headers
        .iter()
        .map(|(header, value)| {
            let field = Op::INFO.headers.iter().find(|(_, name)| name == header).expect("a field of the operation").0;
            let value = if *header == "authorization" { value.strip_prefix("Bearer ").unwrap_or(value) } else { value };
            (field, value)
        })
        .collect();
    let body = encoded.body.as_deref().unwrap_or_default();
    let op: Op = wire::decode(Parts { path: &path, query, headers: &headers, body })
        .unwrap_or_else(|error| panic!("{}: what was read once is refused: {error}", Op::INFO.name));
    serde_json::to_value(op).expect("an operation is JSON")
}

/// The names of an object, repeated ones too.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}
