//! Configuration: flags > environment > file > defaults, merged into one typed and validated value.
//!
//! The file is TOML; every environment variable is a line of `VARIABLES` in source.rs that names the key it sets, so the
//! two cannot drift apart. Secrets are also read from `<VARIABLE>_FILE` and from systemd credentials. Unknown keys
//! are errors that name the nearest known one.

mod check;
#[cfg(test)]
mod fault_tests;
mod source;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tracing::Level;
use tracing_subscriber::filter::Targets;

pub use self::source::{Environment, Sources, environment};
use crate::{
    accounts, aws, cache, cli_login, db, ephemeral, files, forward_auth, keys, mail, oidc_client, sessions, tokens,
    transport, web_login,
};

/// The faults of the configuration, for the person who wrote it: one a line.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

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
    pub accounts: accounts::SignUpConfig,
    pub web: web_login::Config,
    pub passkeys: accounts::PasskeyConfig,
    pub cli: cli_login::Config,
    pub local: cli_login::local::Config,
    pub mail: mail::Config,
    pub files: files::Config,
    pub log: Log,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cognito: Option<oidc_client::Cognito>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub google: Option<oidc_client::Google>,
    /// OpenID providers. The Cognito settings become the first one, named `cognito`, and those of Google the last one, named
    /// `google`.
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

impl Log {
    /// The filter of the log.
    ///
    /// Not `EnvFilter`: its regular expressions take half a megabyte of an idle daemon's memory.
    pub fn filter(&self) -> Result<Targets, String> {
        let name = format!("log.level (AUTHD_LOG): {:?}", self.level);
        let form = "use error, warn, info, debug or trace, or several such as info,authd=debug";
        let filter: Targets = self.level.trim().parse().map_err(|_| format!("{name} is not a level; {form}"))?;
        // A misspelt level is read as the name of a target, and switches off everything else.
        let mut directives = self.level.split(',').map(|directive| directive.trim().to_ascii_lowercase());
        let is_meant = directives
            .any(|directive| matches!(directive.as_str(), "off" | "authd=off") || directive.starts_with("authd::"));
        if !is_meant && !filter.would_enable("authd", &Level::ERROR) {
            return Err(format!("{name} would log nothing of authd, not even errors; {form}, or off to mean it"));
        }
        Ok(filter)
    }
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
