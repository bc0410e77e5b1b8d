//! API tokens: scoped, hash-only, for services.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_with::skip_serializing_none;

use crate::id::TokenId;
use crate::op::{Access, Permission, operations};
use crate::page::Limit;
use crate::secret::Secret;
use crate::time::Time;

operations! {
    /// Validate a token: whether it is good, and its scopes
    ValidateToken => "tokens.validate", Post "/auth/validate", Access::Public, 200 Validation;
    /// Create a token; its secret is shown only in this answer
    CreateToken => "tokens.create", Post "/auth/tokens", Access::Permission(Permission::TokensWrite), 201 CreatedToken,
        headers &[("idempotency_key", "idempotency-key")];
    /// List tokens, newest first
    ListTokens => "tokens.list", Get "/auth/tokens", Access::Permission(Permission::TokensRead), 200 TokenList;
    /// Show one token
    ShowToken => "tokens.show", Get "/auth/tokens/{id}", Access::Permission(Permission::TokensRead), 200 Token;
    /// Revoke a token
    RevokeToken => "tokens.revoke", Post "/auth/tokens/{id}/revoke", Access::Permission(Permission::TokensWrite), 200 RevokedToken;
    /// Extend the life of a token
    ExtendToken => "tokens.extend", Post "/auth/tokens/{id}/extend", Access::Permission(Permission::TokensWrite), 200 Token;
    /// Rotate the secret of a token; the old one works until the grace period ends
    RotateToken => "tokens.rotate", Post "/auth/tokens/{id}/rotate", Access::Permission(Permission::TokensWrite), 200 RotatedToken,
        headers &[("idempotency_key", "idempotency-key")];
}

/// Asks about a token. The answer is always 200.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValidateToken {
    pub token: Secret,
    /// All of them must be held.
    pub required_scopes: Option<Vec<String>>,
    /// The address of the service's own client; compared with the token's `cidrs`.
    pub client_ip: Option<IpAddr>,
    /// Who asks, for the log and the metrics only.
    pub service_name: Option<String>,
    /// What for, for the log only.
    pub action_name: Option<String>,
}

/// What a token is good for, or why it is not.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Validation {
    pub valid: bool,
    /// Everything the token may do; empty when it is not valid.
    pub scopes: Vec<String>,
    pub token_id: Option<TokenId>,
    pub name: Option<String>,
    /// When it ends, if it does: nobody may believe a remembered answer for longer.
    pub expires_at: Option<Time>,
    pub error: Option<TokenFault>,
    pub detail: Option<String>,
}

/// Why a token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenFault {
    TokenNotFound,
    TokenRevoked,
    TokenExpired,
    InsufficientScopes,
    AddressNotAllowed,
}

/// Asks for a new token. At most one of `ttl_days` and `expires_at`; with neither it does not expire.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// Unique among the tokens that are alive; 1 to 128 characters.
    pub name: String,
    /// 1 to 64 scopes of 1 to 128 characters each (RFC 6749 §3.3).
    pub scopes: Vec<String>,
    /// Days until it expires, 1 to 36,500.
    pub ttl_days: Option<u32>,
    pub expires_at: Option<Time>,
    /// Anything the operator wants to keep beside it: at most 4 KiB of JSON.
    pub metadata: Option<Map<String, Value>>,
    /// The only networks it may be used from; empty is anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub cidrs: Vec<IpNet>,
    /// A retry with the same key gets the same answer, secret included; 1 to 255 characters.
    pub idempotency_key: Option<String>,
}

/// A token with its secret, shown this once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreatedToken {
    pub token: Secret,
    pub token_id: TokenId,
    pub name: String,
    pub scopes: Vec<String>,
    pub created_at: Time,
    pub expires_at: Option<Time>,
}

/// A page of tokens, newest first.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListTokens {
    pub limit: Option<Limit>,
    pub cursor: Option<String>,
    /// Revoked ones too.
    #[serde(default)]
    pub include_revoked: bool,
    /// Only the tokens of exactly this name.
    pub name: Option<String>,
    /// Only the tokens that hold this scope.
    pub scope: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenList {
    pub tokens: Vec<Token>,
    /// How many there are in all; with a filter, counted to 10,000.
    pub total: u64,
    /// There are more than `total` says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub total_capped: bool,
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// A token without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    pub token_id: TokenId,
    pub name: String,
    pub scopes: Vec<String>,
    pub created_at: Time,
    pub created_by: String,
    pub expires_at: Option<Time>,
    pub revoked_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke_reason: Option<String>,
    /// To the minute, and written a little later.
    pub last_used_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub cidrs: Vec<IpNet>,
}

/// `id` is a token id, or the name of a live token.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowToken {
    pub id: String,
}

/// `id` is a token id, or the name of a live token.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeToken {
    pub id: String,
    /// For the list and the audit log; at most 500 characters.
    pub reason: Option<String>,
}

/// Of a token that was revoked before, the first time stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevokedToken {
    pub success: bool,
    pub token_id: TokenId,
    pub revoked_at: Time,
}

/// Adds to what is left, or to now when it has expired.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendToken {
    /// A token id, or the name of a live token.
    pub id: String,
    /// 1 to 36,500.
    pub extend_days: u32,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateToken {
    /// A token id, or the name of a live token.
    pub id: String,
    /// Seconds for which the old secret still works: 0 to 2,592,000 (30 days), default 0.
    pub grace_seconds: Option<u32>,
    /// A retry with the same key gets the same answer, secret included; 1 to 255 characters.
    pub idempotency_key: Option<String>,
}

/// The new secret, shown this once, under the same token id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RotatedToken {
    pub token: Secret,
    pub token_id: TokenId,
    pub name: String,
    pub scopes: Vec<String>,
    pub expires_at: Option<Time>,
    /// Until when the secrets before this one still work.
    pub previous_expires_at: Time,
}
