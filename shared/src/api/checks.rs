//! Checks for services: whether a session is valid, what its user may do, and why.

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

/// Checks a session token, sent in the field `token`, in the header `token`, or as the bearer. A service may also send
/// its own token as the bearer; it then gets answers about its own users only.
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

/// The user and the end of a valid session, or the fault.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckedToken {
    pub valid: bool,
    pub payload: Option<Payload>,
    /// Whether this call renewed the session.
    pub renewed: Option<bool>,
    /// Epoch seconds.
    pub expires_at: Option<i64>,
    pub error: Option<SessionFault>,
}

/// Why a session is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionFault {
    /// No live session has this token: it is unknown, or the session has ended or expired.
    InvalidToken,
    /// The token belongs to another user.
    UserMismatch,
    /// The user has no access to this service, or the service is unknown or inactive.
    NoAccess,
}

impl SessionFault {
    /// The text of it in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidToken => "invalid_token",
            Self::UserMismatch => "user_mismatch",
            Self::NoAccess => "no_access",
        }
    }
}

/// Like [`CheckToken`], for one service. A service that sends its own token as the bearer need not name itself.
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

/// Ids or names. A person may ask about themselves, a service about its own users, and a caller with `access.read`
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
    /// Every grant that gives the person the permission.
    pub because: Vec<Reason>,
    /// What is missing or inactive, or keeps the person from signing in, as text that includes the names.
    pub obstacles: Vec<String>,
}

/// One grant that gives a person a permission.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// The role that has the permission; absent when it was granted directly.
    pub role: Option<String>,
    /// When the person was given the role, or the permission.
    pub granted_at: Time,
}
