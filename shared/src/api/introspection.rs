//! Token introspection (RFC 7662) and revocation (RFC 7009), for API tokens and session tokens. Requests are forms,
//! errors are OAuth errors.

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

/// A caller with `tokens.introspect` may ask about every token, a service token about the sessions of its users, and
/// every caller about the token it presents.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Introspect {
    pub token: Secret,
    /// Accepted and ignored: the form of a token determines its type.
    pub token_type_hint: Option<String>,
    /// For a session: the service, by id or name, whose roles and permissions the answer holds. A service token
    /// implies it.
    pub service_id: Option<String>,
}

/// RFC 7662 §2.2. A token that is not active has nothing but `active`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Introspection {
    pub active: bool,
    /// Separated by spaces; for a session, the permissions in the calling service.
    pub scope: Option<String>,
    /// `api_token` or `session`.
    pub token_type: Option<String>,
    /// The id of the API token, or of the session's user.
    pub sub: Option<String>,
    /// The name of the API token, or of the session's user.
    pub username: Option<String>,
    /// Epoch seconds.
    pub exp: Option<i64>,
    /// Epoch seconds; only for a session.
    pub iat: Option<i64>,
    /// authd's public URL.
    pub iss: Option<String>,
    /// The service that `scope` and `roles` are about.
    pub aud: Option<ServiceId>,
    /// For a session: the names of the roles in that service.
    pub roles: Option<Vec<String>>,
}

/// The holder of a session token may revoke it. An API token may be revoked by its holder or by a caller with
/// `tokens.write`.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Revoke {
    pub token: Secret,
    /// Accepted and ignored.
    pub token_type_hint: Option<String>,
}

/// Empty: an unknown token counts as revoked (RFC 7009 §2.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revoked {}
