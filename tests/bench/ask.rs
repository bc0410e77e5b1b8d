//! The questions of the benchmark: what is sent, what fills its holes, and which answer is the right one.

use std::sync::OnceLock;

use crate::people;
use crate::token::{self, Kind};

/// The bearer of the daemons that the benchmark starts for itself, on loopback.
pub const ADMIN_TOKEN: &str = "admin-of-a-benchmark-that-ends-in-a-minute";

/// The token of the service that asks about people; the admin's until it is set.
pub static SERVICE_TOKEN: OnceLock<String> = OnceLock::new();

/// Characters of a created token's number.
const NUMBER: usize = 16;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Ask {
    Valid,
    /// Valid, and the scopes that are asked for are held.
    Scopes,
    Malformed,
    Expired,
    Revoked,
    Unknown,
    Create,
    /// With an `Idempotency-Key`, as authctl sends it.
    CreateKeyed,
    /// About a session's token and a service.
    CheckToken,
    /// Whether a person has a permission, by a service's own token.
    CheckPermission,
    /// RFC 7662, about an API token.
    IntrospectToken,
    /// RFC 7662, about a session's token.
    IntrospectSession,
    Login,
    /// For an account of one's own.
    SignUp,
}

impl Ask {
    fn kind(self) -> Option<Kind> {
        match self {
            Self::Valid | Self::Scopes => Some(Kind::Valid),
            Self::Malformed => Some(Kind::Malformed),
            Self::Expired => Some(Kind::Expired),
            Self::Revoked => Some(Kind::Revoked),
            Self::Unknown => Some(Kind::Unknown),
            _ => None,
        }
    }

    pub fn path(self) -> &'static str {
        match self {
            Self::Create | Self::CreateKeyed => "/auth/tokens",
            Self::CheckToken => "/check-token",
            Self::CheckPermission => "/check-permission",
            Self::IntrospectToken | Self::IntrospectSession => "/introspect",
            Self::Login => "/auth/login",
            Self::SignUp => "/auth/signup",
            _ => "/auth/validate",
        }
    }

    pub fn media(self) -> &'static str {
        match self {
            Self::IntrospectToken | Self::IntrospectSession => "application/x-www-form-urlencoded",
            _ => "application/json",
        }
    }

    pub fn headers(self, subject: &str) -> String {
        match self {
            // A service's own token is for sessions; who introspects API tokens is a gateway.
            Self::Create | Self::IntrospectToken => format!("authorization: Bearer {ADMIN_TOKEN}\r\n"),
            Self::CreateKeyed => {
                format!("authorization: Bearer {ADMIN_TOKEN}\r\nidempotency-key: bench-{subject}\r\n")
            }
            Self::CheckPermission | Self::IntrospectSession => {
                let token = SERVICE_TOKEN.get().map_or(ADMIN_TOKEN, String::as_str);
                format!("authorization: Bearer {token}\r\n")
            }
            _ => String::new(),
        }
    }

    pub fn body(self, subject: &str) -> String {
        match self {
            Self::Scopes => format!(r#"{{"token":"{subject}","required_scopes":["read","write"]}}"#),
            Self::Create | Self::CreateKeyed => format!(r#"{{"name":"bench-{subject}","scopes":["read","write"]}}"#),
            Self::CheckToken => {
                format!(r#"{{"token":"{subject}","service_id":"{}"}}"#, people::SERVICE)
            }
            Self::CheckPermission => {
                let (service, permission) = (people::SERVICE, people::PERMISSION);
                format!(r#"{{"person_id":"{subject}","service_id":"{service}","permission_name":"{permission}"}}"#)
            }
            Self::IntrospectToken | Self::IntrospectSession => format!("token={subject}"),
            Self::Login => format!(r#"{{"username":"{subject}","password":"{}"}}"#, people::PASSWORD),
            Self::SignUp => format!(r#"{{"email":"{subject}@example.com"}}"#),
            _ => format!(r#"{{"token":"{subject}"}}"#),
        }
    }

    pub fn subject_len(self) -> usize {
        match self {
            Self::Create | Self::CreateKeyed | Self::SignUp => NUMBER,
            Self::CheckToken | Self::IntrospectSession => people::SESSION_LEN,
            Self::CheckPermission => people::ID_LEN,
            Self::Login => people::NAME_LEN,
            _ => token::LEN,
        }
    }

    pub fn write_subject(self, index: u64, out: &mut [u8]) {
        if let Some(kind) = self.kind() {
            return token::write(kind, index, out);
        }
        match self {
            Self::IntrospectToken => return token::write(Kind::Valid, index, out),
            Self::CheckToken | Self::IntrospectSession => return people::write_session(index, out),
            Self::CheckPermission => return out.copy_from_slice(people::user_id(index).as_bytes()),
            Self::Login => return out.copy_from_slice(people::user_name(index).as_bytes()),
            _ => {}
        }
        let mut rest = index;
        for digit in out.iter_mut().rev() {
            *digit = b"0123456789abcdef"[usize::try_from(rest & 15).unwrap_or_default()];
            rest >>= 4;
        }
    }

    /// How the status line of the right answer begins.
    pub fn status(self) -> &'static [u8] {
        match self {
            Self::Create | Self::CreateKeyed => b"HTTP/1.1 201 ",
            Self::SignUp => b"HTTP/1.1 202 ",
            _ => b"HTTP/1.1 200 ",
        }
    }

    /// What the body of the right answer holds.
    pub fn wanted(self) -> &'static [u8] {
        match self {
            Self::Valid | Self::Scopes => br#""valid":true"#,
            Self::Malformed | Self::Unknown => br#""error":"token_not_found""#,
            Self::Expired => br#""error":"token_expired""#,
            Self::Revoked => br#""error":"token_revoked""#,
            Self::Create | Self::CreateKeyed => br#""token":"amp_live_"#,
            Self::CheckToken => br#""permissions":["bench.read"]"#,
            Self::CheckPermission => br#""has_permission":true"#,
            Self::IntrospectToken | Self::IntrospectSession => br#""active":true"#,
            Self::Login => br#""token":""#,
            Self::SignUp => br#""mail_requested""#,
        }
    }
}
