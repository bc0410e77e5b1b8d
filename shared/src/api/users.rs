//! Users: the people who sign in. Deleting a user frees the name and ends every session; the id is never reused.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_with::skip_serializing_none;

use crate::email;
use crate::id::UserId;
use crate::names;
use crate::op::{Access, Permission, operations};
use crate::page::Limit;
use crate::patterns;
use crate::secret::Secret;
use crate::time::Time;

/// Bounds of a new password, in characters.
pub const MIN_PASSWORD: usize = 8;
pub const MAX_PASSWORD: usize = 1_024;
/// Maximum number of characters in a document number.
pub const MAX_DOCUMENT: usize = 32;

operations! {
    /// Create a user
    CreateUser => "users.create", Post "/users", Access::Permission(Permission::UsersWrite), 201 User, password true;
    /// List users by name
    ListUsers => "users.list", Get "/users", Access::Permission(Permission::UsersRead), 200 UserList;
    /// Show one user
    ShowUser => "users.show", Get "/users/{id}", Access::Permission(Permission::UsersRead), 200 User;
    /// Change a user; fields that are absent stay as they are
    UpdateUser => "users.update", Put "/users/{id}", Access::Permission(Permission::UsersWrite), 200 User, password true;
    /// Delete a user and end their sessions
    DeleteUser => "users.delete", Delete "/users/{id}", Access::Permission(Permission::UsersWrite), 200 super::Done;
    /// List names and addresses with failed logins
    ListLockouts => "lockouts.list", Get "/lockouts", Access::Permission(Permission::UsersRead), 200 LockoutList;
    /// Clear the failed logins of a name or an address
    ClearLockout => "lockouts.clear", Delete "/lockouts/{id}", Access::Permission(Permission::UsersWrite), 200 super::Done;
}

/// Whether an object is in effect. An inactive one has no effect until it is active again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    #[default]
    Active,
    Inactive,
}

impl Status {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
        }
    }
}

/// A natural or a legal person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PersonType {
    N,
    J,
}

/// The kind of an identity document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum DocumentType {
    Dni,
    Ce,
    Ruc,
}

/// A user, without secrets.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    pub id: UserId,
    /// As it was typed; comparison ignores case and Unicode form.
    pub username: String,
    pub name: String,
    pub status: Status,
    /// A second name to sign in with, and where mails go.
    pub email: Option<String>,
    /// Whether the person has proved that mails to the address reach them.
    #[serde(default)]
    pub email_verified: bool,
    /// Whether a password is set.
    #[serde(default)]
    pub has_password: bool,
    pub person_type: Option<PersonType>,
    pub document_type: Option<DocumentType>,
    pub document_number: Option<String>,
    pub created_at: Time,
    pub updated_at: Time,
}

/// Creates a user.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// 1 to 128 characters; unique among the users that are not deleted, ignoring case and Unicode form.
    #[schemars(transform = names::schema)]
    pub username: String,
    /// 8 to 1,024 characters, and neither a common password nor one's own name or address. If absent, the user cannot sign in by password.
    #[schemars(length(min = MIN_PASSWORD, max = MAX_PASSWORD))]
    pub password: Option<Secret>,
    /// The person's name; the user name if absent.
    #[schemars(transform = display_name)]
    pub name: Option<String>,
    /// A second name to sign in with; not verified. To have the person prove it, use `POST /users/invite`.
    #[schemars(transform = email::schema)]
    pub email: Option<String>,
    pub status: Option<Status>,
    pub person_type: Option<PersonType>,
    pub document_type: Option<DocumentType>,
    #[schemars(transform = document_number)]
    pub document_number: Option<String>,
}

/// A page of users, oldest first.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListUsers {
    pub limit: Option<Limit>,
    /// The `next_cursor` of the page before.
    #[schemars(extend("format" = "uuid"))]
    pub cursor: Option<String>,
    /// Only those whose user name begins with this; case and Unicode form are ignored.
    pub prefix: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserList {
    pub users: Vec<User>,
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// `id` is a user's id or user name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowUser {
    pub id: String,
}

/// Changes the given fields. A new password or a status other than active ends the user's sessions.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateUser {
    /// A user's id or user name.
    pub id: String,
    #[schemars(transform = names::schema)]
    pub username: Option<String>,
    #[schemars(length(min = MIN_PASSWORD, max = MAX_PASSWORD))]
    pub password: Option<Secret>,
    #[schemars(transform = display_name)]
    pub name: Option<String>,
    /// Another address, which is not verified: no password reset goes there until it is.
    #[schemars(transform = email::schema)]
    pub email: Option<String>,
    pub status: Option<Status>,
    pub person_type: Option<PersonType>,
    pub document_type: Option<DocumentType>,
    #[schemars(transform = document_number)]
    pub document_number: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteUser {
    /// A user's id or user name.
    pub id: String,
}

/// A page of names and addresses with failed logins, newest first.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListLockouts {
    pub limit: Option<Limit>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Include those that are not locked out.
    #[serde(default)]
    pub all: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LockoutList {
    pub lockouts: Vec<Lockout>,
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// Failed logins of a name (known or not) or of an address.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lockout {
    /// `name:alice` or `address:192.0.2.7`; for IPv6 the /64 network.
    pub id: String,
    /// Failed logins since the last success (name), or in the current window (address).
    pub failures: u32,
    pub last_at: Time,
    /// Until when logins are refused; absent when it is not locked.
    pub locked_until: Option<Time>,
}

/// Clears `name:NAME` or `address:ADDRESS`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClearLockout {
    #[schemars(transform = lockout)]
    pub id: String,
}

fn display_name(schema: &mut Schema) {
    names::visible(schema, names::MAX);
}

fn document_number(schema: &mut Schema) {
    names::visible(schema, MAX_DOCUMENT);
}

fn lockout(schema: &mut Schema) {
    let address = format!("^address:{}$", patterns::ip_address());
    schema.insert("anyOf".into(), json!([{ "pattern": "^name:" }, { "pattern": address }]));
}
