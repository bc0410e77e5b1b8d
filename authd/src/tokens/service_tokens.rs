//! The tokens of services: API tokens whose one scope says whose they are. What a service is, is the business of the
//! module of services; it calls these.

use serde_json::json;
use shared::api::rbac::{CreateServiceToken, RevokeServiceToken};
use shared::api::tokens::{CreatedToken, ListTokens, Token, TokenList};
use shared::id::{ServiceId, TokenId};
use shared::op::Operation;
use shared::page::Limit;
use shared::time::Time;

use super::idempotency::IdempotentRequest;
use super::{Tokens, model, store};
use crate::call::Call;
use crate::db::{Batch, Statement};
use crate::env::Millis;
use crate::error::{Error, Result};
use crate::ledger::{Change, Invalidation, Refused, TOKEN};

/// What a service's new token is to be.
#[derive(Debug)]
pub struct ServiceGrant {
    pub service: ServiceId,
    pub name: String,
    /// Absent: it does not expire.
    pub ttl_days: Option<u32>,
}

impl Tokens {
    /// Mints a token of a service. `alive` must find the service when the token is committed, so that no token outlives a
    /// service that is being deleted.
    pub async fn create_for_service(&self, call: &Call, grant: ServiceGrant, alive: Statement) -> Result<CreatedToken> {
        let now = self.base.now();
        model::check_name(&grant.name)?;
        let expires_at = grant.ttl_days.map(|days| model::after_days("ttl_days", now, days)).transpose()?;
        let token = Token {
            token_id: TokenId(self.base.env.uuid()),
            name: grant.name,
            scopes: vec![model::service_scope(grant.service)],
            created_at: Time::from_millis(now),
            created_by: call.caller.to_string(),
            expires_at: expires_at.map(Time::from_millis),
            revoked_at: None,
            revoke_reason: None,
            last_used_at: None,
            metadata: serde_json::Map::new(),
            cidrs: Vec::new(),
        };
        let request = IdempotentRequest::new(&call.caller, CreateServiceToken::INFO.name, None, &())?;
        let missing = alive.name;
        match self.issue(call, &token, &request, CreateServiceToken::INFO.name, Some(alive)).await {
            Err(Refused::ExpectationFailed(name)) if name == missing => Err(Error::not_found("service")),
            issued => Ok(issued?),
        }
    }

    /// The live tokens of a service, newest first.
    pub async fn list_of_service(
        &self,
        call: Call,
        service: ServiceId,
        limit: Option<Limit>,
        cursor: Option<String>,
    ) -> Result<TokenList> {
        let scope = Some(model::service_scope(service));
        self.list(call, ListTokens { limit, cursor, include_revoked: false, name: None, scope }).await
    }

    /// Revokes a token of a service for good; `false`: it has no such token alive.
    pub async fn revoke_for_service(&self, call: &Call, service: ServiceId, token_id: TokenId) -> Result<bool> {
        let Some(token) = store::find(self.base.db.as_ref(), &token_id.to_string()).await? else { return Ok(false) };
        if token.scopes != [model::service_scope(service)] || token.revoked_at.is_some() {
            return Ok(false);
        }
        let change = Change::new(RevokeServiceToken::INFO.name, token_id)
            .with(store::revoke(token_id, None, self.base.now()))
            .invalidates(Invalidation::token(token_id))
            .detail([("name", Some(json!(token.name))), ("service", Some(json!(service)))]);
        match self.base.ledger.commit(call, change).await {
            Ok(_) => Ok(true),
            Err(Refused::ExpectationFailed(store::REVOKE)) => Ok(false),
            Err(refused) => Err(refused.into()),
        }
    }
}

/// The statements that revoke every token of a service, and what they invalidate.
pub fn revoke_of_service(service: ServiceId, reason: &str, now: Millis) -> (Batch, Invalidation) {
    let batch = store::revoke_all(&json!([model::service_scope(service)]).to_string(), reason, now);
    (batch, Invalidation::Returned(TOKEN, store::REVOKE_ALL))
}
