//! Times of the API: milliseconds since the Unix epoch in memory, RFC 3339 in JSON.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A moment, in milliseconds since the Unix epoch. In JSON it is RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(into = "Timestamp", try_from = "String")]
#[schemars(inline, with = "String", description = "", extend("format" = "date-time"))]
pub struct Time(i64);

impl Time {
    /// Times that RFC 3339 cannot express (before the year 1 or after 9999) become the nearest possible time.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(Timestamp::MIN.as_millisecond(), Timestamp::MAX.as_millisecond()))
    }

    pub fn millis(self) -> i64 {
        self.0
    }
}

impl From<Time> for Timestamp {
    fn from(time: Time) -> Self {
        Self::from_millisecond(time.0).unwrap_or_default()
    }
}

impl TryFrom<String> for Time {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let timestamp: Timestamp =
            text.parse().map_err(|_| "expected a time such as 2027-01-31T12:00:00Z (RFC 3339)")?;
        Ok(Self(timestamp.as_millisecond()))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Timestamp::from(*self).fmt(f)
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
