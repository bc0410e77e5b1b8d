//! `auth-login profiles`: every profile that is signed in on this machine. It makes no network call.

use serde_json::json;
use shared::cli::{Column, Grid};

use super::{Context, duration};
use crate::args::Output;
use crate::aws_files::ProfileName;
use crate::cache::{Cache, Credentials, Session};
use crate::error::Error;

pub fn run(context: &mut Context<'_>, output: Output) -> Result<(), Error> {
    let now = context.io.now();
    let mut signed_in: Vec<(Session, Option<Credentials>)> = Vec::new();
    for session in context.cache.list_sessions() {
        let Ok(profile) = ProfileName::parse(&session.profile) else { continue };
        let keys =
            Cache::open(context.cache.dir(), &session.server, &profile)?.find_credentials(session.role.as_deref());
        signed_in.push((session, keys));
    }
    signed_in.sort_by(|(one, _), (other, _)| (&one.profile, &one.server).cmp(&(&other.profile, &other.server)));
    let left = |until: i64| (until - now).max(0);
    if output == Output::Json {
        let profiles: Vec<_> = signed_in
            .iter()
            .map(|(session, keys)| {
                json!({
                    "profile": session.profile,
                    "server": session.server,
                    "user": session.user,
                    "role": role(session, keys.as_ref()),
                    "keys_seconds_left": keys.as_ref().map(|keys| left(keys.expires_at)),
                    "session_seconds_left": (session.session_expires_at > 0).then(|| left(session.session_expires_at)),
                })
            })
            .collect();
        return context.io.print_json(&json!({"profiles": profiles}));
    }
    if signed_in.is_empty() {
        context.io.say(format!("No profile is signed in. Sign in with: {}", context.login_command()));
        return Ok(());
    }
    let columns = ["PROFILE", "SERVER", "USER", "ROLE", "KEYS", "SESSION"];
    let mut grid = Grid::new(columns.map(Column::Whole));
    for (session, keys) in &signed_in {
        let keys_left = keys.as_ref().map_or("none".to_owned(), |keys| duration(left(keys.expires_at)));
        let session_left = match session.session_expires_at {
            ..=0 => String::new(),
            until => duration(left(until)),
        };
        let role = role(session, keys.as_ref()).unwrap_or_default().to_owned();
        grid.row([
            session.profile.clone(),
            session.server.clone(),
            session.user.clone(),
            role,
            keys_left,
            session_left,
        ]);
    }
    context.io.print(grid.render(None).trim_end())
}

/// The role of the keys, else the one that was asked for.
fn role<'a>(session: &'a Session, keys: Option<&'a Credentials>) -> Option<&'a str> {
    keys.map(|keys| keys.role.as_str()).or(session.role.as_deref())
}
