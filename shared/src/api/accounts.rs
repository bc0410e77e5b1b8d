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
use crate::problem::{Code, FieldProblem, Reason};
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
    /// The address that the token was mailed to. If it is given and another, the token is not accepted.
    #[schemars(transform = email::schema)]
    pub email: Option<String>,
    /// 8 to 1,024 characters, and neither a common password nor one's own name or address.
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
    /// The address that the token was mailed to. If it is given and another, the token is not accepted.
    #[schemars(transform = email::schema)]
    pub email: Option<String>,
    /// 8 to 1,024 characters, and neither a common password nor one's own name or address.
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

/// The metadata of a gRPC call that carries a token in base64: of a session, or a mailed one.
pub const TOKEN_HEADER: &str = "authorization";
/// The metadata of the answer that carries a new TOTP secret, and the one with the recovery codes.
pub const TOTP_SECRET_HEADER: &str = "x-totp-secret";
pub const RECOVERY_CODES_HEADER: &str = "x-totp-recovery-codes";

/// Why an operation on an account was refused, as the code that clients of single sign-on by gRPC know: the packages
/// `session` and `user` send it as the message of the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccountFault {
    /// `E-001`: none of the others. The code of the problem says more; a dependency may be down.
    Unknown,
    /// `E-002`: there is no token.
    TokenMissing,
    /// `E-003`: the mailed token is needed, or this cannot be done here or now.
    NotAvailable,
    /// `E-004`: a code is needed too, or the code is wrong.
    CodeRequired,
    /// `E-005`: the token is expired, altered, of another kind, or was used.
    InvalidToken,
    /// `E-006`: the request cannot be read.
    InvalidFormat,
    /// `E-007`: the token's header is not in base64.
    InvalidHeader,
    /// `E-008`: name or password are wrong, or the new password is the current one.
    WrongCredentials,
    /// `E-009`: a value is not of the form that its field needs, such as a password that is easy to guess.
    PatternMismatch,
}

impl AccountFault {
    /// The fault of a problem with this code and these fields.
    pub fn of(code: Code, fields: &[FieldProblem]) -> Self {
        let is_wrong_code = |field: &FieldProblem| {
            field.reason == Some(Reason::Wrong) && matches!(field.field.as_str(), "totp" | "code")
        };
        match code {
            Code::Unauthenticated => Self::TokenMissing,
            Code::TotpRequired => Self::CodeRequired,
            Code::InvalidToken | Code::SessionEnded => Self::InvalidToken,
            Code::ValidationFailed if fields.iter().any(is_wrong_code) => Self::CodeRequired,
            Code::InvalidCredentials => Self::WrongCredentials,
            Code::ValidationFailed if fields.iter().any(|field| field.reason.is_some()) => Self::WrongCredentials,
            Code::ValidationFailed => Self::PatternMismatch,
            Code::MalformedRequest | Code::UnsupportedMediaType | Code::PayloadTooLarge => Self::InvalidFormat,
            Code::VerificationRequired
            | Code::Forbidden
            | Code::NotFound
            | Code::MethodNotAllowed
            | Code::Conflict
            | Code::NameTaken
            | Code::PasskeyRequired
            | Code::StepUpRequired
            | Code::PreconditionFailed
            | Code::RangeNotSatisfiable
            | Code::QuotaExceeded
            | Code::NotImplemented => Self::NotAvailable,
            Code::RequestTimeout
            | Code::IdempotencyKeyReused
            | Code::RateLimited
            | Code::Internal
            | Code::UpstreamFailed
            | Code::Unavailable
            | Code::UpstreamTimeout
            | Code::Unknown => Self::Unknown,
        }
    }

    /// The code, such as `E-003`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "E-001",
            Self::TokenMissing => "E-002",
            Self::NotAvailable => "E-003",
            Self::CodeRequired => "E-004",
            Self::InvalidToken => "E-005",
            Self::InvalidFormat => "E-006",
            Self::InvalidHeader => "E-007",
            Self::WrongCredentials => "E-008",
            Self::PatternMismatch => "E-009",
        }
    }
}

fn display_name(schema: &mut Schema) {
    names::visible(schema, names::MAX);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_code_has_its_fault() {
        let faults = [
            (
                "E-001",
                "request_timeout idempotency_key_reused rate_limited internal upstream_failed unavailable upstream_timeout",
            ),
            ("E-002", "unauthenticated"),
            (
                "E-003",
                "verification_required forbidden not_found method_not_allowed conflict name_taken passkey_required \
                 step_up_required precondition_failed range_not_satisfiable quota_exceeded not_implemented",
            ),
            ("E-004", "totp_required"),
            ("E-005", "invalid_token session_ended"),
            ("E-006", "malformed_request unsupported_media_type payload_too_large"),
            ("E-008", "invalid_credentials"),
            ("E-009", "validation_failed"),
        ];
        let expected = faults.iter().flat_map(|(fault, codes)| codes.split(' ').map(move |code| (code, *fault)));
        let found = Code::ALL.iter().map(|code| (code.as_str(), AccountFault::of(*code, &[]).as_str()));
        assert_eq!(found.collect::<BTreeMap<_, _>>(), expected.collect());
        assert_eq!(AccountFault::of(Code::Unknown, &[]), AccountFault::Unknown, "of a newer daemon");
    }

    #[test]
    fn a_field_tells_a_wrong_code_from_a_wrong_password_and_both_from_a_wrong_form() {
        let (wrong, unchanged, newer) = (Some(Reason::Wrong), Some(Reason::Unchanged), Some(Reason::Unknown));
        for (code, fields, expected) in [
            (Code::ValidationFailed, &[("totp", wrong)][..], "E-004"),
            (Code::ValidationFailed, &[("code", wrong)], "E-004"),
            (Code::ValidationFailed, &[("password", wrong)], "E-008"),
            (Code::ValidationFailed, &[("new_password", unchanged)], "E-008"),
            (Code::ValidationFailed, &[("email", None), ("password", wrong)], "E-008"),
            (Code::ValidationFailed, &[("password", wrong), ("code", wrong)], "E-004"),
            (Code::ValidationFailed, &[("password", newer)], "E-008"),
            (Code::ValidationFailed, &[("password", None)], "E-009"),
            (Code::ValidationFailed, &[("totp", None), ("code", None)], "E-009"),
            // What another code says is not about a field.
            (Code::RateLimited, &[("totp", wrong)], "E-001"),
            (Code::InvalidToken, &[("password", wrong)], "E-005"),
            (Code::InvalidCredentials, &[("totp", wrong)], "E-008"),
        ] {
            let field = |(field, reason): &(&str, Option<Reason>)| FieldProblem {
                field: (*field).to_owned(),
                detail: String::new(),
                reason: *reason,
            };
            let fault = AccountFault::of(code, &fields.iter().map(field).collect::<Vec<_>>());
            assert_eq!(fault.as_str(), expected, "{code:?} {fields:?}");
        }
    }
}
