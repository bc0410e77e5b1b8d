//! `auth-login login`: signs in through the browser unless there is a live session, and writes the profile.
//!
//! Of several started at once, one opens the browser; the others show the same URL, wait for its lock, and use its
//! result. Renewals have a separate lock: a tool that asks for keys must not wait for a person.

use std::time::Duration;

use tokio::time::Instant;

use super::renewal::{self, Need};
use super::{Context, Written, agent, duration, sign_in};
use crate::api::Api;
use crate::args::LoginFlags;
use crate::cache::lock::{self, Held};
use crate::cache::{Credentials, KEYRING, PendingLogin, Session, TokenStore};
use crate::error::Error;
use crate::settings::{ProfileSettings, Settings};

/// Longer than the lifetime of any sign-in.
const LOGIN_WAIT: Duration = Duration::from_mins(15);
/// How often a waiter checks for the URL.
const URL_LOOK: Duration = Duration::from_millis(200);

pub async fn run(context: &mut Context<'_>, flags: LoginFlags) -> Result<(), Error> {
    // Checked first, so that a person does not sign in for nothing.
    context.check_profile(flags.force)?;
    let before = stored_session(context);
    let (_lock, has_waited) = login_lock(context).await?;
    if has_waited {
        // The other process has also changed the settings.
        context.settings = Settings::read(context.settings.path())?;
    }
    let provider = flags.provider.clone().or_else(|| context.settings.profile(&context.profile).provider);
    // The note of a process that was killed.
    context.cache.remove_login();
    let present = stored_session(context);
    if let Some(session) = present.as_ref().filter(|_| has_waited && present != before) {
        let keys = renewal::obtain(context, Need::Fresh).await?.credentials;
        return finish(context, &keys, session, flags.force);
    }
    if let Some(session) = present.as_ref().filter(|session| !flags.again && session.provider == provider) {
        match renewal::obtain(context, Need::New).await {
            Ok(obtained) => {
                if let Some(store) = flags.token_store {
                    move_token(context, store).await?;
                }
                let again = context.command_line("login --again");
                context.io.say(format!("Still signed in as {}; sign in again with: {again}", session.user));
                return finish(context, &obtained.credentials, session, flags.force);
            }
            Err(error) if error.is_not_authenticated() => {
                let end =
                    context.cache.find_end().map_or("the session of this machine has ended".into(), |end| end.detail);
                context.io.say(format!("Signing in again: {end}."));
            }
            Err(error) => return Err(error),
        }
    }
    let store = token_store(context, flags.token_store)?;
    let answer = sign_in::run(context, &flags, provider.clone()).await?;
    if let Err(error) = accept_person(context, present.as_ref(), &answer.user, &flags).await {
        // Nobody uses this session.
        let _ = Api::new(&context.server).logout(answer.refresh_token).await;
        return Err(error);
    }
    let now = context.io.now();
    let keys = Credentials::new(&answer, now);
    let session = Session {
        server: context.server.to_string(),
        profile: context.profile.to_string(),
        user: answer.user,
        role: context.role.clone(),
        provider: provider.clone(),
        roles: answer.roles,
        signed_in_at: now,
        session_expires_at: answer.session_expires_at,
        store,
        token: Some(answer.refresh_token),
    };
    let old_token = present.as_ref().and_then(|session| session.token().ok());
    if let Err(error) = save(context, &session, &keys).await {
        // Only this process has its token, so the session must end at authd.
        if let Some(token) = session.token {
            let _ = Api::new(&context.server).logout(token).await;
        }
        return Err(error);
    }
    if let Some(old) = present.filter(|old| old.store != store) {
        // If the keyring is unreachable, it keeps a token that authd accepts only for a short time.
        let _ = old.forget_token();
    }
    if let Some(token) = old_token {
        // If this fails, the session expires.
        let _ = Api::new(&context.server).logout(token).await;
    }
    context.io.say(format!("Signed in as {} at {}.", session.user, context.server));
    if let Some(warning) = renewal::clock_warning(&keys) {
        context.io.say(format!("warning: {warning}"));
    }
    finish(context, &keys, &session, flags.force)
}

/// Asks if another person than the profile's last one has signed in, as by the cookie of a shared browser.
async fn accept_person(
    context: &mut Context<'_>,
    present: Option<&Session>,
    user: &str,
    flags: &LoginFlags,
) -> Result<(), Error> {
    let last = present.map(|session| session.user.clone());
    let remembered = Some(context.settings.profile(&context.profile))
        .filter(|profile| profile.server.as_deref() == Some(context.server.to_string().as_str()));
    let Some(last) = last.or_else(|| remembered?.user) else { return Ok(()) };
    if flags.another_user || last == user {
        return Ok(());
    }
    let profile = &context.profile;
    let said = format!("{user} has signed in, and the last one in the profile {profile} was {last}");
    match context.io.confirm(format!("{said}. Go on as {user}?")).await {
        Some(true) => Ok(()),
        Some(false) => Err(Error::refused("nothing was changed")),
        None => Err(Error::refused(format!(
            "{said}; nothing was changed. To go on as {user}: {}",
            context.command_line("login --another-user")
        ))),
    }
}

