//! Sessions: sign-in, sign-out, and the sessions of each user.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use serde_with::skip_serializing_none;

use super::tokens::MAX_SECONDS;
use super::users::{MAX_PASSWORD, MIN_PASSWORD};
use crate::id::{ServiceId, SessionId, UserId};
use crate::op::{Access, Permission, operations};
use crate::page::Limit;
use crate::secret::Secret;
use crate::time::Time;

operations! {
    /// Sign in with a password
    Login => "sessions.login", Post "/auth/login", Access::Public, 200 LoggedIn, password true;
    /// Sign out: end the session
    Logout => "sessions.logout", Post "/auth/logout", Access::User, 200 LoggedOut;
    /// Show who is signed in; renews the session
    ShowProfile => "sessions.profile", Get "/auth/profile", Access::User, 200 Profile,
        headers &[("header_token", "token"), ("bearer", "authorization")];
    /// Show the session of this call
    ShowSession => "sessions.show", Get "/session", Access::User, 200 Session;
    /// Sign out: end the session of this call
    EndThisSession => "sessions.end_this", Delete "/session", Access::User, 200 LoggedOut;
    /// Change your own password and end your other sessions
    ChangePassword => "sessions.change_password", Put "/auth/password", Access::User, 200 super::Done, password true;
    /// List your own sessions
    ListOwnSessions => "sessions.list_own", Get "/auth/sessions", Access::User, 200 SessionList;
    /// End all your own sessions, this one too
    EndOwnSessions => "sessions.end_all_own", Delete "/auth/sessions", Access::User, 200 EndedSessions;
    /// End one of your own sessions
    EndOwnSession => "sessions.end_own", Delete "/auth/sessions/{id}", Access::User, 200 EndedSession;
    /// Show the caller's identity and permissions on authd
    WhoAmI => "sessions.whoami", Get "/auth/whoami", Access::Authenticated, 200 Identity;
    /// End all sessions of a user
    EndUserSessions => "sessions.end_all", Delete "/users/{id}/sessions", Access::Permission(Permission::SessionsWrite), 200 EndedSessions;
    /// List live sessions, newest first
    ListSessions => "sessions.list", Get "/sessions", Access::Permission(Permission::SessionsRead), 200 SessionList;
    /// End a session
    EndSession => "sessions.end", Delete "/sessions/{id}", Access::Permission(Permission::SessionsWrite), 200 EndedSession;
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListSessions {
    pub limit: Option<Limit>,
    /// The `next_cursor` of the page before.
    #[schemars(extend("format" = "uuid"))]
    pub cursor: Option<String>,
    /// Include ended and expired sessions.
    #[serde(default)]
    pub include_ended: bool,
    /// Only sessions of this kind.
    pub kind: Option<SessionKind>,
    /// Only sessions of this user, by id or name.
    pub user: Option<String>,
    /// Only sessions that began at this time or later.
    pub since: Option<Time>,
    /// Only sessions that began before this time.
    pub until: Option<Time>,
    /// Only sessions that end within so many seconds from now unless they are used, and have not ended yet.
    #[schemars(range(min = 1, max = MAX_SECONDS))]
    pub expires_within: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionList {
    pub sessions: Vec<Session>,
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// The kind of a session; each has its own limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionKind {
    /// A user of authd who signed in: idle five minutes, or an hour for people with a permission of authd; at most twelve
    /// hours. All of it can be configured.
    Login,
    /// A browser in which a user signed in: idle one hour, at most twelve.
    Web,
    /// A developer's machine: idle 30 days, at most 90.
    Device,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    pub id: SessionId,
    pub kind: SessionKind,
    /// The user name, or the e-mail address or subject from the provider.
    pub user: String,
    /// The user of authd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    #[serde(default)]
    pub provider: Option<String>,
    #[serde(default)]
    pub device_name: Option<String>,
    #[serde(default)]
    pub os: Option<String>,
    /// The client address at sign-in.
    #[serde(default)]
    pub address: Option<String>,
    pub created_at: Time,
    pub last_used_at: Time,
    /// When it expires unless it is used before.
    pub idle_expires_at: Time,
    /// When it expires even if it is used.
    pub expires_at: Time,
    #[serde(default)]
    pub ended_at: Option<Time>,
    #[serde(default)]
    pub end_reason: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndSession {
    pub id: SessionId,
}

/// The end of a session; repeating the call keeps the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndedSession {
    pub id: SessionId,
    pub ended_at: Time,
    /// Until when AWS credentials issued before may still work: ending a session does not revoke them.
    #[serde(default)]
    pub credentials_until: Option<Time>,
}

/// Signs in. `user` and `pass` are aliases of `username` and `password`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = aliases)]
pub struct Login {
    #[serde(alias = "user")]
    pub username: String,
    #[serde(alias = "pass")]
    pub password: Secret,
    /// A TOTP code or a recovery code, if TOTP is on: without it a right password is answered `totp_required`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totp: Option<Secret>,
}

/// A session token, shown only once. It is valid until `expires_at` (epoch seconds); use extends it, up to
/// `max_expires_at`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoggedIn {
    pub token: Secret,
    /// Epoch seconds.
    pub expires_at: i64,
    /// When the session ends even if it is used, in epoch seconds. An older daemon does not send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_expires_at: Option<i64>,
    pub payload: Payload,
}

/// The user of a session and, if a service is named, what the user may do there.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Payload {
    pub user_id: UserId,
    pub username: String,
    pub name: String,
    pub service_id: Option<ServiceId>,
    /// Names, in order.
    pub roles: Option<Vec<String>>,
    /// Names, in order.
    pub permissions: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logout {}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowSession {}

/// The same as [`Logout`], by the name of the thing that ends.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndThisSession {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoggedOut {
    /// `logged_out`.
    pub status: String,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowProfile {
    /// The header `token`.
    pub header_token: Option<Secret>,
    /// The header `Authorization: Bearer`.
    pub bearer: Option<Secret>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Profile {
    pub payload: Payload,
    /// Whether this call renewed the session.
    pub renewed: bool,
    /// Epoch seconds.
    pub expires_at: i64,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The current password.
    pub password: Secret,
    /// 8 to 1,024 characters, and neither a common password nor one's own name or address.
    #[schemars(length(min = MIN_PASSWORD, max = MAX_PASSWORD))]
    pub new_password: Secret,
    /// A TOTP code or a recovery code, if TOTP is on and the session is not fresh.
    pub totp: Option<Secret>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListOwnSessions {
    pub limit: Option<Limit>,
    /// The `next_cursor` of the page before.
    #[schemars(extend("format" = "uuid"))]
    pub cursor: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndOwnSessions {}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndOwnSession {
    pub id: SessionId,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndUserSessions {
    /// A user's id or user name.
    pub id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndedSessions {
    /// The number of sessions that were live.
    pub ended: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhoAmI {}

/// The caller as the daemon identifies it.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    /// The caller's name in the audit log.
    pub caller: String,
    /// The person, if the caller is one.
    pub user: Option<Payload>,
    /// The service, if the caller is one.
    pub service_id: Option<ServiceId>,
    /// What the caller may do on authd itself; `admin` is everything.
    pub permissions: Vec<String>,
}

/// Either name of each field, which serde's `alias` accepts.
fn aliases(schema: &mut Schema) {
    let names = [("username", "user"), ("password", "pass")];
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, alias) in names {
            let mut field = properties.get(name).cloned().unwrap_or_default();
            field["description"] = json!(format!("The same as `{name}`."));
            field["deprecated"] = json!(true);
            properties.insert(alias.to_owned(), field);
        }
    }
    let either = names.map(|(name, alias)| json!({ "oneOf": [{ "required": [name] }, { "required": [alias] }] }));
    schema.remove("required");
    schema.insert("allOf".into(), json!(either));
}
