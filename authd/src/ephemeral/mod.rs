//! What may vanish: pending logins, rate-limit buckets, hints. Backed by Db, or by Redis when `REDIS_URL` is set.
//!
//! Losing all of it must never log anybody out and never make anything valid. Values are sealed by the caller when
//! they are secret; keys never contain a secret (hash it first).

use std::fmt;

use serde::{Deserialize, Serialize};
use shared::secret::{Secret, redacted};

use crate::db::BoxFuture;
use crate::env::Millis;
use crate::error::Error;

pub mod db;
pub mod redis;
#[cfg(test)]
mod tests;

/// `[redis]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `redis://…`, `rediss://…`, or several separated by commas for a cluster.
    #[serde(serialize_with = "redacted", skip_serializing_if = "Option::is_none")]
    pub url: Option<Secret>,
}

/// Why the store did not answer; always a 503 for the caller.
#[derive(Debug, thiserror::Error)]
#[error("the ephemeral store is not available: {0}")]
pub struct EphemeralError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Values with an end, atomic one by one. Time to live is in milliseconds.
pub trait Ephemeral: Send + Sync {
    /// Stores the value until `ttl` has passed, replacing what was there.
    fn put<'a>(&'a self, key: &'a str, value: &'a [u8], ttl: Millis) -> BoxFuture<'a, Result<(), EphemeralError>>;

    /// The value, unless it has ended.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, EphemeralError>>;

    /// The value, removed: of any number of callers exactly one gets it.
    fn take<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, EphemeralError>>;

    /// Adds one and answers the sum. The first call starts the time to live; later calls do not prolong it.
    fn increment<'a>(&'a self, key: &'a str, ttl: Millis) -> BoxFuture<'a, Result<i64, EphemeralError>>;

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
