//! `[server]` and `[admin]`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use shared::secret::{Secret, redacted};

/// The public HTTP listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub addr: SocketAddr,
    /// What redirects and pages are made from; never the Host header. Empty: `http://` and the address.
    pub public_url: String,
    /// Whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Connections held at once, public listener and admin socket each.
    pub max_connections: usize,
    /// The largest request body, in bytes.
    pub max_body: usize,
    /// Seconds for the first bytes of a connection to arrive.
    pub first_byte_seconds: u64,
    /// Seconds for a request's head to arrive, idle time before it included.
    pub head_seconds: u64,
    /// Seconds for a request's body to arrive.
    pub body_seconds: u64,
    /// Seconds that requests under way get at shutdown.
    pub drain_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: String::new(),
            trusted_proxies: Vec::new(),
            max_connections: 10_000,
            max_body: 64 << 10,
            first_byte_seconds: 10,
            head_seconds: 75,
            body_seconds: 20,
            drain_seconds: 25,
        }
    }
}

impl Config {
    pub fn head_timeout(&self) -> Duration {
        Duration::from_secs(self.head_seconds)
    }
}

/// The admin socket, and the bearer token that may do the same over HTTP.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Empty: in the runtime directory.
    pub socket: PathBuf,
    /// `ADMIN_TOKEN`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "redacted")]
    pub token: Option<Secret>,
    /// Who may do what over the socket, beside root and the daemon's own user, who may do everything.
    #[serde(rename = "peer")]
    pub peers: Vec<Peer>,
}

/// A user or a group of this machine, with what it may do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// A user's name or uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// A group's name or gid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Such as `tokens.write`; `admin` is everything.
    pub permissions: Vec<String>,
}
