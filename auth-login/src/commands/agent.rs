//! `auth-login agent`: in the foreground, keeps the credentials file fresh until it is stopped or the session ends. Only
//! one agent runs for a profile. `agent install` has the service manager of the person run it.
//!
//! It checks the clocks often instead of sleeping until a renewal is due: during a suspend the monotonic clock stands
//! still, and the wall clock may be set. Programs that read the file only once can use credential-process.

mod service;

use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use self::service::{install, resume, status, uninstall};
use super::renewal::{self, Need};
use super::{Context, Written, duration};
use crate::cache::Credentials;
use crate::cache::lock::{self, Held};
use crate::error::Error;

/// The longest sleep between two checks of the clocks.
const TICK: Duration = Duration::from_secs(20);
/// The first pause after a failure; it doubles each time, up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_mins(1);
/// How long another agent may take to end.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// If the wall clock gains this much on the monotonic one, the machine has slept.
const SLEPT: Duration = Duration::from_secs(10);

pub async fn run(context: &mut Context<'_>, force: bool) -> Result<(), Error> {
    context.session()?;
    context.check_profile(force)?;
    let _only_one = only_one(context)?;
    let mut retry = FIRST_RETRY;
    let mut keys = loop {
        match renewal::obtain(context, Need::Fresh).await {
            Ok(obtained) => break obtained.credentials,
            // When a machine boots, the agent may start before the network.
            Err(error) if error.is_unreachable() => retry = pause(context, &error, retry).await,
            Err(error) => return Err(error),
        }
    };
    if let Written::NotNeeded = context.write_profile(&keys, force)? {
        context.io.say("The config file uses credential-process for this profile; its cache is kept fresh instead.");
    }
    context.warn_of_obstacles()?;
    context.io.say(format!("Keeping the keys of the profile {} fresh; stop with Ctrl-C.", context.profile));
    say_fresh(context, &keys);
    retry = FIRST_RETRY;
    loop {
        wait_until_due(context, &keys).await;
        match renew(context, force).await {
            Ok(renewed) => {
                keys = renewed;
                say_fresh(context, &keys);
                retry = FIRST_RETRY;
                if keys.came_expired() {
                    // New keys would also be expired until the clock is set.
                    sleep(TICK).await;
                }
            }
            Err(error) if error.is_not_authenticated() => return Err(error),
            Err(error) => retry = pause(context, &error, retry).await,
        }
    }
}

fn only_one(context: &Context<'_>) -> Result<Held, Error> {
    let failed = |error: std::io::Error| Error::file("lock", context.cache.dir(), error);
    // Others look at the lock for a moment.
    let held = lock::queue(context.cache.agent_lock()?).and_then(|waiting| waiting.wait(LOCK_TIMEOUT));
    held.map_err(failed)?.ok_or_else(|| {
        Error::refused(format!("an agent already keeps the keys of the profile {} fresh", context.profile))
    })
}

/// Waits until the keys are due, by the wall clock (which runs on while the machine sleeps) or the monotonic one (which
/// nobody sets), or the session was removed.
async fn wait_until_due(context: &Context<'_>, keys: &Credentials) {
    let now = context.io.now();
    // Jitter only brings it forward: whoever uses the keys finds them fresh, and the agent is the one that renews them.
    let earlier = (keys.renewal_due_at() - now).max(0) / 10 * i64::from(context.io.random::<1>()[0]) / 256;
    let due = keys.renewal_due_at() - earlier;
    let begun = Instant::now();
    loop {
        let left = time_left(due, now, context.io.now(), begun.elapsed());
        if left.is_zero() || !matches!(context.cache.find_session(), Ok(Some(_))) {
            return;
        }
        sleep(TICK.min(left)).await;
    }
}

/// The time until the keys are due: what was left at the beginning, less the time that has passed by the clock that says
/// more has passed.
fn time_left(due: i64, began: i64, now: i64, elapsed: Duration) -> Duration {
    let seconds = |count: i64| Duration::from_secs(u64::try_from(count).unwrap_or(0));
    seconds(due - began).saturating_sub(elapsed.max(seconds(now - began)))
}

/// Whether the machine has slept: the wall clock has gained on the monotonic one, which stands still meanwhile.
fn has_slept(began: i64, now: i64, elapsed: Duration) -> bool {
    Duration::from_secs(u64::try_from(now - began).unwrap_or(0)) > elapsed + SLEPT
}

/// Reports the error and waits; returns how long to wait the next time. It ends early when the machine has slept: the
/// network may be another one.
async fn pause(context: &mut Context<'_>, error: &Error, retry: Duration) -> Duration {
    // Many machines that lost the same server do not come back at once.
    let wait = retry.mul_f64(0.75 + f64::from(context.io.random::<1>()[0]) / 1024.0);
    context.io.say(format!("auth-login: {error}; trying again in {:.0} s", wait.as_secs_f64().max(1.0)));
    let (wall, monotonic) = (context.io.now(), Instant::now());
    while monotonic.elapsed() < wait {
        sleep(TICK.min(wait.saturating_sub(monotonic.elapsed()))).await;
        if has_slept(wall, context.io.now(), monotonic.elapsed()) {
            return FIRST_RETRY;
        }
    }
    LONGEST_RETRY.min(retry * 2)
}

async fn renew(context: &mut Context<'_>, force: bool) -> Result<Credentials, Error> {
    // Another process may have just renewed them.
    let known = context.credentials().filter(|keys| keys.renewal_due_at() > context.io.now());
    let keys = match known {
        Some(keys) => keys,
        None => renewal::obtain(context, Need::New).await?.credentials,
    };
    context.write_profile(&keys, force)?;
    Ok(keys)
}

fn say_fresh(context: &mut Context<'_>, keys: &Credentials) {
    if let Some(warning) = renewal::clock_warning(keys) {
        context.io.say(format!("warning: {warning}"));
        return;
    }
    let left = duration(keys.remaining(context.io.now()));
    context.io.say(format!("The keys work for {left}, until {}.", keys.expiration()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_due_by_the_clock_that_is_ahead() {
        for (now, elapsed, left) in [
            (1000, 0, 600),
            (1100, 100, 500),
            // The machine slept for an hour: the monotonic clock stood still.
            (4700, 100, 0),
            // Somebody set the clock back by a day.
            (1000 - 86_400, 100, 500),
            (1600, 600, 0),
        ] {
            let elapsed = Duration::from_secs(elapsed);
            assert_eq!(time_left(1600, 1000, now, elapsed), Duration::from_secs(left), "{now} {elapsed:?}");
        }
    }

    #[test]
    fn a_sleep_is_told_from_a_wait() {
        let slept = |now, elapsed| has_slept(1000, now, Duration::from_secs(elapsed));
        assert!(slept(4600, 20) && !slept(1060, 60) && !slept(1065, 60) && !slept(0, 60));
    }
}
