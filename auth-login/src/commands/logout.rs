//! `auth-login logout`: ends the session at authd and removes its keys.

use super::{Context, duration, renewal};
use crate::api::Api;
use crate::cache::credentials::rfc3339;
use crate::error::Error;

pub async fn run(context: &mut Context<'_>) -> Result<(), Error> {
    if let Err(error) = context.session() {
        // The session may have expired; its last keys are still to be removed.
        return match context.files.remove(&context.profile) {
            Ok(true) => {
                let line =
                    format!("There was no session; the old keys in the profile {} are removed.", context.profile);
                context.io.print(line)
            }
            _ => Err(error),
        };
    }
    let _lock = renewal::session_lock(context).await?;
    let session = context.session()?;
    let handed_out = context.cache.list_credentials();
    // The keys are removed even if the keyring or the daemon does not answer.
    let ended = match session.token() {
        Ok(token) => Api::new(&context.server).logout(token).await,
        Err(error) => Err(error),
    };
    let profile_removed = context.files.remove(&context.profile);
    context.cache.remove_session(&session)?;
    profile_removed?;

    let line = format!("Signed out of {}; its keys are removed from the profile {}.", context.server, context.profile);
    context.io.print(line)?;
    let now = context.io.now();
    let until_by_server = ended.as_ref().ok().and_then(|ended| ended.as_ref()?.credentials_until);
    let until = handed_out.iter().map(|keys| keys.expires_at).chain(until_by_server).max();
    if let Some(until) = until.filter(|until| *until > now) {
        let (at, left) = (rfc3339(until), duration(until - now));
        context.io.print(format!("AWS cannot revoke keys: those issued before work until {at} ({left})."))?;
    }
    ended.map(|_| ()).map_err(|error| {
        let detail = format!(
            "the session is removed here, but authd was not told: {error}. It expires by itself; an operator can \
             end it now with authctl session end"
        );
        if error.is_unreachable() { Error::unreachable(detail) } else { Error::refused(detail) }
    })
}
