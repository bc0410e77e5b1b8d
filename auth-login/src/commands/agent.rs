//! `auth-login agent`: in the foreground, keeps the credentials file fresh until it is stopped.
//!
//! It checks the wall clock often instead of sleeping until a renewal is due: after a suspend, a long sleep would end
//! too late. Programs that read the file only once can use credential-process.

use std::time::Duration;

use super::renewal::{self, Need};
use super::{Context, Written, duration};
use crate::cache::Credentials;
use crate::error::Error;

/// The longest sleep between two checks of the clock.
const TICK: Duration = Duration::from_secs(20);
/// The first pause after a failure; it doubles each time, up to the tick.
const FIRST_RETRY: Duration = Duration::from_secs(1);

pub async fn run(context: &mut Context<'_>, force: bool) -> Result<(), Error> {
    context.session()?;
    context.check_profile(force)?;
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
        let wait = keys.renewal_due_at() - context.io.now();
        if let Ok(seconds @ 1..) = u64::try_from(wait) {
            tokio::time::sleep(TICK.min(Duration::from_secs(seconds))).await;
            continue;
        }
        match renew(context, force).await {
            Ok(renewed) => {
                keys = renewed;
                say_fresh(context, &keys);
                retry = FIRST_RETRY;
                if keys.came_expired() {
                    // New keys would also be expired until the clock is set.
                    tokio::time::sleep(TICK).await;
                }
            }
            Err(error) if error.is_not_authenticated() => return Err(error),
            Err(error) => retry = pause(context, &error, retry).await,
        }
    }
}

/// Reports the error and waits; returns how long to wait the next time.
async fn pause(context: &mut Context<'_>, error: &Error, retry: Duration) -> Duration {
    context.io.say(format!("auth-login: {error}; trying again in {} s", retry.as_secs()));
    tokio::time::sleep(retry).await;
    TICK.min(retry * 2)
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
