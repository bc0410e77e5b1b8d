//! The tokens of services: API tokens whose one scope names the service. The module of services
//! calls these functions.

use serde_json::json;
use shared::api::rbac::{CreateServiceToken, ListServiceTokens, RevokeServiceToken};
use shared::api::tokens::{CreateToken, CreatedToken, ListTokens, TokenList};
use shared::id::{ServiceId, TokenId};
use shared::op::Operation;

use super::{Tokens, model, store};
use crate::call::Call;
use crate::db::{Batch, Statement};
use crate::env::Millis;
use crate::error::{Error, Result};
use crate::ledger::{Invalidation, Refused, TOKEN};

impl Tokens {
    /// Creates a token of a service. `alive` must find the service at the commit, so that no token is created for a
    /// service that is being deleted.
    pub async fn create_for_service(
        &self,
        call: &Call,
        service: ServiceId,
        name: String,
        [ttl_days, ttl_seconds]: [Option<u32>; 2],
        alive: Statement,
    ) -> Result<CreatedToken> {
        let scopes = vec![model::service_scope(service)];
        let op = CreateToken { name, scopes, ttl_days, ttl_seconds, ..CreateToken::default() };
        let missing = alive.name;
        match self.issue(call, op, CreateServiceToken::INFO.name, Some(alive)).await {
            Err(Refused::ExpectationFailed(name)) if name == missing => Err(Error::not_found("service")),
            issued => Ok(issued?),
        }
    }

    /// The live tokens of a service, newest first.
    pub async fn list_of_service(&self, call: Call, service: ServiceId, op: ListServiceTokens) -> Result<TokenList> {
        let ListServiceTokens { id: _, limit, cursor, prefix, expires_within } = op;
        let scope = Some(model::service_scope(service));
        self.list(call, ListTokens { limit, cursor, scope, prefix, expires_within, ..ListTokens::default() }).await
    }

    /// Revokes a token of a service permanently; `false` if it has no such live token.
    pub async fn revoke_for_service(&self, call: &Call, service: ServiceId, token_id: TokenId) -> Result<bool> {
        let Some(token) = store::find(self.base.db.as_ref(), &token_id.to_string()).await? else { return Ok(false) };
        if token.scopes != [model::service_scope(service)] || token.revoked_at.is_some() {
            return Ok(false);
        }
        let detail = ("service", Some(json!(service)));
        self.end(call, &token, RevokeServiceToken::INFO.name, None, self.base.now(), detail).await
    }
}

/// The statements that revoke every token of a service, and what they invalidate.
pub fn revoke_of_service(service: ServiceId, reason: &str, now: Millis) -> (Batch, Invalidation) {
    let batch = store::revoke_all(&json!([model::service_scope(service)]).to_string(), reason, now);
    (batch, Invalidation::Returned(TOKEN, store::REVOKE_ALL))
}
