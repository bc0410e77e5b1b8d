//! Second factors: TOTP (RFC 6238) with recovery codes, and re-authentication.
//!
//! A person with TOTP signs in with the password and a code: six digits of an authenticator app, or one of ten recovery
//! codes. Each code works once. Every operation that turns a factor on or off takes the password, and a code if one is
//! on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::op::{Access, Permission, operations};
use crate::secret::Secret;
use crate::time::Time;

operations! {
    /// Begin to turn TOTP on: returns a new secret, which a code has to confirm within 10 minutes
    EnableTotp => "factors.enable_totp", Post "/auth/totp/enable", Access::User, 200 PendingTotp, password true;
    /// Turn TOTP on with a code of the new secret; returns the recovery codes and ends your other sessions
    ConfirmTotp => "factors.confirm_totp", Post "/auth/totp/confirm", Access::User, 200 RecoveryCodes, password true;
    /// Turn TOTP off, and end your other sessions
    DisableTotp => "factors.disable_totp", Post "/auth/totp/disable", Access::User, 200 super::Done, password true;
    /// Replace your recovery codes
    RenewRecoveryCodes => "factors.renew_recovery_codes", Post "/auth/recovery-codes", Access::User, 200 RecoveryCodes, password true;
    /// List your own second factors
    ListFactors => "factors.list", Get "/auth/factors", Access::User, 200 FactorList;
    /// Prove password and second factor again, for operations that require a fresh proof
    Reauthenticate => "sessions.reauthenticate", Post "/auth/reauthenticate", Access::User, 200 Reauthenticated, password true;
    /// List the second factors of a user
    ListUserFactors => "factors.list_of_user", Get "/users/{id}/factors", Access::Permission(Permission::UsersRead), 200 FactorList;
    /// Turn off the TOTP of a user who lost it, and end all their sessions
    ResetTotp => "factors.reset_totp", Delete "/users/{id}/totp", Access::Permission(Permission::UsersWrite), 200 super::Done;
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnableTotp {
    /// The current password.
    pub password: Secret,
}

/// A new TOTP secret, shown only once. It has no effect until a code confirms it, and the next one replaces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PendingTotp {
    /// 160 bits in base32, for apps without a camera. SHA-1, 6 digits, 30 seconds.
    pub secret: Secret,
    /// The same as an `otpauth://` URI.
    pub uri: Secret,
    /// The URI as a QR code: an SVG image.
    pub qr_svg: Secret,
    /// The URI as a QR code: a PNG image in base64.
    pub qr_png: Secret,
    /// Until when a code can confirm it.
    pub expires_at: Time,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmTotp {
    /// Six digits, computed from the new secret.
    pub code: Secret,
    /// The current password; checked if it is given.
    pub password: Option<Secret>,
}

/// Ten recovery codes, shown only once. Each works once in the place of a TOTP code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryCodes {
    pub recovery_codes: Vec<Secret>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DisableTotp {
    /// The current password.
    pub password: Secret,
    /// A TOTP code or a recovery code.
    pub code: Secret,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewRecoveryCodes {
    /// The current password.
    pub password: Secret,
    /// A TOTP code or one of the old recovery codes.
    pub code: Secret,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListFactors {}

/// The second factors of a user, oldest first, without secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FactorList {
    pub factors: Vec<Factor>,
    /// The number of unused recovery codes.
    pub recovery_codes: u32,
}

#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Factor {
    pub kind: FactorKind,
    pub name: String,
    /// When it was turned on.
    pub created_at: Time,
    pub last_used_at: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FactorKind {
    /// An authenticator app.
    Totp,
    /// A passkey.
    Passkey,
    /// A kind that only a newer daemon knows.
    #[serde(other)]
    Unknown,
}

impl FactorKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Passkey => "passkey",
            Self::Unknown => "unknown",
        }
    }
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reauthenticate {
    /// The current password.
    pub password: Secret,
    /// A TOTP code or a recovery code, if TOTP is on.
    pub totp: Option<Secret>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reauthenticated {
    /// Until when the session is fresh.
    pub fresh_until: Time,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListUserFactors {
    /// A user's id or user name.
    pub id: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetTotp {
    /// A user's id or user name.
    pub id: String,
}
