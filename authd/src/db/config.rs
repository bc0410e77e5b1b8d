//! Which database: its setting, and what it needs on this machine.

use std::path::{Path, PathBuf};
use std::{fmt, fs};

use serde::{Deserialize, Serialize};
use shared::secret::{Secret, redacted};

use super::postgres_url::{self, PostgresUrl};
use super::{postgres, sqlite_file};
use crate::setting::{Faults, check_folder};

/// The setting of the database's address.
const URL: &str = "database.url (DATABASE_URL)";
/// SQLite's file in the data directory.
const FILE: &str = "authd.db";

/// `[database]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `postgres://…`, or `sqlite:` with an optional path. Empty: `authd.db` in the data directory.
    #[serde(serialize_with = "redacted", skip_serializing_if = "Option::is_none")]
    pub url: Option<Secret>,
    /// Connections to PostgreSQL.
    pub max_connections: Option<usize>,
    pub checkpoints: Checkpoints,
}

/// Who copies SQLite's log into the file, and begins it anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checkpoints {
    /// authd.
    #[default]
    Own,
    /// A program that replicates the log, such as Litestream: authd does neither.
    External,
}

impl Config {
    /// The database's address. `data_dir` is the default directory of SQLite's file. The error does not quote the URL,
    /// which may contain a password.
    pub fn place(&self, data_dir: &Path) -> Result<DatabaseUrl, String> {
        let url = self.url.as_ref().map_or("sqlite:", Secret::expose);
        if postgres_url::strip_scheme(url).is_some() {
            return Ok(DatabaseUrl::Postgres(url.into()));
        }
        let path = match url.split_once(':') {
            Some((scheme, path)) if scheme.eq_ignore_ascii_case("sqlite") => path.strip_prefix("//").unwrap_or(path),
            _ => return Err(format!("{URL} must begin with sqlite: or postgres://")),
        };
        if path.contains('?') || path == ":memory:" {
            return Err(format!("{URL}: sqlite: takes a path and no parameters, because authd sets them itself"));
        }
        if path.ends_with('/') || Path::new(path).extension().is_some_and(|suffix| suffix == "lock") {
            return Err(format!("{URL}: sqlite: takes the path of a file, whose name does not end in .lock"));
        }
        Ok(DatabaseUrl::Sqlite(data_dir.join(if path.is_empty() { FILE } else { path })))
    }

    pub fn check(&self, data_dir: &Path, faults: &mut Faults) {
        match self.place(data_dir) {
            Err(fault) => faults.refuse(fault),
            Ok(DatabaseUrl::Sqlite(_)) => {}
            Ok(DatabaseUrl::Postgres(url)) => match PostgresUrl::parse(url.expose()) {
                Ok(url) => url.warning().into_iter().for_each(|warning| faults.warn(format!("{URL}: {warning}"))),
                Err(all) => all.into_iter().for_each(|fault| faults.refuse(format!("{URL}: {fault}"))),
            },
        }
        let connections = self.max_connections.is_none_or(|connections| (1..=10_000).contains(&connections));
        faults.require(connections, "database.max_connections must be from 1 to 10000");
    }

    /// Checks what the database needs on this machine: SQLite's file and folder, the root certificates for PostgreSQL.
    pub fn check_place(&self, data_dir: &Path, faults: &mut Faults) {
        let place = self.place(data_dir);
        let unused = data_dir.join(FILE);
        // Somebody may miss what it has.
        if matches!(place, Ok(DatabaseUrl::Postgres(_))) && fs::metadata(&unused).is_ok_and(|file| file.len() > 0) {
            faults.warn(format!(
                "{URL} names PostgreSQL, so {} is not used: what is in this SQLite database is not in PostgreSQL. To use it, \
                 remove DATABASE_URL; if nobody needs it any more, move it away",
                unused.display()
            ));
        }
        let mut refuse = |fault: String| faults.refuse(format!("{URL}: {fault}"));
        // Who can write the folder of a link can point it at another file.
        if let Ok(DatabaseUrl::Sqlite(path)) = &place
            && path.is_symlink()
            && let Some(folder) = path.parent()
        {
            check_folder(folder).err().into_iter().for_each(&mut refuse);
            if !path.exists() {
                refuse(format!("{} is a link to a file that does not exist", path.display()));
            }
        }
        match place.map(DatabaseUrl::resolved) {
            Ok(DatabaseUrl::Sqlite(path)) => match (sqlite_file::check(&path), path.parent()) {
                (Err(fault), _) => refuse(fault),
                // It may be misspelt, or on a disk that is not mounted.
                (Ok(()), Some(folder)) if folder != data_dir && !folder.exists() => {
                    faults.warn(format!("{URL}: {} does not exist; the start creates it, empty", folder.display()));
                }
                _ => {}
            },
            Ok(DatabaseUrl::Postgres(url)) => {
                let tls = PostgresUrl::parse(url.expose()).map(|url| url.tls);
                tls.ok().and_then(|tls| tls.connector().err()).into_iter().for_each(&mut refuse);
            }
            Err(_) => {}
        }
    }
}

/// The database's address.
#[derive(Clone, Debug)]
pub enum DatabaseUrl {
    Sqlite(PathBuf),
    Postgres(Secret),
}

impl DatabaseUrl {
    /// A SQLite file by its real path, so that what is checked is what is used, and two daemons that reach it by different
    /// links have one lock.
    #[must_use]
    pub fn resolved(self) -> Self {
        match self {
            Self::Sqlite(path) => Self::Sqlite(fs::canonicalize(&path).unwrap_or_else(|_| {
                let folder = path.parent().and_then(|folder| fs::canonicalize(folder).ok());
                folder.zip(path.file_name()).map_or(path.clone(), |(folder, name)| folder.join(name))
            })),
            url @ Self::Postgres(_) => url,
        }
    }
}

/// Without user, password and parameters.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => f.write_str(&postgres::place(url.expose())),
        }
    }
}
