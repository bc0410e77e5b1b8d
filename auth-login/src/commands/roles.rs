//! `auth-login roles`: the AWS roles that the person may use, as of the last renewal. It makes no network call.

use serde_json::json;
use shared::cli::{Column, Grid};

use super::Context;
use crate::args::Output;
use crate::cache::Credentials;
use crate::error::Error;

pub fn run(context: &mut Context<'_>, output: Output) -> Result<(), Error> {
    let session = context.session()?;
    let keys = context.credentials();
    let in_use = keys.as_ref().map(|keys: &Credentials| keys.role.as_str()).or(context.role.as_deref());
    let roles: Vec<(&str, bool)> =
        session.roles.iter().map(|role| (role.as_str(), Some(role.as_str()) == in_use)).collect();
    if output == Output::Json {
        let roles: Vec<_> = roles.iter().map(|(name, in_use)| json!({"name": name, "in_use": in_use})).collect();
        let profile = context.profile.as_str();
        return context.io.print_json(&json!({"profile": profile, "user": session.user, "roles": roles}));
    }
    if roles.is_empty() {
        context.io.say(format!("{} may not use any AWS role at {}", session.user, context.server));
        return Ok(());
    }
    let mut grid = Grid::new([Column::Whole("ROLE"), Column::Whole("")]);
    for (name, in_use) in roles {
        grid.row([name.to_owned(), if in_use { "in use".to_owned() } else { String::new() }]);
    }
    context.io.print(grid.render(None).trim_end())
}
