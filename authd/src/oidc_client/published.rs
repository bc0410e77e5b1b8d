//! Documents that a provider publishes (endpoints, keys): fetched when needed, and cached.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::ProviderError;

/// Older documents are fetched again, so that a key that the provider removed is not used for longer.
const MAX_AGE: Duration = Duration::from_hours(1);
/// How long a document is used while the provider does not answer.
const MAX_STALE: Duration = Duration::from_hours(24);
/// How long an old document is used without another try to fetch.
const PAUSE: Duration = Duration::from_secs(10);

/// One document of a provider.
#[derive(Debug)]
pub struct Published<T> {
    /// The document, and when its fetch began.
    kept: Mutex<Option<(Arc<T>, Instant)>>,
    /// Held during a fetch, so that there is one at a time; contains the failure of the last one, if any.
    fetching: tokio::sync::Mutex<Option<Failure>>,
}

impl<T> Default for Published<T> {
    fn default() -> Self {
        Self { kept: Mutex::default(), fetching: tokio::sync::Mutex::default() }
    }
}

impl<T> Published<T> {
    /// The cached document, unless it is old or the caller has seen it already; else the fetched one.
    pub async fn find(
        &self,
        seen: Option<&Arc<T>>,
        fetch: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<Arc<T>, ProviderError> {
        let is_news = |kept: &Arc<T>| seen.is_none_or(|seen| !Arc::ptr_eq(seen, kept));
        if let Some(kept) = self.kept(MAX_AGE).filter(is_news) {
            return Ok(kept);
        }
        let asked = Instant::now();
        let mut failed = self.fetching.lock().await;
        if let Some(kept) = self.kept(MAX_AGE).filter(is_news) {
            return Ok(kept);
        }
        let stale = self.kept(MAX_STALE).filter(is_news);
        if let Some(failure) = failed.as_ref().filter(|failure| failure.answers(asked, stale.is_some())) {
            return stale.ok_or_else(|| failure.error.clone());
        }
        let began = Instant::now();
        match fetch.await {
            Ok(found) => {
                let found = Arc::new(found);
                *self.lock() = Some((found.clone(), began));
                *failed = None;
                Ok(found)
            }
            Err(error) => {
                *failed = Some(Failure { at: Instant::now(), error: error.clone() });
                stale.ok_or(error)
            }
        }
    }

    fn kept(&self, max_age: Duration) -> Option<Arc<T>> {
        self.lock().as_ref().filter(|(_, began)| began.elapsed() < max_age).map(|(kept, _)| kept.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Arc<T>, Instant)>> {
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

    /// By the monotonic clock: no change of the wall clock makes a document younger.
    #[tokio::test(start_paused = true)]
    async fn a_document_is_fetched_again_when_it_is_old() {
        const HOUR: Duration = Duration::from_hours(1);
        let published = Published::default();
        published.find(None, async { Ok(1) }).await.unwrap();
        for (later, found) in [(Duration::from_secs(3_599), 1), (Duration::from_secs(1), 2)] {
            tokio::time::advance(later).await;
            assert_eq!(*published.find(None, async { Ok(2) }).await.unwrap(), found);
        }
        for (later, is_ready) in [(HOUR * 23, true), (HOUR, false)] {
            tokio::time::advance(later).await;
            assert_eq!(published.find(None, async { Err(down()) }).await.is_ok(), is_ready, "after {later:?} more");
        }
    }
}
