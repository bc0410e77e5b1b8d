//! How the last fetch from a provider failed, for those who waited for it: with a provider that does not answer, callers
//! that queue would else wait its whole time limit one after the other.

use std::time::Duration;

use tokio::time::Instant;

use super::ProviderError;
use crate::env::Millis;

/// How long what was fetched before does without another try.
const PAUSE: Duration = Duration::from_secs(10);

/// A fetch that failed.
#[derive(Debug)]
pub struct Failure {
    at: Instant,
    is_unusable: bool,
    text: String,
}

impl Failure {
    /// A failure of this moment.
    pub fn of(error: &ProviderError) -> Self {
        let (is_unusable, text) = match error {
            ProviderError::Unavailable(source) => (false, source.to_string()),
            ProviderError::Refused(text) | ProviderError::Unusable(text) => (true, text.clone()),
        };
        Self { at: Instant::now(), is_unusable, text }
    }

    /// Whether it holds for a caller who asked at this moment: who waited while it happened shares it. Who comes later
    /// tries again, unless there is something older to go on with.
    pub fn answers(&self, asked: Instant, has_stale: bool) -> bool {
        self.at >= asked || (has_stale && self.at.elapsed() < PAUSE)
    }

    pub fn error(&self) -> ProviderError {
        if self.is_unusable {
            ProviderError::Unusable(self.text.clone())
        } else {
            ProviderError::Unavailable(self.text.clone().into())
        }
    }
}

/// Milliseconds that have passed since.
pub fn since(moment: Instant) -> Millis {
    Millis::try_from(moment.elapsed().as_millis()).unwrap_or(Millis::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waited_shares_a_failure_and_who_comes_later_tries_again() {
        let before = Instant::now();
        let failure = Failure::of(&ProviderError::Unavailable("down".into()));
        let after = failure.at + Duration::from_millis(1);
        assert!(failure.answers(before, false) && !failure.answers(after, false) && failure.answers(after, true));
        assert!(matches!(failure.error(), ProviderError::Unavailable(_)));
    }
}
