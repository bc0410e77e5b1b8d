//! Retries: which calls are repeated, and when.

use std::time::Duration;

use super::Error;

/// The number of tries in all.
const TRIES: u32 = 5;
const FIRST: Duration = Duration::from_millis(30);

/// Whether an operation may be sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// A read, or an idempotent operation.
    Safe,
    /// Only if nothing was sent.
    Unsent,
}

/// The wait before the next try, after `tries` failed ones, the last with this error; `None` gives up. The back-off
/// doubles, and half of it is random, so that clients that failed together do not retry together. `Retry-After` is the
/// minimum.
pub(super) fn wait(error: &Error, repeat: Repeat, tries: u32, random: u64) -> Option<Duration> {
    let least = match (error, repeat) {
        (Error::Unreachable { .. }, _) | (Error::NoAnswer { .. }, Repeat::Safe) => Duration::ZERO,
        (Error::Refused(problem), Repeat::Safe) if matches!(problem.status, 429 | 503) => {
            Duration::from_secs(problem.retry_after.unwrap_or_default())
        }
        _ => return None,
    };
    if tries >= TRIES {
        return None;
    }
    let half = FIRST.saturating_mul(1 << tries.saturating_sub(1)) / 2;
    // Of 1024 parts.
    let part = u32::try_from(random % 1024).unwrap_or_default();
    Some(least.saturating_add(half + half * part / 1024))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Endpoint;
    use crate::problem::{Code, Problem};

    #[test]
    fn the_back_off_doubles_and_ends() {
        let endpoint = Endpoint::url("http://127.0.0.1:1").unwrap();
        let error = &Error::Unreachable { endpoint, source: "refused".into() };
        let waits =
            |random| (1..TRIES).map(move |tries| wait(error, Repeat::Unsent, tries, random).unwrap().as_millis());
        let (least, most): (Vec<_>, Vec<_>) = (waits(0).collect(), waits(1023).collect());
        assert_eq!(least, [15, 30, 60, 120]);
        assert_eq!(most, [29, 59, 119, 239]);
        assert_eq!(wait(error, Repeat::Safe, TRIES, 0), None);
    }

    #[test]
    fn an_absurd_wait_is_a_long_one() {
        let mut problem = Problem::new(Code::Unavailable, "down");
        problem.retry_after = Some(u64::MAX);
        let error = Error::Refused(Box::new(problem));
        assert_eq!(wait(&error, Repeat::Safe, 1, 1023).map(|wait| wait.as_secs()), Some(u64::MAX));
    }

    #[test]
    fn only_what_may_help_is_tried_again_and_what_was_sent_only_if_that_is_safe() {
        let endpoint = || Endpoint::url("http://127.0.0.1:1").unwrap();
        let refused =
            |code, retry_after| Error::Refused(Box::new(Problem { retry_after, ..Problem::new(code, "detail") }));
        for (error, safe, unsent) in [
            (Error::Unreachable { endpoint: endpoint(), source: "refused".into() }, Some(15), Some(15)),
            (Error::NoAnswer { endpoint: endpoint(), detail: "reset".into() }, Some(15), None),
            (Error::NotAuthd { endpoint: endpoint(), detail: "html".into() }, None, None),
            (refused(Code::Unavailable, Some(3)), Some(3015), None),
            (refused(Code::RateLimited, None), Some(15), None),
            (refused(Code::Internal, None), None, None),
            (refused(Code::InvalidToken, None), None, None),
            (refused(Code::InvalidCredentials, None), None, None),
        ] {
            for (repeat, expected) in [(Repeat::Safe, safe), (Repeat::Unsent, unsent)] {
                let waits = wait(&error, repeat, 1, 0).map(|time| time.as_millis());
                assert_eq!(waits, expected, "{error} {repeat:?}");
            }
        }
    }
}
