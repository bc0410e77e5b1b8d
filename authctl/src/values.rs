//! How values are written on the command line: lengths of time, moments, lists of words, ids. One way for each, in every
//! command.

use std::str::FromStr;

use shared::api::tokens::{MAX_DAYS, MAX_GRACE_SECONDS, MAX_SECONDS};
use shared::time::Time;

use crate::error::Error;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Parses a length of time, such as `30d`, `12h` or `900s`, as seconds. A bare number is in this unit (in seconds).
fn seconds(text: &str, unit: u64) -> Result<u64, String> {
    let expected = || "expected a length of time such as 30d, 12h, 15m or 900s".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => unit,
        "s" => 1,
        "m" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        "w" => 7 * DAY,
        _ => return Err(expected()),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(expected());
    }
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(expected)
}

/// A length of time in seconds, at least one.
fn bounded(text: &str, unit: u64, most: u32) -> Result<u32, String> {
    let seconds = seconds(text, unit)?;
    let bounded = u32::try_from(seconds).ok().filter(|seconds| (1..=most).contains(seconds));
    bounded.ok_or_else(|| format!("expected 1s to {}", told(u64::from(most))))
}

/// The length in its largest unit, as it is written.
fn told(seconds: u64) -> String {
    let units = [(DAY, 'd'), (HOUR, 'h'), (MINUTE, 'm')];
    let unit = units.into_iter().find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{seconds}s"), |(unit, letter)| format!("{}{letter}", seconds / unit))
}

/// The life of a token. The API has one field for days, which every daemon knows, and one for seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Days(u32),
    Seconds(u32),
}

impl Life {
    pub fn days(self) -> Option<u32> {
        if let Self::Days(days) = self { Some(days) } else { None }
    }

    pub fn seconds(self) -> Option<u32> {
        if let Self::Seconds(seconds) = self { Some(seconds) } else { None }
    }
}

/// Parses the life of a token; a bare number is days.
pub fn life(text: &str) -> Result<Life, String> {
    let seconds = bounded(text, DAY, MAX_SECONDS)?;
    let day = MAX_SECONDS / MAX_DAYS;
    Ok(if seconds.is_multiple_of(day) { Life::Days(seconds / day) } else { Life::Seconds(seconds) })
}

/// Parses the grace of a rotation, in seconds; it may be nothing.
pub fn grace(text: &str) -> Result<u32, String> {
    if seconds(text, 1)? == 0 { Ok(0) } else { bounded(text, 1, MAX_GRACE_SECONDS) }
}

/// Parses how long to wait for an answer, in seconds.
pub fn timeout(text: &str) -> Result<u64, String> {
    bounded(text, 1, 3_600).map(u64::from)
}

/// Parses a length of time from now on, in seconds; a bare number is days.
pub fn within(text: &str) -> Result<u32, String> {
    bounded(text, DAY, MAX_SECONDS)
}

/// Parses a time, or a date, which is its first moment in UTC.
pub fn time(text: &str) -> Result<Time, String> {
    // The parser of dates would accept a local time and silently ignore it.
    let is_date = text.len() == "2027-01-31".len();
    let first_moment = |date: jiff::civil::Date| date.to_zoned(jiff::tz::TimeZone::UTC).map(|zoned| zoned.timestamp());
    let timestamp = if is_date { text.parse().and_then(first_moment) } else { text.parse() };
    timestamp
        .map(|timestamp| Time::from_millis(timestamp.as_millisecond()))
        .map_err(|_| "expected a time such as 2027-01-31T12:00:00Z, or a date such as 2027-01-31".to_owned())
}

/// A time in the past: a moment, or so many seconds ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    At(Time),
    Ago(u64),
}

impl Past {
    pub fn at(self, now: Time) -> Time {
        match self {
            Self::At(time) => time,
            Self::Ago(seconds) => {
                let millis = i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX);
                Time::from_millis(now.millis().saturating_sub(millis))
            }
        }
    }
}

/// Parses a time, a date, or how long ago it is; a bare number is days.
pub fn past(text: &str) -> Result<Past, String> {
    match seconds(text, DAY) {
        Ok(seconds) => Ok(Past::Ago(seconds)),
        Err(_) => time(text).map(Past::At).map_err(|_| {
            "expected how long ago, such as 7d, 12h or 900s, a time such as 2027-01-31T12:00:00Z, or a date".to_owned()
        }),
    }
}

