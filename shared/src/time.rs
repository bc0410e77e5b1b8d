//! Times of the API: milliseconds since the Unix epoch inside, RFC 3339 in JSON.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A moment, in milliseconds since the Unix epoch. In JSON it is RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

impl Time {
    /// Moments that RFC 3339 cannot say (before the year 1 or after 9999) become the nearest that it can.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(Timestamp::MIN.as_millisecond(), Timestamp::MAX.as_millisecond()))
    }

    pub fn millis(self) -> i64 {
        self.0
    }

    fn timestamp(self) -> Timestamp {
        Timestamp::from_millisecond(self.0).unwrap_or_default()
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.timestamp().fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let timestamp: Timestamp =
            text.parse().map_err(|_| de::Error::custom("expected a time such as 2027-01-31T12:00:00Z (RFC 3339)"))?;
        Ok(Self(timestamp.as_millisecond()))
    }
}

#[cfg(feature = "openapi")]
impl schemars::JsonSchema for Time {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_rfc_3339_in_utc() {
        assert_eq!(
            serde_json::to_string(&Time::from_millis(1_800_000_000_123)).unwrap(),
            "\"2027-01-15T08:00:00.123Z\""
        );
        let time: Time = serde_json::from_str("\"2027-01-15T09:00:00+01:00\"").unwrap();
        assert_eq!(time.millis(), 1_800_000_000_000);
        assert!(serde_json::from_str::<Time>("\"tomorrow\"").is_err());
        assert!(serde_json::from_str::<Time>("\"2027-01-15\"").is_err());
    }
}
