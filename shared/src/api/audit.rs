//! The audit log: who changed what, when, from where.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serde_with::skip_serializing_none;

use crate::id::AuditId;
use crate::op::{Access, Permission, operations};
use crate::page::Limit;
use crate::time::Time;

/// Maximum number of digits in a cursor.
pub const MAX_CURSOR: usize = 18;

operations! {
    /// List entries of the audit log, newest first
    ListAudit => "audit.list", Get "/audit", Access::Permission(Permission::AuditRead), 200 AuditList;
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListAudit {
    pub limit: Option<Limit>,
    /// The `next_cursor` of the page before.
    #[schemars(regex(pattern = format!("^[1-9][0-9]{{0,{}}}$", MAX_CURSOR - 1)))]
    pub cursor: Option<String>,
    /// Only this operation, such as `tokens.revoke`.
    pub action: Option<String>,
    /// Only entries about this id.
    pub subject: Option<String>,
    /// Only operations whose name begins with this, such as `tokens.`.
    pub action_prefix: Option<String>,
    /// Only entries of this caller: the text of `actor`, or the name of a user, a token, a service or a local user.
    pub actor: Option<String>,
    /// Only entries about something that has this name, or had it when it was deleted, or that name it in their detail.
    pub subject_name: Option<String>,
    /// Only entries from this time on.
    pub since: Option<Time>,
    /// Only entries before this time.
    pub until: Option<Time>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditList {
    pub entries: Vec<AuditEntry>,
    #[serde(default)]
    pub next_cursor: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    pub id: AuditId,
    pub at: Time,
    /// The caller: `socket:alice(1000)`, `admin-token`, `token:<id>`, `user:<e-mail>`.
    pub actor: String,
    /// The name of the user, the token, the service or the local user that the caller is; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_name: Option<String>,
    /// The operation's name.
    pub action: String,
    /// The id of what was changed.
    #[serde(default)]
    pub subject: Option<String>,
    /// The name of what was changed, if it is known; of a session, that of its user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_name: Option<String>,
    /// `ok`, or the code of the refusal.
    pub outcome: String,
    #[serde(default)]
    pub address: Option<String>,
    #[serde(default)]
    pub request_id: Option<String>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub detail: Map<String, Value>,
}