/// Splits words at commas and blanks; an option may be given several values, too.
pub fn words(values: impl IntoIterator<Item = String>) -> Vec<String> {
    let split = |value: String| {
        let words = value.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    values.into_iter().flat_map(split).collect()
}

/// The name of a new object, and the values of an option before it: that takes every word up to the next option, so the
/// name may be the last of them. `usage` is how to write both.
pub fn name_and_values(
    name: Option<String>,
    mut values: Vec<String>,
    usage: &str,
) -> Result<(String, Vec<String>), Error> {
    let last = match name {
        Some(name) => return Ok((name, values)),
        None if values.len() > 1 => values.pop(),
        None => None,
    };
    // Most likely the name was forgotten.
    match last.filter(|last| !last.contains([':', '.', ','])) {
        Some(name) => Ok((name, values)),
        None => Err(Error::Usage(format!("the name is missing: {usage}"))),
    }
}

/// Parses the id of something that has no name; `hint` is where ids are shown, or what a name is good for.
pub fn id<T: FromStr>(text: &str, hint: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("this is not an id: {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_a_unit_or_that_of_its_option() {
        for (text, life) in [
            ("30", Ok(Life::Days(30))),
            ("30d", Ok(Life::Days(30))),
            ("2w", Ok(Life::Days(14))),
            ("48h", Ok(Life::Days(2))),
            ("12h", Ok(Life::Seconds(43_200))),
            ("90m", Ok(Life::Seconds(5_400))),
            ("900s", Ok(Life::Seconds(900))),
            ("36500", Ok(Life::Days(36_500))),
            ("0", Err("expected 1s to 36500d")),
            ("36501d", Err("expected 1s to 36500d")),
            ("99999999999999999999d", Err("expected a length")),
            ("", Err("expected a length")),
            ("d", Err("expected a length")),
            ("-1d", Err("expected a length")),
            ("+1", Err("expected a length")),
            ("1.5h", Err("expected a length")),
            ("1 d", Err("expected a length")),
            ("1D", Err("expected a length")),
            ("1é", Err("expected a length")),
        ] {
            match (super::life(text), life) {
                (Ok(parsed), Ok(life)) => assert_eq!(parsed, life, "{text}"),
                (Err(error), Err(told)) => assert!(error.starts_with(told), "{text}: {error}"),
                (parsed, _) => panic!("{text}: {parsed:?}"),
            }
        }
        assert_eq!((grace("0"), grace("900"), grace("12h"), grace("30d")), (Ok(0), Ok(900), Ok(43_200), Ok(2_592_000)));
        assert!(grace("31d").unwrap_err().contains("30d"));
        assert_eq!((timeout("30"), timeout("2m"), within("7")), (Ok(30), Ok(120), Ok(604_800)));
        assert!(timeout("2h").unwrap_err().contains("1h"));
    }

    #[test]
    fn a_date_is_its_first_moment_and_a_local_time_is_refused() {
        assert_eq!(time("2027-01-31").unwrap().to_string(), "2027-01-31T00:00:00Z");
        assert_eq!(time("2027-01-31T12:00:00+01:00").unwrap().to_string(), "2027-01-31T11:00:00Z");
        for text in ["", "tomorrow", "31.01.2027", "2027-01-31T12:00:00", "2027-01-31T12:00"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_past_is_a_moment_or_how_long_ago() {
        let now = time("2027-01-31T12:00:00Z").unwrap();
        for (text, at) in [
            ("7d", "2027-01-24T12:00:00Z"),
            ("1", "2027-01-30T12:00:00Z"),
            ("90m", "2027-01-31T10:30:00Z"),
            ("2027-01-01", "2027-01-01T00:00:00Z"),
            ("2027-01-01T01:00:00+01:00", "2027-01-01T00:00:00Z"),
        ] {
            assert_eq!(past(text).unwrap().at(now).to_string(), at, "{text}");
        }
        assert!(past("yesterday").unwrap_err().contains("7d"));
    }

    #[test]
    fn words_are_split_at_commas_and_blanks() {
        let split = |values: &[&str]| words(values.iter().map(|value| (*value).to_owned()));
        for values in [&["a", "b", "c"][..], &["a,b,c"], &["a b", "c"], &["a, b,", ",c "], &["a\tb\nc"]] {
            assert_eq!(split(values), ["a", "b", "c"], "{values:?}");
        }
        assert!(split(&[",", ""]).is_empty());
    }

    #[test]
    fn a_name_after_the_values_of_an_option_is_not_one_of_them() {
        let own = |text: &str| text.to_owned();
        let apart = |name: Option<&str>, values: &[&str]| {
            name_and_values(name.map(own), values.iter().map(|value| own(value)).collect(), "NAME --scopes SCOPE")
        };
        assert_eq!(apart(None, &["read", "ci"]).unwrap(), (own("ci"), vec![own("read")]));
        assert_eq!(apart(None, &["a", "b", "ci"]).unwrap(), (own("ci"), vec![own("a"), own("b")]));
        assert_eq!(apart(Some("ci"), &["a", "b"]).unwrap(), (own("ci"), vec![own("a"), own("b")]));
        for forgotten in [&["read"][..], &["orders:read", "orders:write"], &["a", "orders.write"], &["a", "b,c"]] {
            assert!(apart(None, forgotten).is_err(), "{forgotten:?}");
        }
    }
}
