//! The questions of the benchmark: what is sent, what fills its holes, and which answer is the right one.

use crate::token::{self, Kind};

/// The bearer of the daemons that the benchmark starts for itself, on loopback.
pub const ADMIN_TOKEN: &str = "admin-of-a-benchmark-that-ends-in-a-minute";

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
}

impl Ask {
    fn kind(self) -> Option<Kind> {
        match self {
            Self::Valid | Self::Scopes => Some(Kind::Valid),
            Self::Malformed => Some(Kind::Malformed),
            Self::Expired => Some(Kind::Expired),
            Self::Revoked => Some(Kind::Revoked),
            Self::Unknown => Some(Kind::Unknown),
            Self::Create | Self::CreateKeyed => None,
        }
    }

    pub fn path(self) -> &'static str {
        if self.kind().is_some() { "/auth/validate" } else { "/auth/tokens" }
    }

    pub fn headers(self, subject: &str) -> String {
        match self {
            Self::Create => format!("authorization: Bearer {ADMIN_TOKEN}\r\n"),
            Self::CreateKeyed => {
                format!("authorization: Bearer {ADMIN_TOKEN}\r\nidempotency-key: bench-{subject}\r\n")
            }
            _ => String::new(),
        }
    }

    pub fn body(self, subject: &str) -> String {
        match self {
            Self::Scopes => format!(r#"{{"token":"{subject}","required_scopes":["read","write"]}}"#),
            Self::Create | Self::CreateKeyed => format!(r#"{{"name":"bench-{subject}","scopes":["read","write"]}}"#),
            _ => format!(r#"{{"token":"{subject}"}}"#),
        }
    }

    pub fn subject_len(self) -> usize {
        if self.kind().is_some() { token::LEN } else { NUMBER }
    }

    pub fn write_subject(self, index: u64, out: &mut [u8]) {
        if let Some(kind) = self.kind() {
            return token::write(kind, index, out);
        }
        let mut rest = index;
        for digit in out.iter_mut().rev() {
            *digit = b"0123456789abcdef"[usize::try_from(rest & 15).unwrap_or_default()];
            rest >>= 4;
        }
    }

    /// How the status line of the right answer begins.
    pub fn status(self) -> &'static [u8] {
        if self.kind().is_some() { b"HTTP/1.1 200 " } else { b"HTTP/1.1 201 " }
    }

    /// What the body of the right answer holds.
    pub fn wanted(self) -> &'static [u8] {
        match self {
            Self::Valid | Self::Scopes => br#""valid":true"#,
            Self::Malformed | Self::Unknown => br#""error":"token_not_found""#,
            Self::Expired => br#""error":"token_expired""#,
            Self::Revoked => br#""error":"token_revoked""#,
            Self::Create | Self::CreateKeyed => br#""token":"amp_live_"#,
        }
    }
}
