//! Configuration: flags > environment > file > defaults, into one typed value that the rest of the daemon trusts.
//!
//! The file is TOML; every environment variable is a line of [`source::VARIABLES`] that names the key it sets, so the
//! two cannot drift apart. Secrets are also read from `<VARIABLE>_FILE` and from systemd credentials. Unknown keys
//! are errors that name the nearest known one.

mod source;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize, Serializer};
use shared::op::Permission;
use shared::paths;
use shared::secret::Secret;

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

/// Where rows are kept.
#[derive(Clone, Debug)]
pub enum DatabaseUrl {
    Sqlite(PathBuf),
    Postgres(Secret),
}

impl Config {
    /// Fills in what follows from other settings and refuses what cannot work.
    fn finish(mut self) -> Result<Self, ConfigError> {
        if self.data_dir.as_os_str().is_empty() {
            self.data_dir = paths::data_dir().ok_or_else(|| {
                ConfigError("there is no HOME to put the data directory in: set AUTHD_DATA_DIR".into())
            })?;
        }
        if self.admin.socket.as_os_str().is_empty() {
            self.admin.socket = paths::admin_socket(&self.data_dir);
        }
        if self.server.public_url.is_empty() {
            self.server.public_url = format!("http://{}", self.server.addr);
        }
        self.server.public_url = url("server.public_url", &self.server.public_url)?;
        if self.server.max_connections == 0 || self.server.max_body < 1024 {
            return refuse("server.max_connections must be at least 1 and server.max_body at least 1024 bytes");
        }
        self.check_tokens()?;
        self.check_peers()?;
        self.finish_providers()?;
        self.finish_roles()?;
        if !(60..=900).contains(&self.cli.login_seconds) {
            return refuse("cli.login_seconds must be from 60 to 900");
        }
        if !(1..=90).contains(&self.cli.idle_days) || !(1..=365).contains(&self.cli.max_days) {
            return refuse("cli.idle_days must be from 1 to 90 and cli.max_days from 1 to 365");
        }
        self.database_url()?;
        Ok(self)
    }

