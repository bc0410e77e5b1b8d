//! Refusals in the log: with policy, rule, caller and path, so that an operator can see why somebody is not let in.

use std::fmt;
use std::net::IpAddr;

use shared::id::{TokenId, UserId};
use tracing::info;

use super::ForwardAuth;
use crate::call::RequestId;
use crate::error::Error;
use crate::log::caused;

/// The longest path that is logged, in bytes.
const MAX_LOGGED: usize = 256;

/// A refusal, with what the log tells about it.
#[derive(Debug)]
pub struct Refusal {
    /// For the proxy.
    pub error: Error,
    /// The rule that the caller does not satisfy.
    pub decided_by: Option<String>,
    /// Why no rule decides.
    pub why: Option<String>,
    pub who: Who,
}

/// The refusal of a request that cannot be read.
impl From<&'static str> for Refusal {
    fn from(detail: &'static str) -> Self {
        let error = Error::new(shared::problem::Code::Forbidden, detail);
        Self { error, decided_by: None, why: Some(detail.to_owned()), who: Who::Anonymous }
    }
}

/// Who made a request, as far as it was looked up.
#[derive(Debug, PartialEq, Eq)]
pub enum Who {
    Anonymous,
    Token(TokenId),
    Person(String, UserId),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::Token(id) => write!(f, "token:{id}"),
            Self::Person(name, id) => write!(f, "user:{name}({id})"),
        }
    }
}

impl ForwardAuth {
    /// Logs a refusal at info. Failures of authd are logged where they are answered.
    pub fn log(&self, id: RequestId, policy: &str, uri: &[u8], address: IpAddr, refusal: &Refusal) {
        let Refusal { error, decided_by, why, who } = refusal;
        // Anybody can write another name.
        let policy = self.policy(policy).map_or("none", |policy| policy.name.as_str());
        if error.code.status() >= 500 {
            return;
        }
        let path = path_of(uri);
        let rule = decided_by.as_deref().unwrap_or("none");
        let why = why.as_deref().unwrap_or(&error.detail);
        if *who == Who::Anonymous {
            // Anybody can cause these.
            caused!(
                Some(address), info, request_id = %id, policy, rule, %who, %address, %path, why,
                "forward-auth refused a request"
            );
        } else {
            info!(
                request_id = %id, policy, rule, %who, %address, %path, why, "forward-auth refused a request"
            );
        }
    }
}

/// The path as it was sent, without scheme, host, query and fragment, which may hold secrets; escaped and cut.
fn path_of(uri: &[u8]) -> String {
    let uri = String::from_utf8_lossy(uri);
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    let path = match path.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |slash| &rest[slash..]),
        None => path,
    };
    let mut escaped: String = path.chars().take(MAX_LOGGED).flat_map(char::escape_debug).collect();
    if path.chars().nth(MAX_LOGGED).is_some() {
        escaped.push('…');
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logged_path_has_no_query_and_no_control_characters() {
        let long = format!("/{}", "a".repeat(MAX_LOGGED));
        for (uri, expected) in [
            (&b"/a/b?token=secret"[..], "/a/b"),
            (b"/a#secret?x", "/a"),
            (b"https://user:secret@shop/a?x", "/a"),
            (b"https://user:secret@shop", ""),
            (b"/a\r\nINFO forged\x1b[0m", "/a\\r\\nINFO forged\\u{1b}[0m"),
            (b"/%0aX/\xff", "/%0aX/\u{fffd}"),
            (long.as_bytes(), &format!("{}…", &long[..MAX_LOGGED])),
        ] {
            assert_eq!(path_of(uri), expected);
        }
    }
}
