//! Sessions: who is signed in, and from where.

use serde::{Deserialize, Serialize};

use crate::id::SessionId;
use crate::op::{Access, Permission, operations};
use crate::page::Limit;
use crate::time::Time;

operations! {
    /// List live sessions, newest first
    ListSessions => "sessions.list", Get "/sessions", Access::Permission(Permission::SessionsRead), 200 SessionList;
    /// End a session: it cannot renew any more
    EndSession => "sessions.end", Delete "/sessions/{id}", Access::Permission(Permission::SessionsWrite), 200 EndedSession;
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ListSessions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Ended and expired ones too.
    #[serde(default)]
    pub include_ended: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct SessionList {
    pub sessions: Vec<Session>,
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// What kind of session; each has its own limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SessionKind {
    /// A developer's machine: idle 30 days, at most 90.
    Device,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Session {
    pub id: SessionId,
    pub kind: SessionKind,
    /// Who signed in, as the provider says: an e-mail address or a subject.
    pub user: String,
    #[serde(default)]
    pub provider: Option<String>,
    #[serde(default)]
    pub device_name: Option<String>,
    #[serde(default)]
    pub os: Option<String>,
    /// The address it was started from.
    #[serde(default)]
    pub address: Option<String>,
    pub created_at: Time,
    pub last_used_at: Time,
    /// When it ends by itself, unless it is used before.
    pub idle_expires_at: Time,
    /// When it ends in any case.
    pub expires_at: Time,
    #[serde(default)]
    pub ended_at: Option<Time>,
    #[serde(default)]
    pub end_reason: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EndSession {
    pub id: SessionId,
}

/// Of a session that had ended before, the first time stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct EndedSession {
    pub id: SessionId,
    pub ended_at: Time,
    /// Until when AWS credentials that were handed out before may still work: ending a session does not revoke them.
    #[serde(default)]
    pub credentials_until: Option<Time>,
}