    fn check_tokens(&self) -> Result<(), ConfigError> {
        let prefix = &self.tokens.prefix;
        if prefix.is_empty() || prefix.len() > 32 || !prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return refuse("tokens.prefix (TOKEN_PREFIX) must be 1 to 32 letters, digits or underscores");
        }
        if self.admin.token.as_ref().is_some_and(|token| token.expose().len() < 16) {
            return refuse("admin.token (ADMIN_TOKEN) must have at least 16 characters; try: openssl rand -hex 32");
        }
        Ok(())
    }

    fn check_peers(&self) -> Result<(), ConfigError> {
        for peer in &self.admin.peers {
            if peer.user.is_some() == peer.group.is_some() {
                return refuse("each [[admin.peer]] names either a user or a group");
            }
            if let Some(unknown) = peer.permissions.iter().find(|name| Permission::parse(name).is_none()) {
                let known: Vec<&str> = Permission::ALL.iter().map(|permission| permission.as_str()).collect();
                return refuse(format!(
                    "[[admin.peer]]: no permission is named {unknown:?}; there are {}",
                    known.join(", ")
                ));
            }
        }
        Ok(())
    }

    fn finish_providers(&mut self) -> Result<(), ConfigError> {
        if let Some(cognito) = self.cognito.clone() {
            self.providers.insert(0, cognito.into_provider()?);
        }
        let callback = format!("{}/auth/cli/callback", self.server.public_url);
        for index in 0..self.providers.len() {
            let (before, rest) = self.providers.split_at_mut(index);
            let provider = &mut rest[0];
            let name = provider.name.clone();
            if name.is_empty() || name.len() > 32 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                return refuse(format!("[[provider]]: the name {name:?} must be 1 to 32 letters, digits or hyphens"));
            }
            if shared::api::operations().any(|info| info.path.split('/').nth(2) == Some(&name)) {
                return refuse(format!("[[provider]]: {name:?} is a path of authd itself; choose another name"));
            }
            if before.iter().any(|other| other.name == name) {
                return refuse(format!("[[provider]]: two providers are named {name:?}"));
            }
            if provider.client_id.is_empty() {
                return refuse(format!("provider {name}: client_id is missing"));
            }
            // Some issuers end in a slash, and `iss` is compared exactly.
            let slash = if provider.issuer.ends_with('/') { "/" } else { "" };
            provider.issuer = url(&format!("provider {name}: issuer"), &provider.issuer)? + slash;
            if provider.redirect_uri.is_empty() {
                provider.redirect_uri.clone_from(&callback);
            }
            if provider.scopes.is_empty() {
                provider.scopes = ["openid", "email", "profile"].map(str::to_owned).to_vec();
            }
            if provider.groups_claim.is_empty() {
                provider.groups_claim = "groups".into();
            }
        }
        let default = &self.cli.default_provider;
        if !default.is_empty() && !self.providers.iter().any(|provider| provider.name == *default) {
            return refuse(format!("cli.default_provider: no provider is named {default:?}"));
        }
        Ok(())
    }

    fn finish_roles(&mut self) -> Result<(), ConfigError> {
        if !self.aws.role_arn.is_empty() {
            self.roles.insert(
                0,
                Role {
                    name: "default".into(),
                    arn: self.aws.role_arn.clone(),
                    method: RoleMethod::AssumeRole,
                    external_id: self.aws.external_id.clone(),
                    duration_seconds: default_duration(),
                    groups: Vec::new(),
                    providers: Vec::new(),
                    session_tags: false,
                },
            );
        }
        for (index, role) in self.roles.iter().enumerate() {
            let name = &role.name;
            if name.is_empty() || name.len() > 64 || self.roles[..index].iter().any(|other| other.name == *name) {
                return refuse(format!("[[role]]: the name {name:?} must be unique, with 1 to 64 characters"));
            }
            if !(role.arn.starts_with("arn:aws") && role.arn.contains(":iam::") && role.arn.contains(":role/")) {
                return refuse(format!(
                    "role {name}: {:?} is not the ARN of a role (arn:aws:iam::ACCOUNT:role/NAME)",
                    role.arn
                ));
            }
            if !(900..=43_200).contains(&role.duration_seconds) {
                return refuse(format!("role {name}: duration_seconds must be from 900 to 43200"));
            }
            if let Some(provider) = role.providers.iter().find(|name| !self.providers.iter().any(|p| p.name == **name))
            {
                return refuse(format!("role {name}: no provider is named {provider:?}"));
            }
            if role.method == RoleMethod::WebIdentity && (role.external_id.is_some() || role.session_tags) {
                return refuse(format!(
                    "role {name}: AssumeRoleWithWebIdentity takes neither an external id nor session tags"
                ));
            }
        }
        Ok(())
    }

    /// Where rows are kept.
    pub fn database_url(&self) -> Result<DatabaseUrl, ConfigError> {
        let Some(url) = &self.database.url else {
            return Ok(DatabaseUrl::Sqlite(self.data_dir.join("authd.db")));
        };
        let text = url.expose();
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(DatabaseUrl::Postgres(url.clone()));
        }
        match text.strip_prefix("sqlite:") {
            Some("") => Ok(DatabaseUrl::Sqlite(self.data_dir.join("authd.db"))),
            Some(path) => Ok(DatabaseUrl::Sqlite(self.data_dir.join(path.strip_prefix("//").unwrap_or(path)))),
            None => refuse("database.url (DATABASE_URL) must begin with sqlite: or postgres://"),
        }
    }

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

impl Cognito {
    fn into_provider(self) -> Result<Provider, ConfigError> {
        for (value, name) in [
            (&self.domain, "COGNITO_DOMAIN"),
            (&self.client_id, "COGNITO_CLIENT_ID"),
            (&self.user_pool_id, "COGNITO_USER_POOL_ID"),
        ] {
            if value.is_empty() {
                return refuse(format!("the provider cognito also needs {name}"));
            }
        }
        let region = match self.region.as_str() {
            "" => self.user_pool_id.split('_').next().unwrap_or_default(),
            region => region,
        };
        let issuer = match self.issuer.as_str() {
            "" => format!("https://cognito-idp.{region}.amazonaws.com/{}", self.user_pool_id),
            issuer => issuer.trim_end_matches('/').to_owned(),
        };
        let domain = if self.domain.contains("://") { self.domain } else { format!("https://{}", self.domain) };
        let domain = url("COGNITO_DOMAIN", &domain)?;
        Ok(Provider {
            name: "cognito".into(),
            client_id: self.client_id,
            client_secret: self.client_secret,
            redirect_uri: self.redirect_uri,
            scopes: Vec::new(),
            groups_claim: "cognito:groups".into(),
            authorization_endpoint: format!("{domain}/oauth2/authorize"),
            token_endpoint: format!("{domain}/oauth2/token"),
            jwks_uri: format!("{issuer}/.well-known/jwks.json"),
            require_token_use: true,
            issuer,
        })
    }
}

/// An absolute http(s) URL without a trailing slash, a query or a fragment.
fn url(what: &str, text: &str) -> Result<String, ConfigError> {
    let trimmed = text.trim_end_matches('/');
    let parsed: Result<http::Uri, _> = trimmed.parse();
    match parsed {
        Ok(uri)
            if matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
                && uri.query().is_none()
                && !trimmed.contains('#') =>
        {
            Ok(trimmed.to_owned())
        }
        _ => refuse(format!("{what}: {text:?} is not a URL of the form https://HOST")),
    }
}
