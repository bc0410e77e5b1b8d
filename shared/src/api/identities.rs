//! Linked identities: people at OpenID providers who sign in to an account here. An identity is (issuer, subject), and is
//! linked to one account at most.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::id::IdentityId;
use crate::op::{Access, Permission, operations};
use crate::patterns;
use crate::time::Time;

/// Maximum number of characters of a subject (OpenID Connect Core §2).
pub const MAX_SUBJECT: usize = 255;
/// Maximum number of characters of a provider's name.
pub const MAX_PROVIDER: usize = 32;

operations! {
    /// List the identities at OpenID providers with which you can sign in
    ListOwnIdentities => "identities.list_own", Get "/auth/identities", Access::User, 200 IdentityList;
    /// Unlink one of your identities, and end your other sessions; takes a session in which you proved yourself within 5 minutes
    UnlinkOwnIdentity => "identities.unlink_own", Delete "/auth/identities/{id}", Access::User, 200 super::Done;
    /// List the identities at OpenID providers with which a user can sign in
    ListIdentities => "identities.list", Get "/users/{id}/identities", Access::Permission(Permission::UsersRead), 200 IdentityList;
    /// Link an identity at an OpenID provider to a user, who can then sign in with it
    LinkIdentity => "identities.link", Post "/users/{id}/identities", Access::Permission(Permission::UsersWrite), 201 LinkedIdentity;
    /// Unlink an identity from a user, and end all their sessions; it is not linked again by its address
    UnlinkIdentity => "identities.unlink", Delete "/users/{id}/identities/{identity}", Access::Permission(Permission::UsersWrite), 200 super::Done;
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListOwnIdentities {}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnlinkOwnIdentity {
    pub id: IdentityId,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListIdentities {
    /// A user's id or user name.
    pub id: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkIdentity {
    /// A user's id or user name.
    pub id: String,
    /// The provider's name in authd's configuration, such as `google`.
    #[schemars(transform = provider)]
    pub provider: String,
    /// The person's `sub` there: 1 to 255 printable ASCII characters.
    #[schemars(transform = subject)]
    pub subject: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnlinkIdentity {
    /// A user's id or user name.
    pub id: String,
    pub identity: IdentityId,
}

/// Oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IdentityList {
    pub identities: Vec<LinkedIdentity>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LinkedIdentity {
    pub id: IdentityId,
    /// The provider's name in authd's configuration; absent if none there has this issuer any more.
    pub provider: Option<String>,
    pub issuer: String,
    pub subject: String,
    /// What the provider said at the last sign-in; not judged.
    pub email: Option<String>,
    pub name: Option<String>,
    pub created_at: Time,
    /// When the person last signed in with it, or it was linked.
    pub last_used_at: Time,
}

/// Whether it may be a subject.
pub fn is_subject(text: &str) -> bool {
    (1..=MAX_SUBJECT).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// Whether it may be the name of a provider.
pub fn is_provider(text: &str) -> bool {
    (1..=MAX_PROVIDER).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn subject(schema: &mut Schema) {
    patterns::text(schema, 1, MAX_SUBJECT, "^[ -~]+$");
}

fn provider(schema: &mut Schema) {
    patterns::text(schema, 1, MAX_PROVIDER, "^[A-Za-z0-9-]+$");
}