/// Stores a new sign-in. All earlier keys are removed: they may belong to another person.
async fn save(context: &Context<'_>, session: &Session, keys: &Credentials) -> Result<(), Error> {
    let _lock = renewal::session_lock(context).await?;
    context.cache.remove_credentials()?;
    context.cache.save_session(session)?;
    context.cache.save_credentials(context.role.as_deref(), keys)
}

/// The stored session. An unreadable one is replaced by this sign-in.
fn stored_session(context: &Context<'_>) -> Option<Session> {
    context.cache.find_session().ok().flatten()
}

/// Moves the device token of a live session to the requested store.
async fn move_token(context: &mut Context<'_>, store: TokenStore) -> Result<(), Error> {
    let _lock = renewal::session_lock(context).await?;
    let session = context.session()?;
    if session.store == store {
        return Ok(());
    }
    let moved = Session { store, token: Some(session.token()?), ..session.clone() };
    token_store(context, Some(store))?;
    context.cache.save_session(&moved)?;
    session.forget_token()
}

/// Writes the profile, stores the choices, and prints the next steps.
fn finish(context: &mut Context<'_>, keys: &Credentials, session: &Session, force: bool) -> Result<(), Error> {
    let written = context.write_profile(keys, force)?;
    let settings = ProfileSettings {
        server: Some(context.server.to_string()),
        role: context.role.clone(),
        provider: session.provider.clone(),
        user: Some(session.user.clone()),
    };
    if let Err(error) = context.settings.remember_profile(&context.profile, &settings) {
        context.io.say(format!("warning: the settings could not be saved: {error}"));
    }
    context.warn_of_obstacles()?;
    let has_agent = agent::resume(context);
    let left = duration(keys.remaining(context.io.now()));
    match written {
        Written::File => {
            let path = context.files.credentials.path().display();
            let line = format!("The keys of the profile {} are in {path} and work for {left}.", context.profile);
            context.io.print(line)?;
            if has_agent {
                context.io.say("The agent keeps them fresh.");
                return Ok(());
            }
            let (agent, exec) = (context.command_line("agent install"), context.command_line("exec"));
            context.io.say(format!("To keep them fresh: {agent}. For one command: {exec} -- COMMAND"));
            Ok(())
        }
        Written::NotNeeded => {
            let line = format!("The profile {} uses credential-process, which renews its keys.", context.profile);
            context.io.print(line)
        }
    }
}

/// Takes the lock of this sign-in; returns whether another process had it, whose URL is shown meanwhile.
async fn login_lock(context: &mut Context<'_>) -> Result<(Held, bool), Error> {
    let failed = |error: std::io::Error| Error::refused(format!("cannot lock the sign-in: {error}"));
    if let Some(held) = lock::try_now(context.cache.login_lock()?).map_err(failed)? {
        return Ok((held, false));
    }
    context.io.say("Another auth-login is signing in already; waiting for it.");
    let mut waiting = lock::queue(context.cache.login_lock()?).map_err(failed)?;
    let deadline = Instant::now() + LOGIN_WAIT;
    let mut shown: Option<PendingLogin> = None;
    while Instant::now() < deadline {
        // Waits in slices on a separate thread, so that Ctrl-C works.
        let slice = tokio::task::spawn_blocking(move || {
            let held = waiting.wait(URL_LOOK);
            (waiting, held)
        });
        let (still_waiting, held) = slice.await.map_err(|error| failed(std::io::Error::other(error)))?;
        waiting = still_waiting;
        let login = context.cache.find_login();
        if let Some(held) = held.map_err(failed)? {
            let ended = shown.zip(login).filter(|(shown, login)| shown.auth_url == login.auth_url);
            return match ended.and_then(|(_, login)| login.failure) {
                Some(failure) => Err(Error::refused(failure)),
                None => Ok((held, true)),
            };
        }
        if let (None, Some(login)) = (&shown, login.filter(|login| login.failure.is_none())) {
            context.io.say(format!("Sign in here:\n\n  {}\n", login.auth_url));
            shown = Some(login);
        }
    }
    Err(Error::refused("the other auth-login is still signing in; end it and try again"))
}

/// Chooses the store of the device token: as asked, as before, or the keyring if there is one. Prints a new choice.
fn token_store(context: &mut Context<'_>, asked: Option<TokenStore>) -> Result<TokenStore, Error> {
    let remembered = context.settings.token_store;
    // Checked first, so that a person does not sign in for a token that cannot be stored.
    let (store, why) = KEYRING.choose(asked.or(remembered), &context.io.random::<8>()).map_err(Error::refused)?;
    if remembered == Some(store) {
        return Ok(store);
    }
    let place = store.place(context.cache.dir());
    context.io.say(format!("The device token is stored {place}{why}. To change that: --token-store"));
    if let Err(error) = context.settings.remember_token_store(store) {
        context.io.say(format!("warning: this choice could not be saved: {error}"));
    }
    Ok(store)
}
