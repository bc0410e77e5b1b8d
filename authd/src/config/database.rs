//! Where rows are kept.

use std::path::PathBuf;

use shared::secret::Secret;

use super::{Config, ConfigError, refuse};

/// Where rows are kept.
#[derive(Clone, Debug)]
pub enum DatabaseUrl {
    Sqlite(PathBuf),
    Postgres(Secret),
}

impl Config {
    /// Whether other nodes may change the same rows.
    pub fn is_shared(&self) -> bool {
        matches!(self.database_url(), Ok(DatabaseUrl::Postgres(_)))
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
}
