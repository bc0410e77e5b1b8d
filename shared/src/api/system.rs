//! The daemon itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::op::{Access, Permission, operations};
use crate::time::Time;

operations! {
    /// Health of the daemon and its dependencies: 200 healthy or degraded, 503 unhealthy
    CheckHealth => "system.health", Get "/health", Access::Public, 200 Health, status_by Health::http_status;
    /// Liveness: the process answers
    CheckLive => "system.live", Get "/health/live", Access::Public, 200 Alive;
    /// Readiness: 200, or 503 while requests cannot be answered
    CheckReady => "system.ready", Get "/health/ready", Access::Public, 200 Health, status_by Health::http_status;
    /// Show version, start time, database, health and configuration of the daemon
    ShowStatus => "system.status", Get "/status", Access::Permission(Permission::SystemRead), 200 Status;
}

macro_rules! empty_requests {
    ($($name:ident),*) => {$(
        #[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {}
    )*};
}
empty_requests!(CheckHealth, CheckLive, CheckReady, ShowStatus);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    Healthy,
    /// Answers are correct, but some requests are slower or refused, for example because Redis is down.
    Degraded,
    /// The database is down: requests cannot be answered correctly.
    Unhealthy,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    pub status: HealthStatus,
    pub version: String,
    pub components: Components,
}

impl Health {
    pub fn http_status(&self) -> u16 {
        match self.status {
            HealthStatus::Healthy | HealthStatus::Degraded => 200,
            HealthStatus::Unhealthy => 503,
        }
    }
}

/// Each is `healthy`, `unhealthy` or `not_configured`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Components {
    pub database: String,
    pub redis: String,
    pub command_processor: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alive {
    /// Always `alive`.
    pub status: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    pub version: String,
    pub started_at: Time,
    pub public_url: String,
    /// The addresses it listens on.
    pub listen: Vec<String>,
    /// `sqlite` or `postgres`.
    pub database: String,
    /// `db` or `redis`.
    pub ephemeral: String,
    pub health: Health,
    /// Tokens that are not revoked.
    pub live_tokens: u64,
    /// The identity providers that a login can use.
    pub providers: Vec<String>,
    /// The AWS roles that a login can end in.
    pub roles: Vec<String>,
    /// The caller as the daemon identifies it.
    pub caller: String,
}
