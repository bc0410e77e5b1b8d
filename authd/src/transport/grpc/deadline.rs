//! `grpc-timeout`: how long the caller waits for the answer.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use ::http::{HeaderMap, HeaderName};
use shared::problem::Code;

use crate::error::{Error, Result};

const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// The most digits of the number.
const MAX_DIGITS: usize = 8;

/// The time that the caller gives, if it does.
pub fn of(headers: &HeaderMap) -> Result<Option<Duration>> {
    let mut values = headers.get_all(TIMEOUT).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let time = value.to_str().ok().and_then(parse).filter(|_| values.next().is_none());
    time.map(Some).ok_or_else(|| Error::new(Code::MalformedRequest, "grpc-timeout cannot be read"))
}

fn parse(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.is_empty() || number.len() > MAX_DIGITS || !number.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Waits for an answer as long as the caller does. Most answers are there at once, so that only a late one costs a
/// timer. What was committed stays; the ledger does not depend on who waits.
pub async fn within<T>(time: Option<Duration>, answer: impl Future<Output = Result<T>>) -> Result<T> {
    let Some(time) = time else { return answer.await };
    let passed = || Error::new(Code::RequestTimeout, "the time that the caller gave has passed");
    if time.is_zero() {
        return Err(passed());
    }
    let mut answer = pin!(answer);
    if let Poll::Ready(answer) = poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await {
        return answer;
    }
    tokio::time::timeout(time, answer).await.unwrap_or_else(|_| Err(passed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_has_at_most_eight_digits_and_a_unit() {
        for (text, expected) in [
            ("5S", Some(Duration::from_secs(5))),
            ("0n", Some(Duration::ZERO)),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("100m", Some(Duration::from_millis(100))),
            ("7u", Some(Duration::from_micros(7))),
            ("2M", Some(Duration::from_secs(120))),
            ("", None),
            ("S", None),
            ("5", None),
            ("5s", None),
            ("-5S", None),
            ("+5S", None),
            ("123456789S", None),
            ("5 S", None),
            ("٣S", None),
            ("5µ", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
