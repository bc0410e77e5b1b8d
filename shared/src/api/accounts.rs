//! Accounts that people own: sign-up, e-mail addresses, and their end.
//!
//! What proves an address is a one-time token that is mailed to it. Nothing tells a caller whether an address has an
//! account: neither the answer, nor the time that it takes, nor the number of mails.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::sessions::LoggedIn;
use super::users::{MAX_PASSWORD, MIN_PASSWORD, User};
use crate::op::{Access, Permission, operations};
use crate::secret::Secret;
use crate::{email, names};

/// The longest one-time token, in bytes.
pub const MAX_LINK_TOKEN: usize = 2_048;

operations! {
    /// Ask for an account: a mail with a one-time token goes to the address
    SignUp => "accounts.sign_up", Post "/auth/signup", Access::Public, 202 MailRequested;
    /// Create the account with the mailed token, and sign in
    VerifySignUp => "accounts.verify_sign_up", Post "/auth/signup/verify", Access::SelfProving, 201 LoggedIn, password true;
    /// Ask for a new password: a mail with a one-time token goes to the address, if it has an account
    RequestReset => "accounts.request_reset", Post "/auth/password/reset", Access::Public, 202 MailRequested;
    /// Set a new password with the mailed token, and end every session
    ConfirmReset => "accounts.confirm_reset", Post "/auth/password/reset/confirm", Access::SelfProving, 200 super::Done, password true;
    /// Ask to change your e-mail address: a mail with a one-time token goes to the new one
    ChangeEmail => "accounts.change_email", Post "/auth/email", Access::User, 202 MailRequested, password true;
    /// Change the address with the mailed token; the old address is told
    ConfirmEmail => "accounts.confirm_email", Post "/auth/email/confirm", Access::SelfProving, 200 super::Done;
    /// Delete your account and everything that belongs to it
    DeleteAccount => "accounts.delete", Delete "/auth/account", Access::User, 200 super::Done, password true;
    /// Create a user and mail them an invitation to set their password
    InviteUser => "users.invite", Post "/users/invite", Access::Permission(Permission::UsersWrite), 201 User;
    /// Mark the e-mail address of a user as verified
    VerifyUser => "users.verify", Post "/users/{id}/verify", Access::Permission(Permission::UsersWrite), 200 User;
}

/// A mail was asked for. The answer is the same whether the address has an account or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MailRequested {
    /// `mail_requested`.
    pub status: String,
}

impl Default for MailRequested {
    fn default() -> Self {
        Self { status: "mail_requested".to_owned() }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignUp {
    #[schemars(transform = email::schema)]
    pub email: String,
}

/// Consumes the token of a sign-up or of an invitation. The password is set now, so that nobody else can have chosen it.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifySignUp {
    /// The token of the mail.
    #[schemars(length(max = MAX_LINK_TOKEN))]
    pub token: Secret,
    /// 8 to 1,024 characters, and not a common password.
    #[schemars(length(min = MIN_PASSWORD, max = MAX_PASSWORD))]
    pub password: Secret,
    /// The person's name; the address if absent.
    #[schemars(transform = display_name)]
    pub name: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestReset {
    #[schemars(transform = email::schema)]
    pub email: String,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmReset {
    /// The token of the mail.
    #[schemars(length(max = MAX_LINK_TOKEN))]
    pub token: Secret,
    /// 8 to 1,024 characters, and not a common password.
    #[schemars(length(min = MIN_PASSWORD, max = MAX_PASSWORD))]
    pub password: Secret,
    /// A TOTP code or a recovery code, if TOTP is on.
    pub totp: Option<Secret>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeEmail {
    /// The new address.
    #[schemars(transform = email::schema)]
    pub email: String,
    /// The current password.
    pub password: Secret,
    /// A TOTP code or a recovery code, if TOTP is on.
    pub totp: Option<Secret>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmEmail {
    /// The token of the mail.
    #[schemars(length(max = MAX_LINK_TOKEN))]
    pub token: Secret,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteAccount {
    /// The current password.
    pub password: Secret,
    /// A TOTP code or a recovery code, if TOTP is on.
    pub totp: Option<Secret>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteUser {
    #[schemars(transform = email::schema)]
    pub email: String,
    /// The name to sign in with besides the address; the address if absent.
    #[schemars(transform = names::schema)]
    pub username: Option<String>,
    /// The person's name; the user name if absent.
    #[schemars(transform = display_name)]
    pub name: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyUser {
    /// A user's id or user name.
    pub id: String,
}

fn display_name(schema: &mut Schema) {
    names::visible(schema, names::MAX);
}
