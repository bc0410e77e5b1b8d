//! The daemon itself.

use shared::api::system::{HealthStatus, ShowStatus};
use shared::cli::{Exit, moment};

use super::Context;
use crate::error::Error;

pub(super) async fn status(context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let status = context.call(&ShowStatus {}).await?;
    // Degraded is still 0: its answers are correct.
    let (health, exit) = match status.health.status {
        HealthStatus::Healthy => ("healthy", Exit::Ok),
        HealthStatus::Degraded => ("degraded", Exit::Ok),
        HealthStatus::Unhealthy => ("unhealthy", Exit::Refused),
    };
    let components = &status.health.components;
    let redis = Some(&components.redis).filter(|state| *state != "not_configured");
    let fields = [
        ("Health", health.to_owned()),
        ("Version", status.version.clone()),
        ("Started", moment(context.now(), status.started_at)),
        ("Public URL", status.public_url.clone()),
        ("Listens on", status.listen.join(" ")),
        ("Reached by", context.client.endpoint().to_string()),
        ("You are", status.caller.clone()),
        ("Database", format!("{}, {}", status.database, components.database)),
        ("Short-lived", status.ephemeral.clone()),
        ("Redis", redis.cloned().unwrap_or_default()),
        ("Live tokens", status.live_tokens.to_string()),
        ("Providers", status.providers.join(" ")),
        ("AWS roles", status.roles.join(" ")),
    ];
    context.show(&status, &fields)?;
    Ok(exit)
}
