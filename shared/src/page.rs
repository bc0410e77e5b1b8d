//! Pages of a list. Every list returns an opaque `next_cursor`, with which the client requests the next page.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

/// The maximum number of entries in a page: 1 to [`Limit::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, schema_with = "schema", description = "")]
pub struct Limit(u32);

impl Limit {
    pub const MAX: u32 = 1_000;
    pub const DEFAULT: u32 = 100;

    /// `None` when outside 1 to [`Limit::MAX`].
    pub fn new(limit: u32) -> Option<Self> {
        (1..=Self::MAX).contains(&limit).then_some(Self(limit))
    }

    /// As a number of rows.
    pub fn rows(self) -> usize {
        self.0 as usize
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(Self::DEFAULT)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(u32::deserialize(deserializer)?)
            .ok_or_else(|| de::Error::custom(format_args!("limit: expected a number from 1 to {}", Self::MAX)))
    }
}

fn schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "integer", "minimum": 1, "maximum": Limit::MAX, "default": Limit::DEFAULT })
}
