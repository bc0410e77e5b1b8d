//! What services ask about sessions and people: is a session good, what may its user do, and why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::sessions::Payload;
use crate::id::{ServiceId, UserId};
use crate::op::{Access, Permission, operations};
use crate::secret::Secret;
use crate::time::Time;

operations! {
    /// Check a session and, for a service, its user's roles and permissions there; renews the session
    CheckToken => "sessions.check_token", Post "/check-token", Access::SelfProving, 200 CheckedToken,
        headers &[("header_token", "token"), ("bearer", "authorization")];
    /// Show what the user of a session may do in a service; renews the session
    CheckAccess => "sessions.check_access", Post "/check-access", Access::SelfProving, 200 CheckedAccess,
        headers &[("header_token", "token"), ("bearer", "authorization")];
    /// Check whether a person has a permission in a service
    CheckPermission => "sessions.check_permission", Post "/check-permission", Access::Authenticated, 200 CheckedPermission;
    /// Check whether a person has a permission in a service
    QueryPermission => "sessions.query_permission", Get "/check-permission", Access::Authenticated, 200 CheckedPermission;
    /// Explain why a person has a permission in a service, or why not
    ExplainPermission => "sessions.explain_permission", Get "/explain-permission", Access::Permission(Permission::AccessRead), 200 ExplainedPermission;
}

/// Asks about a session's token, which comes in the field `token`, in a header `token`, or as the bearer. A service
/// may send its own token as the bearer beside it: then only its own users are answered.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckToken {
    pub token: Option<Secret>,
    /// The header `token`.
    pub header_token: Option<Secret>,
    /// The header `Authorization: Bearer`.
    pub bearer: Option<Secret>,
    /// The user must have access to this service, by id or name; the answer holds their roles and permissions there.
    pub service_id: Option<String>,
    /// The token must belong to this user.
    pub user_id: Option<UserId>,
}

/// What a session is good for, or why it is not.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckedToken {
    pub valid: bool,
    pub payload: Option<Payload>,
    /// This very call renewed the session.
    pub renewed: Option<bool>,
    /// Epoch seconds.
    pub expires_at: Option<i64>,
    pub error: Option<SessionFault>,
}

/// Why a session is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionFault {
    /// No session is known by this token: it never was one, has ended, or has expired.
    InvalidToken,
    /// The token belongs to another user.
    UserMismatch,
    /// The user has no access to this service, or there is no such service, or it is not active.
    NoAccess,
}

/// As [`CheckToken`], with a service. A service that sends its own token as the bearer need not name itself.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckAccess {
    pub token: Option<Secret>,
    /// The header `token`.
    pub header_token: Option<Secret>,
    /// The header `Authorization: Bearer`.
    pub bearer: Option<Secret>,
    /// An id or a name.
    pub service_id: Option<String>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckedAccess {
    pub valid: bool,
    pub access: Option<ServiceAccess>,
    pub renewed: Option<bool>,
    /// Epoch seconds.
    pub expires_at: Option<i64>,
    pub error: Option<SessionFault>,
}

/// What a user may do in a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceAccess {
    pub user_id: UserId,
    pub service_id: ServiceId,
    /// Names, in order.
    pub roles: Vec<String>,
    /// Names, in order.
    pub permissions: Vec<String>,
    /// Epoch seconds.
    pub expires_at: i64,
}

/// Ids or names. People may ask about themselves, services about their own users, and whoever holds `access.read`
/// about anybody.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckPermission {
    pub person_id: String,
    pub service_id: String,
    pub permission_name: String,
}

/// [`CheckPermission`] by GET.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryPermission {
    pub person_id: String,
    pub service_id: String,
    pub permission_name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckedPermission {
    pub has_permission: bool,
}

/// Ids or names.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainPermission {
    pub person_id: String,
    pub service_id: String,
    pub permission_name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedPermission {
    pub has_permission: bool,
    /// Every way by which the person has it.
    pub because: Vec<Reason>,
    /// Why it does not work: what is missing or inactive, in words, with names.
    pub obstacles: Vec<String>,
}

/// One way by which a person has a permission.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// The role that has the permission; absent when it was granted directly.
    pub role: Option<String>,
    /// When the person was given the role, or the permission.
    pub granted_at: Time,
}
