//! `grpc.health.v1.Health`: what `/health` says.

#![expect(clippy::unnecessary_wraps, reason = "the functions of a method may fail")]

use ::http::HeaderMap;
use shared::api::system::{CheckHealth, Health, HealthStatus};
use shared::grpc::grpc::health::v1::health_check_response::ServingStatus;
use shared::grpc::grpc::health::v1::{HealthCheckRequest, HealthCheckResponse};

use super::{SERVICES, Service};
use crate::error::{Error, Result};

pub(super) fn register(service: &mut Service<'_>) -> anyhow::Result<()> {
    service.streaming("Watch");
    service.unary("Check", check, checked)
}

fn check(message: HealthCheckRequest, _: &HeaderMap) -> Result<CheckHealth> {
    if message.service.is_empty() || SERVICES.contains(&message.service.as_str()) {
        return Ok(CheckHealth {});
    }
    Err(Error::not_found("service"))
}

fn checked(health: Health, _: &mut HeaderMap) -> Result<HealthCheckResponse> {
    let status = match health.status {
        HealthStatus::Healthy | HealthStatus::Degraded => ServingStatus::Serving,
        HealthStatus::Unhealthy => ServingStatus::NotServing,
    };
    Ok(HealthCheckResponse { status: status.into() })
}
