//! The daemon itself.

use shared::api::system::{HealthStatus, ShowStatus};
use shared::cli::{Exit, moment};

use super::Context;
use crate::error::Error;

pub(super) async fn status(context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let status = context.call(&ShowStatus {}).await?;
    // Degraded is still 0: what it answers is true.
    let (health, exit) = match status.health.status {
        HealthStatus::Healthy => ("healthy", Exit::Ok),
        HealthStatus::Degraded => ("degraded", Exit::Ok),
        HealthStatus::Unhealthy => ("unhealthy", Exit::Refused),
    };
    if context.print_object(&status)? {
        return Ok(exit);
    }
    let components = &status.health.components;
    let redis = match components.redis.as_str() {
        "not_configured" => String::new(),
        state => state.to_owned(),
    };
    let started = moment(context.now(), status.started_at);
    context.write_record([
        ("Health", health.to_owned()),
        ("Version", status.version),
        ("Started", started),
        ("Public URL", status.public_url),
        ("Listens on", status.listen.join(" ")),
        ("Reached by", context.client.endpoint().to_string()),
        ("You are", status.caller),
        ("Database", format!("{}, {}", status.database, components.database)),
        ("Short-lived", status.ephemeral),
        ("Redis", redis),
        ("Live tokens", status.live_tokens.to_string()),
        ("Providers", status.providers.join(" ")),
        ("AWS roles", status.roles.join(" ")),
    ])?;
    Ok(exit)
}
