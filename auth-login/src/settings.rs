//! `$XDG_CONFIG_HOME/auth-login/config.toml`: settings of the person, and choices saved at the first sign-in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use shared::disk;
use toml_edit::{DocumentMut, Item, Table, value};

use crate::aws_files::ProfileName;
use crate::cache::{TokenStore, lock};
use crate::error::Error;

const MAX_BYTES: u64 = 256 << 10;

/// The file's content.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The server if neither flag, environment nor profile names one.
    pub server: Option<String>,
    /// Where device tokens are stored.
    pub token_store: Option<TokenStore>,
    /// Settings of one profile.
    #[serde(default)]
    pub profiles: BTreeMap<String, ProfileSettings>,
    #[serde(skip)]
    path: PathBuf,
}

/// The choices of a profile's sign-in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileSettings {
    pub server: Option<String>,
    pub role: Option<String>,
    pub provider: Option<String>,
    /// Who signed in last, as the server reports.
    pub user: Option<String>,
}

impl Settings {
    /// Reads the file; a missing file is empty.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = read_text(path)?;
        let settings: Self = toml::from_str(&text).map_err(|error| {
            Error::usage(format!("{} cannot be used: {}", path.display(), error.to_string().trim()))
        })?;
        Ok(Self { path: path.to_owned(), ..settings })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn profile(&self, name: &ProfileName) -> ProfileSettings {
        self.profiles.get(name.as_str()).cloned().unwrap_or_default()
    }

    /// Saves where device tokens are stored.
    pub fn remember_token_store(&self, store: TokenStore) -> Result<(), Error> {
        if self.token_store == Some(store) {
            return Ok(());
        }
        self.change(|document| {
            let name = match store {
                TokenStore::Keyring => "keyring",
                TokenStore::File => "file",
            };
            document["token_store"] = value(name);
        })
    }

    /// Saves the choices of a profile's sign-in; the first server becomes the default.
    pub fn remember_profile(&self, name: &ProfileName, profile: &ProfileSettings) -> Result<(), Error> {
        if self.server.is_some() && self.profile(name) == *profile {
            return Ok(());
        }
        self.change(|document| {
            if let (false, Some(server)) = (document.contains_key("server"), &profile.server) {
                document["server"] = value(server);
            }
            let profiles = document.entry("profiles").or_insert_with(|| {
                let mut table = Table::new();
                table.set_implicit(true);
                Item::Table(table)
            });
            let mut table = Table::new();
            for (key, text) in [
                ("server", &profile.server),
                ("role", &profile.role),
                ("provider", &profile.provider),
                ("user", &profile.user),
            ] {
                if let Some(text) = text {
                    table[key] = value(text);
                }
            }
            if let Some(profiles) = profiles.as_table_like_mut() {
                profiles.insert(name.as_str(), Item::Table(table));
            }
        })
    }

    /// Changes the file as it is now, which other processes may have changed since it was read.
    fn change(&self, change: impl FnOnce(&mut DocumentMut)) -> Result<(), Error> {
        let path = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let _lock = lock::beside(&path)?;
        let mut document: DocumentMut = read_text(&path)?.parse().map_err(|error| Error::file("read", &path, error))?;
        change(&mut document);
        disk::replace(&path, document.to_string().as_bytes()).map_err(|error| Error::file("write", &path, error))
    }
}

fn read_text(path: &Path) -> Result<String, Error> {
    let bytes = disk::read(path, MAX_BYTES).map_err(|error| Error::file("read", path, error))?.unwrap_or_default();
    String::from_utf8(bytes).map_err(|_| Error::file("read", path, "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_remembered_is_read_and_comments_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/config.toml");
        let name = ProfileName::parse("team/dev").unwrap();
        let profile = ProfileSettings {
            server: Some("https://a.test".into()),
            role: Some("dev".into()),
            provider: None,
            user: Some("ada@example.test".into()),
        };
        Settings::read(&path).unwrap().remember_token_store(TokenStore::File).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("# mine\n{text}")).unwrap();
        Settings::read(&path).unwrap().remember_profile(&name, &profile).unwrap();
        let settings = Settings::read(&path).unwrap();
        assert_eq!(settings.token_store, Some(TokenStore::File));
        assert_eq!(settings.server.as_deref(), Some("https://a.test"));
        assert_eq!(settings.profile(&name), profile);
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("# mine\n"));
    }

    #[test]
    fn what_others_saved_since_the_file_was_read_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        let names: Vec<String> = (0..28).map(|number| format!("p{number}")).collect();
        // Each has read the file before any of them changes it.
        let read: Vec<_> = names.iter().map(|name| (name, Settings::read(&path).unwrap())).collect();
        std::thread::scope(|scope| {
            for (name, settings) in &read {
                scope.spawn(move || {
                    let server = Some(format!("https://{name}.test"));
                    let profile = ProfileSettings { server, ..ProfileSettings::default() };
                    settings.remember_profile(&ProfileName::parse(name).unwrap(), &profile).unwrap();
                });
            }
        });
        let settings = Settings::read(&path).unwrap();
        assert_eq!(settings.profiles.len(), names.len());
        let first = settings.server.clone();
        let later = ProfileSettings { server: Some("https://later.test".into()), ..ProfileSettings::default() };
        read[0].1.remember_profile(&ProfileName::parse("later").unwrap(), &later).unwrap();
        assert_eq!(Settings::read(&path).unwrap().server, first);
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, "sever = 'x'\n").unwrap();
        let error = Settings::read(&path).unwrap_err().to_string();
        assert!(error.contains("sever") && error.contains("server"), "{error}");
    }
}
