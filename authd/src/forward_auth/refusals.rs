//! Refusals in the log: with policy, rule, caller and path, so that an operator can see why somebody is not let in.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};

use shared::id::{TokenId, UserId};

use super::ForwardAuth;
use crate::call::RequestId;
use crate::env::{MINUTE, Millis};
use crate::error::Error;

/// Maximum number of refusals without a known caller that are logged at info in a minute: anybody can cause them.
const ANONYMOUS_LINES: u32 = 20;
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

/// A number of log lines in each minute.
#[derive(Debug, Default)]
pub struct Budget {
    minute: AtomicI64,
    lines: AtomicU32,
    dropped: AtomicU64,
}

impl Budget {
    /// Whether a line may be written, and how many were not since the last one.
    fn take(&self, now: Millis) -> Option<u64> {
        let minute = now.div_euclid(MINUTE);
        if self.minute.swap(minute, Relaxed) != minute {
            self.lines.store(0, Relaxed);
        }
        if self.lines.load(Relaxed) >= ANONYMOUS_LINES {
            self.dropped.fetch_add(1, Relaxed);
            return None;
        }
        self.lines.fetch_add(1, Relaxed);
        Some(self.dropped.swap(0, Relaxed))
    }
}

impl ForwardAuth {
    /// Logs a refusal at info. Failures of authd are logged where they are answered.
    pub fn log(&self, id: RequestId, policy: &str, uri: &[u8], address: Option<IpAddr>, refusal: &Refusal) {
        let Refusal { error, decided_by, why, who } = refusal;
        if error.code.status() >= 500 {
            return;
        }
        let is_anonymous = *who == Who::Anonymous;
        let Some(dropped) = (if is_anonymous { self.refusals.take(self.env.now()) } else { Some(0) }) else { return };
        let (path, address) = (path_of(uri), address.map(tracing::field::display));
        let rule = decided_by.as_deref().unwrap_or("none");
        let why = why.as_deref().unwrap_or(&error.detail);
        let dropped = (dropped > 0).then_some(dropped);
        tracing::info!(
            request_id = %id, policy, rule, %who, address, %path, why, not_logged_before = dropped,
            "forward-auth refused a request"
        );
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

    #[test]
    fn what_anybody_can_cause_is_logged_within_a_budget() {
        let budget = Budget::default();
        let lines = |now| (0..150).filter_map(|_| budget.take(now)).collect::<Vec<_>>();
        assert_eq!(lines(MINUTE), [0; 20]);
        assert!(lines(2 * MINUTE - 1).is_empty());
        let mut next = [0; 20];
        next[0] = 280;
        assert_eq!(lines(2 * MINUTE), next);
        // A clock that was set back is another minute, too.
        assert_eq!(lines(MINUTE).len(), 20);
    }
}
