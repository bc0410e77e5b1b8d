//! `auth-login status`: who is signed in, how long the keys work, and conflicts. It makes no network call.

use serde_json::json;

use super::{Context, duration};
use crate::api::End;
use crate::args::Output;
use crate::aws_files::Owner;
use crate::cache::credentials::rfc3339;
use crate::cache::{Credentials, Session};
use crate::error::Error;

pub fn run(context: &mut Context<'_>, output: Output) -> Result<(), Error> {
    let session = match context.session() {
        Ok(session) => session,
        Err(error) => {
            if let (Output::Json, Some(end)) = (output, context.cache.find_end()) {
                ended(context, &end)?;
            }
            return Err(error);
        }
    };
    let keys = context.credentials();
    match output {
        Output::Json => json(context, &session, keys.as_ref()),
        Output::Text => text(context, &session, keys.as_ref()),
    }
}

/// The session has ended; the command fails as without a session.
fn ended(context: &mut Context<'_>, end: &End) -> Result<(), Error> {
    let (profile, server) = (context.profile.as_str(), context.server.to_string());
    context.io.print_json(&json!({"profile": profile, "server": server, "user": null, "ended": end}))
}

fn json(context: &mut Context<'_>, session: &Session, keys: Option<&Credentials>) -> Result<(), Error> {
    let obstacles = context.files.obstacles(&context.profile);
    let warnings = obstacles.unwrap_or_else(|error| vec![error.to_string()]);
    context.io.print_json(&json!({
        "profile": context.profile.as_str(),
        "server": context.server.to_string(),
        "user": session.user,
        "role": keys.map(|keys| &keys.role),
        "role_arn": keys.map(|keys| &keys.role_arn),
        "roles": session.roles,
        "signed_in_at": rfc3339(session.signed_in_at),
        "session_expires_at": (session.session_expires_at > 0).then(|| rfc3339(session.session_expires_at)),
        "keys_expire_at": keys.map(Credentials::expiration),
        "token_store": session.store,
        "warnings": warnings,
    }))
}

fn text(context: &mut Context<'_>, session: &Session, keys: Option<&Credentials>) -> Result<(), Error> {
    let now = context.io.now();
    let (profile, path) = (&context.profile, context.files.credentials.path().display());
    let asks_us = context.files.asks_us(profile).unwrap_or_default();
    let file = match context.files.owner(profile) {
        _ if asks_us => "the config file asks auth-login credential-process".to_owned(),
        Ok(Owner::Ours) => format!("[{profile}] in {path}"),
        Ok(Owner::Nobody) => {
            format!("no keys in [{profile}] of {path}; they are written by: {}", context.command_line("renew"))
        }
        Ok(Owner::Other(key)) => format!("[{profile}] in {path} has {key} of another program"),
        Err(_) => format!("{path} cannot be read"),
    };
    let keys_line = match keys {
        Some(keys) if keys.remaining(now) > 0 => {
            format!("expire in {} ({})", duration(keys.remaining(now)), keys.expiration())
        }
        Some(_) => "have expired; the next use renews them".to_owned(),
        None => "none yet; the next use fetches them".to_owned(),
    };
    let session_line = match session.session_expires_at {
        ..=0 => "valid while it is used".to_owned(),
        at if at > now => format!("ends in {} at the latest ({})", duration(at - now), rfc3339(at)),
        _ => format!("has ended; run: {}", context.login_command()),
    };
    let store = session.store.place(context.cache.dir());
    let role = keys.map(|keys| format!("{} {}", keys.role, keys.role_arn).trim().to_owned()).unwrap_or_default();
    let lines = [
        ("profile", profile.to_string()),
        ("server", context.server.to_string()),
        ("user", format!("{}, signed in {}", session.user, rfc3339(session.signed_in_at))),
        ("role", role),
        ("keys", keys_line),
        ("file", file),
        ("session", session_line),
        ("token", store),
    ];
    for (name, text) in lines.iter().filter(|(_, text)| !text.is_empty()) {
        context.io.print(format!("{name:8} {text}"))?;
    }
    // A file that cannot be read is a result of this command, not a failure.
    match context.warn_of_obstacles() {
        Ok(()) => {}
        Err(error) => context.io.say(format!("warning: {error}")),
    }
    Ok(())
}
