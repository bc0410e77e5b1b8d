//! API tokens: scoped, hash-only, for services.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value, json};
use serde_with::skip_serializing_none;

use crate::id::TokenId;
use crate::number;
use crate::op::{Access, Permission, SCOPE_PREFIX, operations};
use crate::page::Limit;
use crate::patterns::{self, Address};
use crate::secret::Secret;
use crate::time::Time;

/// Maximum number of characters in a token's name.
pub const MAX_NAME: usize = 128;
pub const MAX_SCOPES: usize = 64;
/// Maximum number of characters in a scope.
pub const MAX_SCOPE: usize = 128;
/// The characters of a scope (RFC 6749 §3.3): printable ASCII without space, quote and backslash.
pub const SCOPE: &str = "^[!#-\\[\\]-~]*$";
pub const MAX_CIDRS: usize = 64;
/// Bytes of JSON.
pub const MAX_METADATA: usize = 4 << 10;
/// Maximum number of characters in the reason of a revocation.
pub const MAX_REASON: usize = 500;
/// A hundred years.
pub const MAX_DAYS: u32 = 36_500;
/// The same in seconds.
pub const MAX_SECONDS: u32 = MAX_DAYS * 86_400;
pub const MAX_GRACE_SECONDS: u32 = 30 * 24 * 3600;
/// Maximum number of characters in an `Idempotency-Key`; all are visible ASCII.
pub const MAX_KEY: usize = 255;

operations! {
    /// Validate a token and return its scopes
    ValidateToken => "tokens.validate", Post "/auth/validate", Access::Public, 200 Validation;
    /// Create a token and return its secret, which is shown only once
    CreateToken => "tokens.create", Post "/auth/tokens", Access::Permission(Permission::TokensWrite), 201 CreatedToken,
        headers &[("idempotency_key", "idempotency-key")];
    /// List tokens, newest first
    ListTokens => "tokens.list", Get "/auth/tokens", Access::Permission(Permission::TokensRead), 200 TokenList;
    /// Show one token
    ShowToken => "tokens.show", Get "/auth/tokens/{id}", Access::Permission(Permission::TokensRead), 200 Token;
    /// Revoke a token
    RevokeToken => "tokens.revoke", Post "/auth/tokens/{id}/revoke", Access::Permission(Permission::TokensWrite), 200 RevokedToken;
    /// Extend the lifetime of a token
    ExtendToken => "tokens.extend", Post "/auth/tokens/{id}/extend", Access::Permission(Permission::TokensWrite), 200 Token;
    /// Rotate the secret of a token; the old one works until the grace period ends
    RotateToken => "tokens.rotate", Post "/auth/tokens/{id}/rotate", Access::Permission(Permission::TokensWrite), 200 RotatedToken,
        headers &[("idempotency_key", "idempotency-key")];
}

/// Validates a token. The status is always 200.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValidateToken {
    pub token: Secret,
    /// The token must have all of them.
    pub required_scopes: Option<Vec<String>>,
    /// The address of the service's own client; compared with the token's `cidrs`.
    #[schemars(with = "Option<Address>")]
    pub client_ip: Option<IpAddr>,
    /// The calling service, for the log and the metrics only.
    pub service_name: Option<String>,
    /// The action, for the log only.
    pub action_name: Option<String>,
}

/// The scopes of a valid token, or the fault.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Validation {
    pub valid: bool,
    /// All scopes of the token; empty when it is not valid.
    pub scopes: Vec<String>,
    pub token_id: Option<TokenId>,
    pub name: Option<String>,
    /// When the token expires, if it does; a client must not cache the answer for longer.
    pub expires_at: Option<Time>,
    pub error: Option<TokenFault>,
    pub detail: Option<String>,
}

/// Why a token is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenFault {
    TokenNotFound,
    TokenRevoked,
    TokenExpired,
    InsufficientScopes,
    AddressNotAllowed,
}

impl TokenFault {
    /// The text of it in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenNotFound => "token_not_found",
            Self::TokenRevoked => "token_revoked",
            Self::TokenExpired => "token_expired",
            Self::InsufficientScopes => "insufficient_scopes",
            Self::AddressNotAllowed => "address_not_allowed",
        }
    }
}

/// Creates a token. At most one of `ttl_days`, `ttl_seconds` and `expires_at`; with none it does not expire.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = one_expiry)]
pub struct CreateToken {
    /// Unique among live tokens; 1 to 128 characters.
    #[schemars(transform = name)]
    pub name: String,
    /// 1 to 64 different scopes of 1 to 128 characters each (RFC 6749 §3.3).
    #[schemars(transform = scopes)]
    pub scopes: Vec<String>,
    /// Days until it expires, 1 to 36,500.
    #[schemars(range(min = 1, max = MAX_DAYS))]
    #[serde(default, deserialize_with = "number::whole_or_none")]
    pub ttl_days: Option<u32>,
    /// Seconds until it expires, 1 to 3,153,600,000.
    #[schemars(range(min = 1, max = MAX_SECONDS))]
    #[serde(default, deserialize_with = "number::whole_or_none")]
    pub ttl_seconds: Option<u32>,
    pub expires_at: Option<Time>,
    /// Data that the operator stores with the token: at most 4 KiB of JSON.
    pub metadata: Option<Map<String, Value>>,
    /// The networks it may be used from; empty means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "networks")]
    #[schemars(with = "Vec<String>", length(max = MAX_CIDRS), inner(regex(pattern = patterns::network())))]
    pub cidrs: Vec<IpNet>,
    /// A retry with the same key returns the same answer and secret; 1 to 255 characters.
    #[schemars(transform = key)]
    pub idempotency_key: Option<String>,
}

