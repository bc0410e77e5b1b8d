//! The ephemeral store: pending logins, rate-limit buckets, hints. In the database, or in Redis if `REDIS_URL` is set.
//!
//! Its loss must never log anybody out or make anything valid. The caller seals secret values; keys never
//! contain a secret (hash it first).

use std::fmt;

use serde::{Deserialize, Serialize};
use shared::secret::{Secret, redacted};

use crate::db::BoxFuture;
use crate::env::{DAY, Millis};
use crate::error::Error;
use crate::setting::Faults;

pub mod db;
pub mod redis;
#[cfg(test)]
mod tests;

/// The longest time to live of a value.
pub const MAX_LIFE: Millis = DAY;

/// `[redis]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `redis://…`, `rediss://…`, or several separated by commas for a cluster.
    #[serde(serialize_with = "redacted", skip_serializing_if = "Option::is_none")]
    pub url: Option<Secret>,
}

impl Config {
    pub fn check(&self, faults: &mut Faults) {
        let Some(url) = &self.url else { return };
        let name = "redis.url (REDIS_URL)";
        match redis::Servers::parse(url.expose()) {
            Err(fault) => faults.refuse(format!("{name}: {fault}")),
            Ok(servers) if !servers.is_private() => faults.warn(format!(
                "{name}: the connection to another machine is not encrypted, and pending logins pass through it; use rediss://"
            )),
            Ok(_) => {}
        }
    }
}

/// Why the store did not answer; always a 503 for the caller.
#[derive(Debug, thiserror::Error)]
#[error("the ephemeral store is not available: {0}")]
pub struct EphemeralError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Expiring values; each operation is atomic. Time to live is in milliseconds.
pub trait Ephemeral: Send + Sync {
    /// Stores the value until `ttl` has passed, [`MAX_LIFE`] at most, and replaces an old one.
    fn put<'a>(&'a self, key: &'a str, value: &'a [u8], ttl: Millis) -> BoxFuture<'a, Result<(), EphemeralError>>;

    /// The value, unless it has expired.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, EphemeralError>>;

    /// Removes and returns the value: of concurrent callers exactly one gets it.
    fn take<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, EphemeralError>>;

    /// Adds one and returns the sum. The first call starts the time to live; later calls do not prolong it. A call that
    /// got no answer is not counted later.
    fn increment<'a>(&'a self, key: &'a str, ttl: Millis) -> BoxFuture<'a, Result<i64, EphemeralError>>;

    /// Subtracts one from a counter that has not ended: its call was refused for another reason than the limit.
    fn take_back<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), EphemeralError>>;

    /// Whether the store answers, for `/health`.
    fn check(&self) -> BoxFuture<'_, Result<(), EphemeralError>>;

    /// `db` or `redis`.
    fn engine(&self) -> &'static str;
}

impl fmt::Debug for dyn Ephemeral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.engine())
    }
}

impl From<EphemeralError> for Error {
    fn from(error: EphemeralError) -> Self {
        Self::unavailable("the store of pending logins is busy or down; try again", error)
    }
}
