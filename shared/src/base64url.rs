//! Bytes in JSON: base64url without padding (RFC 4648 §5).

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Up to `MAX` bytes. They have one spelling: bits that are left over are zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base64Url<const MAX: usize>(pub Vec<u8>);

impl<const MAX: usize> Serialize for Base64Url<MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_URL_SAFE_NO_PAD.encode(&self.0))
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Base64Url<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text.as_bytes()).ok().filter(|bytes| bytes.len() <= MAX);
        bytes
            .map(Self)
            .ok_or_else(|| de::Error::custom(format!("expected at most {MAX} bytes in base64url, without padding")))
    }
}

impl<const MAX: usize> JsonSchema for Base64Url<MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Base64Url".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = "^([A-Za-z0-9_-]{4})*([A-Za-z0-9_-][AQgw]|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048])?$";
        json_schema!({ "type": "string", "maxLength": (MAX * 4).div_ceil(3), "pattern": pattern })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_one_spelling_and_a_bound() {
        let read = |text: &str| serde_json::from_value::<Base64Url<3>>(text.into()).ok().map(|bytes| bytes.0);
        assert_eq!(read("_-8A"), Some(vec![0xff, 0xef, 0]));
        assert_eq!((read(""), read("AA"), read("AAA")), (Some(vec![]), Some(vec![0]), Some(vec![0; 2])));
        for refused in ["AAAAAA", "AB", "AAB", "AA==", "A", "/+8A", "_-8A ", "é"] {
            assert_eq!(read(refused), None, "{refused}");
        }
        assert_eq!(serde_json::to_value(Base64Url::<3>(vec![0xff, 0xef])).unwrap(), "_-8");
    }
}