/// A token with its secret, which is shown only once.
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
    /// The `next_cursor` of the page before.
    #[schemars(extend("format" = "uuid"))]
    pub cursor: Option<String>,
    /// Include revoked tokens.
    #[serde(default)]
    pub include_revoked: bool,
    /// Only tokens with exactly this name.
    pub name: Option<String>,
    /// Only tokens with this scope.
    pub scope: Option<String>,
    /// Only tokens whose name begins with this.
    pub prefix: Option<String>,
    /// Only tokens that expire within so many seconds from now, and have not expired yet.
    #[schemars(range(min = 1, max = MAX_SECONDS))]
    pub expires_within: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenList {
    pub tokens: Vec<Token>,
    /// The number of matching tokens; with a filter, counted up to 10,000.
    pub total: u64,
    /// Whether there are more tokens than `total`.
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
    /// Whether it is revoked, since `revoked_at`. An older daemon does not send it.
    #[serde(default)]
    pub revoked: bool,
    pub revoked_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke_reason: Option<String>,
    /// Accurate to a minute; updated with a short delay.
    pub last_used_at: Option<Time>,
    #[serde(default)]
    pub metadata: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub cidrs: Vec<IpNet>,
    /// Until when a secret that a rotation replaced still works. Only when one token is shown, and until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_expires_at: Option<Time>,
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
    /// The reason, shown in lists and in the audit log; at most 500 characters.
    #[schemars(length(max = MAX_REASON), regex(pattern = patterns::without(patterns::CONTROL)))]
    pub reason: Option<String>,
}

/// The revocation; repeating the call keeps the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevokedToken {
    pub success: bool,
    pub token_id: TokenId,
    pub revoked_at: Time,
}

/// Adds time to the expiry time, or to the current time if the token has expired. Exactly one of the two lengths.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = one_length)]
pub struct ExtendToken {
    /// A token id, or the name of a live token.
    pub id: String,
    /// Days, 1 to 36,500.
    #[schemars(range(min = 1, max = MAX_DAYS))]
    #[serde(default, deserialize_with = "number::whole_or_none")]
    pub extend_days: Option<u32>,
    /// Seconds, 1 to 3,153,600,000.
    #[schemars(range(min = 1, max = MAX_SECONDS))]
    #[serde(default, deserialize_with = "number::whole_or_none")]
    pub extend_seconds: Option<u32>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateToken {
    /// A token id, or the name of a live token.
    pub id: String,
    /// Seconds for which the old secret still works: 0 to 2,592,000 (30 days), default 0.
    #[schemars(range(max = MAX_GRACE_SECONDS))]
    #[serde(default, deserialize_with = "number::whole_or_none")]
    pub grace_seconds: Option<u32>,
    /// A retry with the same key returns the same answer and secret; 1 to 255 characters.
    #[schemars(transform = key)]
    pub idempotency_key: Option<String>,
}

/// The new secret, which is shown only once. The token id stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RotatedToken {
    pub token: Secret,
    pub token_id: TokenId,
    pub name: String,
    pub scopes: Vec<String>,
    pub expires_at: Option<Time>,
    /// Until when the earlier secrets still work.
    pub previous_expires_at: Time,
}

/// Reads networks. The length of a prefix is a number as JSON and the schema write it, without leading zeros.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<Cow<'de, str>>::deserialize(deserializer)?;
    let parse = |text: &Cow<'de, str>| {
        let network =
            text.parse::<IpNet>().ok().filter(|network| text.ends_with(&format!("/{}", network.prefix_len())));
        network.ok_or_else(|| de::Error::custom(format_args!("expected a network such as 10.0.0.0/8, not {text:?}")))
    };
    texts.iter().map(parse).collect()
}

/// The schema of a token's name.
pub(super) fn name(schema: &mut Schema) {
    patterns::text(schema, 1, MAX_NAME, &patterns::trimmed(patterns::CONTROL));
    patterns::not_an_id(schema);
}

/// The schema of new scopes: `authd:` is reserved for authd's own permissions.
fn scopes(schema: &mut Schema) {
    let own: Vec<&str> = Permission::ALL.iter().map(|permission| permission.scope()).collect();
    let reserved = format!("^{SCOPE_PREFIX}");
    let any_of = json!([{ "not": { "pattern": reserved } }, { "enum": own }]);
    let items = json!({ "type": "string", "minLength": 1, "maxLength": MAX_SCOPE, "pattern": SCOPE, "anyOf": any_of });
    schema.insert("items".into(), items);
    schema.insert("minItems".into(), 1.into());
    schema.insert("maxItems".into(), MAX_SCOPES.into());
    schema.insert("uniqueItems".into(), true.into());
}

fn key(schema: &mut Schema) {
    patterns::text(schema, 1, MAX_KEY, "^[!-~]*$");
}

fn one_expiry(schema: &mut Schema) {
    patterns::at_most_one(schema, &["ttl_days", "ttl_seconds", "expires_at"]);
}

/// The schema of the lifetime of a token that is given in days or in seconds.
pub(super) fn one_ttl(schema: &mut Schema) {
    patterns::at_most_one(schema, &["ttl_days", "ttl_seconds"]);
}

fn one_length(schema: &mut Schema) {
    patterns::exactly_one(schema, &["extend_days", "extend_seconds"]);
}
