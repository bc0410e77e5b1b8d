//! Work at a lower priority than that of the threads that answer requests.
//!
//! On a busy machine the scheduler prefers the threads that answer requests, so many logins, sign-ups and mails delay the
//! look-up of a token less. On an idle one nothing is slower.

use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::LocalSet;

/// Lower than usual (0), but still gets its share of a busy machine: at 10, many logins beside a compiler took too long.
pub const NICENESS: i32 = 5;

/// Lowers the priority of the calling thread, and of the threads that it starts.
pub fn lower_priority(niceness: i32) {
    let own = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(own), niceness) {
        let name = thread::current().name().unwrap_or_default().to_owned();
        tracing::debug!(%error, name, "a thread runs at the usual priority");
    }
}

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A thread of lower priority that polls the futures given to it. Their timers, their sockets, and what they spawn stay
/// with the runtime of the caller.
#[derive(Debug, Default)]
pub struct Background {
    /// Started with the first future. `None` if it could not be started.
    thread: OnceLock<Option<mpsc::UnboundedSender<Job>>>,
    end: Arc<Notify>,
}

impl Background {
    /// Polls the future on the thread until it has ended, even if the caller stops waiting. The caller bounds how many
    /// there are. Fails if the future panicked, or was dropped by [`Self::end`].
    pub async fn run_to_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, oneshot::error::RecvError> {
        let (answer, answered) = oneshot::channel();
        // Nobody may wait for it any more.
        let job = Box::pin(async move { drop(answer.send(work.await)) });
        let thread = self.thread.get_or_init(|| start(self.end.clone()));
        match thread {
            Some(jobs) => drop(jobs.send(job)),
            None => drop(tokio::spawn(job)),
        }
        answered.await
    }

    /// The same until the caller stops waiting: the future is dropped then.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, oneshot::error::RecvError> {
        let (_waiting, abandoned) = oneshot::channel::<()>();
        let work = async move {
            tokio::select! {
                biased;
                _ = abandoned => None,
                ended = work => Some(ended),
            }
        };
        Ok(self.run_to_end(work).await?.expect("the caller waits"))
    }

    /// Drops what has not ended, and takes nothing more.
    pub fn end(&self) {
        self.end.notify_one();
    }
}

fn start(end: Arc<Notify>) -> Option<mpsc::UnboundedSender<Job>> {
    let runtime = Handle::current();
    let (jobs, mut waiting) = mpsc::unbounded_channel::<Job>();
    let take = async move {
        let mut end = pin!(end.notified());
        loop {
            tokio::select! {
                job = waiting.recv() => match job {
                    Some(job) => drop(tokio::task::spawn_local(job)),
                    None => break,
                },
                () = &mut end => break,
            }
        }
    };
    let thread = thread::Builder::new().name("background".into());
    let started = thread.spawn(move || {
        lower_priority(NICENESS);
        runtime.block_on(LocalSet::new().run_until(take));
    });
    started.inspect_err(|error| tracing::warn!(%error, "slow requests run at the usual priority")).ok().map(|_| jobs)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn niceness() -> i32 {
        rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap()
    }

    #[tokio::test]
    async fn work_runs_at_a_lower_priority_and_what_it_spawns_does_not() {
        let background = Background::default();
        let usual = niceness();
        let (own, spawned) =
            background.run(async { (niceness(), tokio::spawn(async { niceness() }).await.unwrap()) }).await.unwrap();
        assert_eq!((own, spawned), (usual + NICENESS, usual));
    }

    #[tokio::test]
    async fn work_ends_without_its_caller_only_where_it_must() {
        let background = Background::default();
        for (to_end, expected) in [(true, true), (false, false)] {
            let (done, is_done) = oneshot::channel();
            let (go, gone) = oneshot::channel::<()>();
            let work = async move {
                gone.await.unwrap();
                done.send(()).unwrap();
            };
            let mut caller: Pin<Box<dyn Future<Output = _>>> =
                if to_end { Box::pin(background.run_to_end(work)) } else { Box::pin(background.run(work)) };
            let polled = std::future::poll_fn(|context| std::task::Poll::Ready(caller.as_mut().poll(context))).await;
            assert!(polled.is_pending());
            drop(caller);
            let went = go.send(()).is_ok();
            assert!(went || !to_end);
            assert_eq!(is_done.await.is_ok(), expected);
        }
    }

    #[tokio::test]
    async fn a_panic_and_the_end_are_told_to_the_caller() {
        let background = Background::default();
        assert!(background.run(async { panic!("on purpose") }).await.is_err());
        assert_eq!(background.run(async { 1 }).await, Ok(1));
        let stuck = background.run_to_end(pending::<()>());
        background.end();
        assert!(stuck.await.is_err());
        assert!(background.run(async { 1 }).await.is_err());
    }
}
