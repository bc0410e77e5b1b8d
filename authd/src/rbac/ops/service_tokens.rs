//! The tokens by which services ask about their users.

use shared::api::Done;
use shared::api::rbac::{CreateServiceToken, ListServiceTokens, RevokeServiceToken, ServiceToken};
use shared::api::tokens::TokenList;

use crate::app::Ctx;
use crate::error::{Error, Result};
use crate::rbac::store::services;
use crate::tokens::{self, ServiceGrant};

pub async fn create(ctx: Ctx, op: CreateServiceToken) -> Result<ServiceToken> {
    let service = super::service(&ctx, &op.id).await?;
    let name = op.name.unwrap_or_else(|| default_name(&service.name, &ctx));
    let grant = ServiceGrant { service: service.id, name, ttl_days: op.ttl_days };
    let created = tokens::create_for_service(&ctx, grant, services::alive(service.id)).await?;
    Ok(ServiceToken {
        token: created.token,
        token_id: created.token_id,
        service_id: service.id,
        name: created.name,
        expires_at: created.expires_at,
    })
}

/// The service's name, and something that sets its tokens apart: a service has two while they are exchanged.
fn default_name(service: &str, ctx: &Ctx) -> String {
    let [a, b, c, d] = ctx.app.world.bytes();
    let start: String = service.chars().take(tokens::model::MAX_NAME - 9).collect();
    format!("{start}-{a:02x}{b:02x}{c:02x}{d:02x}")
}

pub async fn list(ctx: Ctx, op: ListServiceTokens) -> Result<TokenList> {
    let service = super::service(&ctx, &op.id).await?;
    tokens::list_of_service(ctx, service.id, op.limit, op.cursor).await
}

pub async fn revoke(ctx: Ctx, op: RevokeServiceToken) -> Result<Done> {
    let service = super::service(&ctx, &op.id).await?;
    if tokens::revoke_for_service(&ctx, service.id, op.token_id).await? {
        Ok(Done::default())
    } else {
        Err(Error::not_found("token of this service"))
    }
}
