//! Times of the API: milliseconds since the Unix epoch in memory, RFC 3339 in JSON.

use std::fmt;

use jiff::{Timestamp, civil};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A moment, in milliseconds since the Unix epoch. In JSON it is RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(into = "Timestamp", try_from = "String")]
#[schemars(inline, with = "String", description = "", extend("format" = "date-time"))]
pub struct Time(i64);

/// The first moment of the year 0, the first that RFC 3339 writes.
const FIRST: i64 = -62_167_219_200_000;
/// The last moment that jiff makes of milliseconds, two hours before the end of 9999.
const LAST: i64 = 253_402_207_200_000;

impl Time {
    /// Times that RFC 3339 cannot express (before the year 0 or after 9999) become the nearest possible time.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(FIRST, LAST))
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
        parse(&text).ok_or("expected a time such as 2027-01-31T12:00:00Z (RFC 3339)")
    }
}

/// Parses RFC 3339 §5.6 and nothing else of what jiff reads: the schema describes no more, and another program in
/// between may read the rest in another way.
fn parse(text: &str) -> Option<Time> {
    let (start, rest) = text.split_at_checked("2027-01-31T12:00:00".len())?;
    let digits_or = |(byte, form): (u8, u8)| if form == b'0' { byte.is_ascii_digit() } else { byte == form };
    let is_start = start.to_ascii_uppercase().bytes().zip(*b"0000-00-00T00:00:00").all(digits_or);
    let offset = rest.strip_prefix('.').map_or(rest, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    let is_fraction = offset.len() == rest.len() || offset.len() + 1 < rest.len();
    let is_offset = match offset.as_bytes() {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', rest @ ..] => {
            let is_number = rest.len() == 5 && rest.iter().copied().zip(*b"00:00").all(digits_or);
            is_number && rest < b"24".as_slice() && rest[3] < b'6'
        }
        _ => false,
    };
    if !is_start || !is_fraction || !is_offset {
        return None;
    }
    // Nine digits of a second are all that jiff reads, and a millisecond is all that is kept.
    let fraction = &rest[..rest.len() - offset.len()];
    let text = format!("{start}{}{offset}", &fraction[..fraction.len().min(".123456789".len())]);
    match text.parse::<Timestamp>() {
        Ok(timestamp) => Some(Time::from_millis(timestamp.as_millisecond())),
        // The last hours of the year 9999, which jiff leaves out, are the nearest possible time.
        Err(_) if start.starts_with("9999-12-3") && start.parse::<civil::DateTime>().is_ok() => {
            Some(Time::from_millis(i64::MAX))
        }
        Err(_) => None,
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
        for (millis, written) in [(i64::MAX, "\"9999-12-30T22:00:00Z\""), (i64::MIN, "\"0000-01-01T00:00:00Z\"")] {
            assert_eq!(serde_json::to_string(&Time::from_millis(millis)).unwrap(), written);
        }
        let time: Time = serde_json::from_str("\"2027-01-15T09:00:00+01:00\"").unwrap();
        assert_eq!(time.millis(), 1_800_000_000_000);
        assert!(serde_json::from_str::<Time>("\"tomorrow\"").is_err());
        assert!(serde_json::from_str::<Time>("\"2027-01-15\"").is_err());
    }

    #[test]
    fn a_time_is_read_as_rfc_3339_says_and_in_no_other_way() {
        let millis = |text: &str| Time::try_from(text.to_owned()).map(Time::millis).ok();
        for text in [
            "2027-01-15T08:00:00Z",
            "2027-01-15t08:00:00.000z",
            "2027-01-15T08:00:00.0000000000001Z",
            "2027-01-15T09:30:00+01:30",
        ] {
            assert_eq!(millis(text), Some(1_800_000_000_000), "{text}");
        }
        assert_eq!(millis("9999-12-31T23:59:59Z"), Some(LAST));
        assert_eq!(millis("0001-01-01T00:00:00Z"), Some(-62_135_596_800_000));
        for text in [
            "2027-01-15 08:00:00Z",
            "2027-01-15T08:00Z",
            "20270115T080000Z",
            "2027-01-15T08:00:00",
            "2027-01-15T08:00:00.Z",
            "2027-01-15T08:00:00,5Z",
            "2027-01-15T08:00:00+01",
            "2027-01-15T08:00:00+0100",
            "2027-01-15T08:00:00+24:00",
            "9999-12-31T08:00:00+01:60",
            "2027-01-15T08:00:00Z[UTC]",
            "2027-02-30T08:00:00Z",
            "2027-01-15T25:00:00Z",
            "9999-12-32T00:00:00Z",
            "+002027-01-15T08:00:00Z",
            " 2027-01-15T08:00:00Z",
            "é027-01-15T08:00:00Z",
        ] {
            assert_eq!(millis(text), None, "{text}");
        }
    }
}
