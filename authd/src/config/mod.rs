//! Configuration: flags > environment > file > defaults, merged into one typed and validated value.
//!
//! The file is TOML; every environment variable is a line of `VARIABLES` in source.rs that names the key it sets, so the
//! two cannot drift apart. Secrets are also read from `<VARIABLE>_FILE` and from systemd credentials. Unknown keys
//! are errors that name the nearest known one.

mod check;
mod source;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::source::{Environment, Sources};
use crate::{
    accounts, aws, cache, cli_login, db, ephemeral, forward_auth, keys, oidc_client, sessions, tokens, transport,
};

/// An error in the configuration, for the person who wrote it.
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
    /// The directory of the SQLite file and the root key.
    pub data_dir: PathBuf,
    /// `--new-database`, for one start: a missing or empty database is meant.
    #[serde(skip)]
    pub new_database: bool,
    pub server: transport::Config,
    pub admin: transport::Admin,
    pub database: db::Config,
    pub redis: ephemeral::Config,
    pub keys: keys::Config,
    pub tokens: tokens::Config,
    pub cache: cache::Config,
    pub sessions: sessions::Config,
    pub login: accounts::Config,
    pub cli: cli_login::Config,
    pub log: Log,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cognito: Option<oidc_client::Cognito>,
    /// OpenID providers. The Cognito settings become the first one, named `cognito`.
    #[serde(rename = "provider")]
    pub providers: Vec<oidc_client::Config>,
    pub aws: aws::Config,
    /// AWS roles, in order of preference. `STS_ROLE_ARN` becomes the first one, named `default`.
    #[serde(rename = "role")]
    pub roles: Vec<aws::Role>,
    /// The policies of `/auth/forward/{policy}`.
    #[serde(rename = "policy")]
    pub policies: Vec<forward_auth::Policy>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub format: LogFormat,
    /// In the syntax of `RUST_LOG`: `info`, `authd=debug`.
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
    /// Text on a terminal, JSON elsewhere.
    Auto,
    Human,
    Json,
}
