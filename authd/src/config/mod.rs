//! Configuration: flags > environment > file > defaults, into one typed value that the rest of the daemon trusts.
//!
//! The file is TOML; every environment variable is a line of [`source::VARIABLES`] that names the key it sets, so the
//! two cannot drift apart. Secrets are also read from `<VARIABLE>_FILE` and from systemd credentials. Unknown keys
//! are errors that name the nearest known one.

mod check;
mod database;
mod policy;
mod source;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize, Serializer};
use shared::secret::Secret;

pub use database::DatabaseUrl;
pub use policy::{Policy, Rule, Source};
pub use source::{Environment, Sources};

/// What is wrong with the configuration, for the person who wrote it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

fn refuse<T>(detail: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError(detail.into()))
}

/// The effective configuration. `Serialize` writes it for `authd check`, secrets redacted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the SQLite file and the root key live.
    pub data_dir: PathBuf,
    pub server: Server,
    pub admin: Admin,
    pub database: Database,
    pub redis: Redis,
    pub keys: Keys,
    pub tokens: Tokens,
    pub cache: Cache,
    pub sessions: Sessions,
    pub login: Login,
    pub cli: Cli,
    pub log: Log,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cognito: Option<Cognito>,
    /// OpenID providers. The Cognito settings become the one named `cognito`, in front.
    #[serde(rename = "provider")]
    pub providers: Vec<Provider>,
    pub aws: Aws,
    /// AWS roles, most wanted first. `STS_ROLE_ARN` becomes the one named `default`, in front.
    #[serde(rename = "role")]
    pub roles: Vec<Role>,
    /// What proxies ask for at `/auth/forward/{policy}`.
    #[serde(rename = "policy")]
    pub policies: Vec<Policy>,
}

/// The public HTTP listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
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

impl Default for Server {
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

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// `postgres://…`, or `sqlite:` with an optional path. Empty: `authd.db` in the data directory.
    #[serde(serialize_with = "redacted", skip_serializing_if = "Option::is_none")]
    pub url: Option<Secret>,
    /// Connections to PostgreSQL.
    pub max_connections: Option<usize>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// `redis://…`, `rediss://…`, or several separated by commas for a cluster.
    #[serde(serialize_with = "redacted", skip_serializing_if = "Option::is_none")]
    pub url: Option<Secret>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// 32 bytes in base64 or hex, under which the key ring is sealed. Empty: `root.key` in the data directory.
    #[serde(serialize_with = "redacted", skip_serializing_if = "Option::is_none")]
    pub root: Option<Secret>,
}

/// API tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tokens {
    /// What every token begins with; letters, digits and `_`.
    pub prefix: String,
    /// Look up tokens without a checksum too: those that came from another system.
    pub accept_unchecked: bool,
    /// A token's use is marked at most this often, in seconds.
    pub last_used_seconds: u64,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { prefix: "amp_live_".into(), accept_unchecked: false, last_used_seconds: 60 }
    }
}

/// The in-process cache of tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Its bound, in bytes.
    pub max_bytes: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { max_bytes: 64 << 20 }
    }
}

/// Login sessions.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sessions {
    /// `TOKEN_TTL_SECONDS`: a session ends after this long without a check, 10 to 86,400.
    pub ttl_seconds: u32,
    /// `TOKEN_RENEW_THRESHOLD_SECONDS`: a check renews what was last renewed at least this long ago.
    pub renew_threshold_seconds: u32,
    /// A session ends after this long in any case.
    pub max_seconds: u32,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { ttl_seconds: 300, renew_threshold_seconds: 30, max_seconds: 12 * 3600 }
    }
}

/// Logins by password.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Login {
    /// Failures in a row after which a name is locked, 3 to 100; each further lock is longer.
    pub max_failures: u32,
    /// Failures from one address (of IPv6 its /64) within `lock_seconds` after which it has to wait.
    pub max_failures_per_address: u32,
    /// Seconds of the first lock, and of the window of an address, 1 to 86,400.
    pub lock_seconds: u32,
}

impl Default for Login {
    fn default() -> Self {
        Self { max_failures: 10, max_failures_per_address: 100, lock_seconds: 900 }
    }
}

