//! The tokens with which services query their users.

use shared::api::Done;
use shared::api::rbac::{CreateServiceToken, ListServiceTokens, RevokeServiceToken, Service, ServiceToken};
use shared::api::tokens::{MAX_NAME, TokenList};
use shared::id::TokenId;

use crate::call::Call;
use crate::entities;
use crate::error::{Error, Result};
use crate::page::Page;
use crate::rbac::Rbac;
use crate::tokens::model::{check_name, check_within, length};

impl Rbac {
    pub(in crate::rbac) async fn create_service_token(
        &self,
        call: Call,
        op: CreateServiceToken,
    ) -> Result<ServiceToken> {
        op.name.as_deref().map_or(Ok(()), check_name)?;
        length("ttl_", op.ttl_days, op.ttl_seconds)?;
        let service: Service = self.stored(&op.id).await?;
        let name = op.name.unwrap_or_else(|| self.default_token_name(&service.name));
        let alive = entities::alive::<Service>(service.id);
        let ttl = [op.ttl_days, op.ttl_seconds];
        let created = self.tokens.create_for_service(&call, service.id, name, ttl, alive).await?;
        Ok(ServiceToken {
            token: created.token,
            token_id: created.token_id,
            service_id: service.id,
            name: created.name,
            expires_at: created.expires_at,
        })
    }

    pub(in crate::rbac) async fn list_service_tokens(&self, call: Call, op: ListServiceTokens) -> Result<TokenList> {
        Page::<TokenId>::new(op.cursor.as_deref(), op.limit)?;
        check_within(op.expires_within)?;
        let service: Service = self.stored(&op.id).await?;
        self.tokens.list_of_service(call, service.id, op).await
    }

    pub(in crate::rbac) async fn revoke_service_token(&self, call: Call, op: RevokeServiceToken) -> Result<Done> {
        let service: Service = self.stored(&op.id).await?;
        if self.tokens.revoke_for_service(&call, service.id, op.token_id).await? {
            Ok(Done::default())
        } else {
            Err(Error::not_found("token of this service"))
        }
    }

    /// The service's name with a suffix that makes it unique: a service has two tokens while they are exchanged.
    fn default_token_name(&self, service: &str) -> String {
        let start: String = service.chars().take(MAX_NAME - 9).collect();
        format!("{start}-{}", hex::encode(self.base.env.bytes::<4>()))
    }
}
