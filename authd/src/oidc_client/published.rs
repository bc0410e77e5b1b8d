//! Documents that a provider publishes (endpoints, keys): fetched when needed, and cached.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::ProviderError;
use crate::env::{HOUR, Millis, is_younger};

/// Older documents are fetched again, so that a key that the provider removed is not used for longer.
const MAX_AGE: Millis = HOUR;
/// How long a document is used while the provider does not answer.
const MAX_STALE: Millis = 24 * HOUR;
/// How long an old document is used without another try to fetch.
const PAUSE: Duration = Duration::from_secs(10);

/// One document of a provider.
#[derive(Debug)]
pub struct Published<T> {
    /// The document, and the time when it was fetched.
    kept: Mutex<Option<(Arc<T>, Millis)>>,
    /// Held during a fetch, so that there is one at a time; contains the failure of the last one, if any.
    fetching: tokio::sync::Mutex<Option<Failure>>,
}

impl<T> Default for Published<T> {
    fn default() -> Self {
        Self { kept: Mutex::default(), fetching: tokio::sync::Mutex::default() }
    }
}

impl<T> Published<T> {
    /// The cached document, unless it is old or the caller has seen it already; else a fetched one. `fetch` gets the
    /// time of its start.
    pub async fn find<F>(
        &self,
        seen: Option<&Arc<T>>,
        now: Millis,
        fetch: impl FnOnce(Millis) -> F,
    ) -> Result<Arc<T>, ProviderError>
    where
        F: Future<Output = Result<T, ProviderError>>,
    {
        let is_news = |kept: &Arc<T>| seen.is_none_or(|seen| !Arc::ptr_eq(seen, kept));
        if let Some(kept) = self.kept(now, MAX_AGE).filter(is_news) {
            return Ok(kept);
        }
        let asked = Instant::now();
        let mut failed = self.fetching.lock().await;
        let now = now + Millis::try_from(asked.elapsed().as_millis()).unwrap_or(Millis::MAX);
        if let Some(kept) = self.kept(now, MAX_AGE).filter(is_news) {
            return Ok(kept);
        }
        let stale = self.kept(now, MAX_STALE).filter(is_news);
        if let Some(failure) = failed.as_ref().filter(|failure| failure.answers(asked, stale.is_some())) {
            return stale.ok_or_else(|| failure.error.clone());
        }
        match fetch(now).await {
            Ok(found) => {
                let found = Arc::new(found);
                *self.lock() = Some((found.clone(), now));
                *failed = None;
                Ok(found)
            }
            Err(error) => {
                *failed = Some(Failure { at: Instant::now(), error: error.clone() });
                stale.ok_or(error)
            }
        }
    }

    fn kept(&self, now: Millis, max_age: Millis) -> Option<Arc<T>> {
        self.lock().as_ref().filter(|(_, at)| is_younger(*at, now, max_age)).map(|(kept, _)| kept.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Arc<T>, Millis)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The failure of the last fetch, for its waiters: otherwise, if a provider does not answer, queued callers would wait
/// for the whole time limit one after the other.
#[derive(Debug)]
struct Failure {
    at: Instant,
    error: ProviderError,
}

impl Failure {
    /// Whether it applies to a caller who asked at this time: callers that waited during the fetch share it. Later
    /// callers try again, unless there is an older document to use.
    fn answers(&self, asked: Instant, has_stale: bool) -> bool {
        self.at >= asked || (has_stale && self.at.elapsed() < PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down() -> ProviderError {
        ProviderError::Unavailable("down".into())
    }

    #[tokio::test]
    async fn who_waited_shares_a_failure_and_who_comes_later_tries_again() {
        let before = Instant::now();
        let failure = Failure { at: Instant::now(), error: down() };
        let after = failure.at + Duration::from_millis(1);
        assert!(failure.answers(before, false) && !failure.answers(after, false) && failure.answers(after, true));
    }

    #[tokio::test]
    async fn what_a_clock_that_was_set_back_has_kept_is_fetched_again() {
        let now = 100 * HOUR;
        for (fetched_at, is_ready) in [(now, true), (now + 1, true), (now - 25 * HOUR, false), (now + HOUR, false)] {
            let published = Published::default();
            *published.lock() = Some((Arc::new(()), fetched_at));
            let ready = published.find(None, now, |_| async { Err(down()) }).await;
            assert_eq!(ready.is_ok(), is_ready, "fetched at {fetched_at}");
        }
    }
}
