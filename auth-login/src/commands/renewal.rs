//! Obtains keys: from the cache, or renewed by one process for all.

use std::time::Duration;

use super::{Context, duration};
use crate::api::{Api, NoRenewal};
use crate::cache::lock::{self, Held};
use crate::cache::{Credentials, Session};
use crate::error::Error;

/// A renewal is one call of authd, which calls a provider and AWS; this covers all their time limits.
const LOCK_WAIT: Duration = Duration::from_mins(1);

/// How recent the keys must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Valid for long enough to use.
    Fresh,
    /// Fetched since the command began.
    New,
}

/// Where keys came from.
#[derive(Debug)]
pub struct Obtained {
    pub credentials: Credentials,
    /// Why they are not as fresh as they should be.
    pub warning: Option<String>,
}

/// Finds or fetches keys. Of several processes that need them at once, one calls authd; the others wait for its lock,
/// up to a deadline, and read what it stored.
pub async fn obtain(context: &Context<'_>, need: Need) -> Result<Obtained, Error> {
    context.session()?;
    let before = context.credentials();
    let now = context.io.now();
    let is_enough =
        |keys: &&Credentials| keys.is_fresh(now) || (keys.is_left_to_agent(now) && context.cache.has_agent());
    if let (Need::Fresh, Some(keys)) = (need, before.as_ref().filter(is_enough)) {
        return Ok(Obtained { credentials: keys.clone(), warning: None });
    }
    let _lock = session_lock(context).await?;
    // The previous holder of the lock may have renewed or ended the session.
    let session = context.session()?;
    if let Some(keys) = context.credentials() {
        let is_another = before.is_none_or(|before| before.access_key_id != keys.access_key_id);
        // Keys that another process fetched meanwhile are new, however short their lifetime is.
        let is_new = is_another && keys.remaining(context.io.now()) > 0;
        if is_new || (need == Need::Fresh && keys.is_fresh(context.io.now())) {
            return Ok(Obtained { credentials: keys, warning: None });
        }
    }
    renew(context, session, need).await
}

/// Keys for a tool; a warning is printed.
pub async fn hand_out(context: &mut Context<'_>) -> Result<Credentials, Error> {
    let obtained = obtain(context, Need::Fresh).await?;
    if let Some(warning) = obtained.warning {
        context.io.say(format!("auth-login: warning: {warning}"));
    }
    Ok(obtained.credentials)
}

/// Takes the lock of the session without blocking signals.
pub async fn session_lock(context: &Context<'_>) -> Result<Held, Error> {
    let file = context.cache.session_lock()?;
    let waited = tokio::task::spawn_blocking(move || lock::queue(file)?.wait(LOCK_WAIT)).await;
    let held = waited.map_err(std::io::Error::other).and_then(|held| held);
    held.map_err(|error| Error::file("lock", context.cache.dir(), error))?.ok_or_else(|| {
        let seconds = LOCK_WAIT.as_secs();
        Error::unreachable(format!("another auth-login has been renewing this session for {seconds} s; try again"))
    })
}

async fn renew(context: &Context<'_>, session: Session, need: Need) -> Result<Obtained, Error> {
    let renewed = match session.token() {
        Ok(token) => Api::new(&context.server).renew(token, context.role.as_deref()).await,
        Err(error) if error.is_unreachable() => Err(NoRenewal::Failed(error)),
        Err(error) => return Err(error),
    };
    match renewed {
        Ok(answer) => {
            let credentials = Credentials::new(&answer, context.io.now());
            let session = Session {
                token: Some(answer.refresh_token),
                user: answer.user,
                roles: answer.roles,
                session_expires_at: answer.session_expires_at,
                ..session
            };
            // The token is saved first: if the keys were used and the token was lost, the next renewal would send an
            // older token, and authd ends a session whose old token is reused.
            context.cache.save_session(&session)?;
            context.cache.save_credentials(context.role.as_deref(), &credentials)?;
            Ok(Obtained { warning: clock_warning(&credentials), credentials })
        }
        Err(NoRenewal::Ended(end)) => {
            // Errors are ignored: the files are useless now, and the end of the session must be reported.
            let _ = context.cache.remove_session(&session);
            let _ = context.cache.save_end(&end);
            Err(Error::not_authenticated(format!("{}; run: {}", end.detail, context.login_command())))
        }
        Err(NoRenewal::Failed(error)) => {
            // Keys that still work are used while authd is unavailable.
            let usable = context.credentials().filter(|keys| keys.remaining(context.io.now()) > 0);
            match usable {
                Some(credentials) if need == Need::Fresh => {
                    let left = duration(credentials.remaining(context.io.now()));
                    let warning = Some(format!("{error}. The current keys still work for {left}"));
                    Ok(Obtained { credentials, warning })
                }
                _ => Err(error),
            }
        }
    }
}

/// The warning if the keys seem to be expired when obtained.
pub fn clock_warning(credentials: &Credentials) -> Option<String> {
    let text =
        "the new keys have expired by this machine's clock: it seems to be ahead; set it, or AWS will refuse them";
    credentials.came_expired().then(|| text.to_owned())
}
