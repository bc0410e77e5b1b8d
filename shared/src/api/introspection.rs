//! The standard ways to ask about a token and to give one back: RFC 7662 and RFC 7009, for API tokens and session
//! tokens alike. Requests are forms, errors are OAuth's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::id::ServiceId;
use crate::op::{Access, operations};
use crate::secret::Secret;

operations! {
    /// Introspect a token (RFC 7662)
    Introspect => "introspection.introspect", Post "/introspect", Access::Authenticated, 200 Introspection, oauth true;
    /// Revoke a token (RFC 7009)
    Revoke => "introspection.revoke", Post "/revoke", Access::Authenticated, 200 Revoked, oauth true;
}

/// Who holds `tokens.introspect` may ask about every token; a service's own token about the sessions of its users;
/// everybody about the token they call with.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Introspect {
    pub token: Secret,
    /// Taken and not needed: the form of a token tells what it is.
    pub token_type_hint: Option<String>,
    /// Of a session: the service, by id or name, whose roles and permissions the answer holds. A service's own token
    /// implies it.
    pub service_id: Option<String>,
}

/// RFC 7662 §2.2. A token that is not active has nothing but `active`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Introspection {
    pub active: bool,
    /// Separated by spaces; of a session the permissions in the service that asks.
    pub scope: Option<String>,
    /// `api_token` or `session`.
    pub token_type: Option<String>,
    /// The id of the API token, or of the session's user.
    pub sub: Option<String>,
    /// The name of the API token, or of the session's user.
    pub username: Option<String>,
    /// Epoch seconds.
    pub exp: Option<i64>,
    /// Epoch seconds; of a session.
    pub iat: Option<i64>,
    /// authd's public URL.
    pub iss: Option<String>,
    /// The service that `scope` and `roles` are about.
    pub aud: Option<ServiceId>,
    /// Of a session: the names of the roles in that service.
    pub roles: Option<Vec<String>>,
}

/// Whoever has a session's token may give it back. An API token is given back by itself, or by whoever holds
/// `tokens.write`.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Revoke {
    pub token: Secret,
    /// Taken and not needed.
    pub token_type_hint: Option<String>,
}

/// Nothing: a token that was not known is as good as revoked (RFC 7009 §2.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revoked {}
