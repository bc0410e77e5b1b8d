//! `[server]` and `[admin]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use shared::secret::{Secret, redacted};

/// The public HTTP listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub addr: SocketAddr,
    /// The base of redirects and links, never the Host header. If empty, `http://` and the address.
    pub public_url: String,
    /// The networks whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Maximum number of open connections. Above it those of the network that has most are closed, idle ones first.
    pub max_connections: usize,
    /// Maximum memory of connections and of requests that are not complete, in bytes, by the same rule.
    pub max_held: usize,
    /// The largest request body, in bytes.
    pub max_body: usize,
    /// Seconds for the head of a connection's first request to arrive.
    pub first_byte_seconds: u64,
    /// Seconds for the head of every other request to arrive, including idle time before it.
    pub head_seconds: u64,
    /// Seconds for a request's body to arrive.
    pub body_seconds: u64,
    /// Seconds for requests under way to finish at shutdown.
    pub drain_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: String::new(),
            trusted_proxies: Vec::new(),
            max_connections: 10_000,
            max_held: 192 << 20,
            max_body: 64 << 10,
            first_byte_seconds: 10,
            head_seconds: 75,
            body_seconds: 20,
            drain_seconds: 25,
        }
    }
}

/// The admin socket, and the bearer token with the same permissions over HTTP.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// If empty, a path in the runtime directory.
    pub socket: PathBuf,
    /// `ADMIN_TOKEN`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "redacted")]
    pub token: Option<Secret>,
    /// The permissions of users and groups on the socket; root and the daemon's own user have all.
    #[serde(rename = "peer")]
    pub peers: Vec<Peer>,
}

/// A user or a group of this machine, with its permissions.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// A user's name or uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// A group's name or gid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Permissions such as `tokens.write`; `admin` is all.
    pub permissions: Vec<String>,
}
