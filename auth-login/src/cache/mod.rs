//! What this machine remembers of a sign-in: the session with its device token, and the AWS keys until they expire.
//!
//! One folder for its owner alone, one small JSON file a session, one for the keys of each of its roles. The device
//! token is in the session's file or in the keyring, as was chosen at the first sign-in. A new token is on disk
//! *before* the keys that came with it are used: authd takes the old one only until then.

pub mod credentials;
pub mod keyring;
pub mod lock;
pub mod session;

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

pub use credentials::Credentials;
pub use session::{PendingLogin, Session, TokenStore};

use crate::aws_files::ProfileName;
use crate::disk::{self, Look};
use crate::error::Error;

/// No file of ours comes near this.
const MAX_BYTES: u64 = 256 << 10;

/// Names a session on this machine: one for each server and profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    pub fn new(server: &str, profile: &ProfileName) -> Self {
        Self(fingerprint(&format!("{server}\n{profile}")))
    }
}

/// 128 bits in hex: a file name for any text.
fn fingerprint(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(16).fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// Opens the folder, making it if need be.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        for name in ["sessions", "credentials", "locks", "logins"] {
            let path = dir.join(name);
            disk::make_dir(&path).map_err(|error| Error::file("make the folder", &path, error))?;
        }
        Ok(Self { dir: dir.to_owned() })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn session_path(&self, key: &Key) -> PathBuf {
        self.dir.join("sessions").join(format!("{}.json", key.0))
    }

    fn credentials_path(&self, key: &Key, role: Option<&str>) -> PathBuf {
        let role = fingerprint(role.unwrap_or_default());
        self.dir.join("credentials").join(format!("{}-{role}.json", key.0))
    }

    fn login_path(&self, key: &Key) -> PathBuf {
        self.dir.join("logins").join(format!("{}.json", key.0))
    }

    /// The lock under which a session's token and keys change.
    pub fn session_lock(&self, key: &Key) -> Result<std::fs::File, Error> {
        self.lock(&format!("{}.session", key.0))
    }

    /// The lock that is held from opening the browser to the end of the sign-in.
    pub fn login_lock(&self, key: &Key) -> Result<std::fs::File, Error> {
        self.lock(&format!("{}.login", key.0))
    }

    fn lock(&self, name: &str) -> Result<std::fs::File, Error> {
        let path = self.dir.join("locks").join(name);
        lock::open(&path).map_err(|error| Error::file("make the lock", &path, error))
    }

    /// The session, with or without its token (see [`Session::token`]).
    pub fn find_session(&self, key: &Key) -> Result<Option<Session>, Error> {
        read(&self.session_path(key))
    }

    /// Stores the session; on disk, or in the keyring, when this returns.
    pub fn save_session(&self, key: &Key, session: &Session) -> Result<(), Error> {
        let record = session.stored_elsewhere()?;
        write(&self.session_path(key), record.as_ref().unwrap_or(session))
    }

    /// Forgets the session and every key that came from it.
    pub fn remove_session(&self, key: &Key, session: &Session) -> Result<(), Error> {
        let path = self.session_path(key);
        disk::remove(&path).map_err(|error| Error::file("remove", &path, error))?;
        self.remove_credentials(key)?;
        session.forget_token()
    }

    /// The keys for a role (`None`: the default one). Keys that cannot be read are keys that are not there.
    pub fn find_credentials(&self, key: &Key, role: Option<&str>) -> Option<Credentials> {
        read(&self.credentials_path(key, role)).ok().flatten()
    }

    pub fn save_credentials(&self, key: &Key, role: Option<&str>, credentials: &Credentials) -> Result<(), Error> {
        write(&self.credentials_path(key, role), credentials)
    }

    /// Every role's keys of a session.
    pub fn list_credentials(&self, key: &Key) -> Vec<Credentials> {
        self.credentials_paths(key).iter().filter_map(|path| read(path).ok().flatten()).collect()
    }

    fn remove_credentials(&self, key: &Key) -> Result<(), Error> {
        self.credentials_paths(key)
            .iter()
            .try_for_each(|path| disk::remove(path).map_err(|error| Error::file("remove", path, error)))
    }

    fn credentials_paths(&self, key: &Key) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir.join("credentials")).into_iter().flatten().flatten();
        let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&key.0));
        ours.map(|entry| entry.path()).collect()
    }

    /// What those who wait for somebody else's sign-in should know of it.
    pub fn find_login(&self, key: &Key) -> Option<PendingLogin> {
        read(&self.login_path(key)).ok().flatten()
    }

    pub fn save_login(&self, key: &Key, login: &PendingLogin) -> Result<(), Error> {
        write(&self.login_path(key), login)
    }

    pub fn remove_login(&self, key: &Key) {
        // It only informs; a stale one is overwritten by the next sign-in.
        let _ = disk::remove(&self.login_path(key));
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let Some(bytes) = disk::read(path, MAX_BYTES).map_err(|error| Error::file("read", path, error))? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        // The position says enough; the text around it may be a token.
        let (line, column) = (error.line(), error.column());
        Error::not_authenticated(format!(
            "cannot read {} (line {line}, column {column}); remove it and sign in again with: auth-login",
            path.display()
        ))
    })
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let bytes = serde_json::to_vec(value).map_err(|error| Error::file("write", path, error))?;
    disk::replace(path, &bytes, Look::PRIVATE).map_err(|error| Error::file("write", path, error))
}