/// The CLI login.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cli {
    /// Serve clients that know only `state`. Whoever learns a login's URL can then collect the credentials.
    pub allow_unbound_polling: bool,
    /// Seconds from start to credentials, 60 to 900.
    pub login_seconds: u64,
    /// The provider of a login that names none; empty: the first.
    pub default_provider: String,
    /// Days without use after which a device has to sign in again, 1 to 90.
    pub idle_days: u32,
    /// Days after which a device has to sign in again in any case, 1 to 365.
    pub max_days: u32,
}

impl Default for Cli {
    fn default() -> Self {
        Self {
            allow_unbound_polling: false,
            login_seconds: 300,
            default_provider: String::new(),
            idle_days: 30,
            max_days: 90,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub format: LogFormat,
    /// As `RUST_LOG` writes it: `info`, `authd=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human on a terminal, JSON elsewhere.
    Auto,
    Human,
    Json,
}

/// AWS Cognito, by the names that its console uses.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cognito {
    /// `NAME.auth.REGION.amazoncognito.com`, or a domain of your own.
    pub domain: String,
    pub client_id: String,
    #[serde(serialize_with = "redacted", skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// As registered with the app client. Empty: `/auth/cli/callback` below the public URL.
    pub redirect_uri: String,
    pub user_pool_id: String,
    /// Empty: what stands before the `_` of the pool id.
    pub region: String,
    /// Empty: `https://cognito-idp.{region}.amazonaws.com/{pool}`.
    pub issuer: String,
}

/// An OpenID provider that people sign in with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provider {
    /// How logins name it.
    pub name: String,
    /// Its `iss`, exactly; discovery is at `{issuer}/.well-known/openid-configuration`.
    pub issuer: String,
    pub client_id: String,
    #[serde(serialize_with = "redacted", skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// As registered there. Empty: `/auth/cli/callback` below the public URL.
    pub redirect_uri: String,
    /// Empty: `openid email profile`.
    pub scopes: Vec<String>,
    /// The claim that lists the person's groups; empty: `groups`.
    pub groups_claim: String,
    /// Endpoints, where discovery is not to be used.
    pub authorization_endpoint: String,
    pub token_endpoint: String,
    pub jwks_uri: String,
    /// The ID token must say `token_use=id`, as Cognito's does.
    pub require_token_use: bool,
}

/// What holds for every role.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Aws {
    /// `STS_ROLE_ARN`: the role named `default`.
    pub role_arn: String,
    /// `STS_EXTERNAL_ID`: the external id of that role.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "redacted")]
    pub external_id: Option<Secret>,
    /// Where STS is called; empty: as the AWS SDK finds it (`AWS_REGION`, its files, the instance).
    pub region: String,
}

/// An AWS role that a login can end in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// How logins name it.
    pub name: String,
    pub arn: String,
    #[serde(default)]
    pub method: RoleMethod,
    /// The trust policy's `sts:ExternalId`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "redacted")]
    pub external_id: Option<Secret>,
    /// Seconds that credentials live, 900 to 43,200; at most the role's own maximum.
    #[serde(default = "default_duration")]
    pub duration_seconds: u32,
    /// Who may use it: members of any of these groups. Empty: everybody who signs in.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Only people who signed in with one of these providers. Empty: any.
    #[serde(default)]
    pub providers: Vec<String>,
    /// Tell AWS who it is by session tags (the trust policy must allow `sts:TagSession`).
    #[serde(default)]
    pub session_tags: bool,
}

fn default_duration() -> u32 {
    3600
}

/// How credentials of a role are obtained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleMethod {
    /// authd's own AWS identity assumes the role.
    #[default]
    AssumeRole,
    /// The person's ID token does: the provider must be an identity provider of the AWS account.
    WebIdentity,
}

// serde hands the field by reference.
#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn redacted<S: Serializer>(_: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("[redacted]")
}

impl Config {
    /// Whether pages are served over TLS by whoever stands in front.
    pub fn is_public_https(&self) -> bool {
        self.server.public_url.starts_with("https://")
    }

    pub fn head_timeout(&self) -> Duration {
        Duration::from_secs(self.server.head_seconds)
    }

    pub fn socket_dir(&self) -> &Path {
        self.admin.socket.parent().unwrap_or(Path::new("/"))
    }
}
