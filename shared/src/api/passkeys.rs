//! Passkeys (Web Authentication): a person signs in without a user name and a password, with a key that an authenticator
//! keeps.
//!
//! Options are in the JSON that browsers read (`PublicKeyCredential.parseCreationOptionsFromJSON` and
//! `parseRequestOptionsFromJSON`); what the browser returns is sent as bytes in base64url. The ids of the relying party
//! and of origins are made from authd's public URL.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::factors::Reauthenticated;
use crate::base64url::Base64Url;
use crate::id::FactorId;
use crate::names;
use crate::op::{Access, Permission, operations};
use crate::time::Time;

/// Bounds of what a browser sends, in bytes.
pub const MAX_CREDENTIAL_ID: usize = 1_023;
pub const MAX_CLIENT_DATA: usize = 2_048;
pub const MAX_AUTHENTICATOR_DATA: usize = 4_096;
pub const MAX_PUBLIC_KEY: usize = 1_024;
pub const MAX_SIGNATURE: usize = 512;
/// Bytes of a user handle (§5.4.3).
pub const MAX_USER_HANDLE: usize = 64;
/// Maximum number of transports of a passkey, and of characters in each.
pub const MAX_TRANSPORTS: usize = 8;
pub const MAX_TRANSPORT: usize = 32;

operations! {
    /// Begin to register a passkey: returns what the browser needs; takes a session in which you proved yourself within 5 minutes
    BeginPasskey => "passkeys.begin", Post "/auth/passkeys/options", Access::User, 200 CreationOptions;
    /// Register the passkey that the browser has made for the options, within 5 minutes
    RegisterPasskey => "passkeys.register", Post "/auth/passkeys", Access::User, 201 Passkey;
    /// List your passkeys
    ListPasskeys => "passkeys.list", Get "/auth/passkeys", Access::User, 200 PasskeyList;
    /// Rename one of your passkeys
    RenamePasskey => "passkeys.rename", Put "/auth/passkeys/{id}", Access::User, 200 super::Done;
    /// Remove one of your passkeys, and end your other sessions; takes a session in which you proved yourself within 5 minutes
    RemovePasskey => "passkeys.remove", Delete "/auth/passkeys/{id}", Access::User, 200 super::Done;
    /// Begin to prove yourself again by a passkey: returns what the browser needs
    BeginPasskeyProof => "passkeys.begin_proof", Post "/auth/reauthenticate/passkey/options", Access::User, 200 RequestOptions;
    /// Prove yourself again by a passkey, within 5 minutes, for operations that require a fresh proof
    PasskeyAssertion => "passkeys.prove", Post "/auth/reauthenticate/passkey", Access::User, 200 Reauthenticated;
    /// List the passkeys of a user
    ListUserPasskeys => "passkeys.list_of_user", Get "/users/{id}/passkeys", Access::Permission(Permission::UsersRead), 200 PasskeyList;
    /// Remove a passkey of a user who lost it, and end all their sessions
    RemoveUserPasskey => "passkeys.remove_of_user", Delete "/users/{id}/passkeys/{passkey}", Access::Permission(Permission::UsersWrite), 200 super::Done;
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginPasskey {}

/// `PublicKeyCredentialCreationOptionsJSON` (§5.1.8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreationOptions {
    pub rp: RelyingPartyEntity,
    pub user: UserEntity,
    pub challenge: Base64Url<32>,
    pub pub_key_cred_params: Vec<CredentialParameters>,
    /// Milliseconds.
    pub timeout: u32,
    /// The passkeys that there are: an authenticator makes no second one.
    pub exclude_credentials: Vec<CredentialDescriptor>,
    pub authenticator_selection: AuthenticatorSelection,
    /// `none`
    pub attestation: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RelyingPartyEntity {
    pub id: String,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserEntity {
    /// The user handle: the bytes of the user's id.
    pub id: Base64Url<MAX_USER_HANDLE>,
    pub name: String,
    pub display_name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CredentialParameters {
    /// `public-key`
    #[serde(rename = "type")]
    pub kind: String,
    /// The number of an algorithm (IANA, COSE Algorithms).
    pub alg: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CredentialDescriptor {
    /// `public-key`
    #[serde(rename = "type")]
    pub kind: String,
    pub id: Base64Url<MAX_CREDENTIAL_ID>,
    /// How the browser reaches the authenticator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transports: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticatorSelection {
    /// `required`: the authenticator keeps the user handle, so that no user name has to be typed.
    pub resident_key: String,
    pub require_resident_key: bool,
    /// `required`
    pub user_verification: String,
}

/// What the browser returns from `navigator.credentials.create()`.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterPasskey {
    /// What the person calls it: 1 to 128 characters; `passkey` if absent.
    #[schemars(transform = display_name)]
    pub name: Option<String>,
    /// `rawId`
    pub credential_id: Base64Url<MAX_CREDENTIAL_ID>,
    /// `response.clientDataJSON`
    pub client_data: Base64Url<MAX_CLIENT_DATA>,
    /// `response.getAuthenticatorData()`
    pub authenticator_data: Base64Url<MAX_AUTHENTICATOR_DATA>,
    /// `response.getPublicKey()`
    pub public_key: Base64Url<MAX_PUBLIC_KEY>,
    /// `response.getTransports()`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_TRANSPORTS), inner(length(max = MAX_TRANSPORT), regex(pattern = "^[a-z-]+$")))]
    pub transports: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListPasskeys {}

/// Passkeys, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PasskeyList {
    pub passkeys: Vec<Passkey>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Passkey {
    pub id: FactorId,
    pub name: String,
    /// Whether a password manager keeps copies of it: it survives the loss of the device.
    pub backed_up: bool,
    pub created_at: Time,
    pub last_used_at: Option<Time>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenamePasskey {
    pub id: FactorId,
    /// 1 to 128 characters.
    #[schemars(transform = display_name)]
    pub name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemovePasskey {
    pub id: FactorId,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginPasskeyProof {}

/// `PublicKeyCredentialRequestOptionsJSON` (§5.1.9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestOptions {
    pub challenge: Base64Url<32>,
    /// Milliseconds.
    pub timeout: u32,
    pub rp_id: String,
    /// The passkeys to choose from; at a sign-in none: any that the authenticator has for the relying party.
    pub allow_credentials: Vec<CredentialDescriptor>,
    /// `required`
    pub user_verification: String,
}

/// What the browser returns from `navigator.credentials.get()`.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PasskeyAssertion {
    /// `rawId`
    pub credential_id: Base64Url<MAX_CREDENTIAL_ID>,
    /// `response.clientDataJSON`
    pub client_data: Base64Url<MAX_CLIENT_DATA>,
    /// `response.authenticatorData`
    pub authenticator_data: Base64Url<MAX_AUTHENTICATOR_DATA>,
    /// `response.signature`
    pub signature: Base64Url<MAX_SIGNATURE>,
    /// `response.userHandle`
    pub user_handle: Option<Base64Url<MAX_USER_HANDLE>>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListUserPasskeys {
    /// A user's id or user name.
    pub id: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveUserPasskey {
    /// A user's id or user name.
    pub id: String,
    pub passkey: FactorId,
}

fn display_name(schema: &mut Schema) {
    names::visible(schema, names::MAX);
}
