//! What this machine remembers of a sign-in: the session with its device token, and the AWS keys until they expire.
//!
//! One folder for its owner alone, one small JSON file a session, one for the keys of each of its roles. The device
//! token is in the session's file or in the keyring, as was chosen at the first sign-in. A new token is on disk
//! *before* the keys that came with it are used: authd takes the old one only until then.

pub mod credentials;
pub mod lock;
pub mod session;

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared::disk::{self, fingerprint};

pub use credentials::Credentials;
pub use session::{KEYRING, PendingLogin, Session};
pub use shared::keyring::TokenStore;

use crate::aws_files::ProfileName;
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

    /// Forgets every role's keys of a session.
    pub fn remove_credentials(&self, key: &Key) -> Result<(), Error> {
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
    disk::replace_private(path, &bytes).map_err(|error| Error::file("write", path, error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use shared::secret::Secret;

    use super::*;

    fn session(profile: &str) -> Session {
        Session {
            server: "http://127.0.0.1:1".into(),
            profile: profile.into(),
            user: "alice".into(),
            role: None,
            provider: None,
            roles: Vec::new(),
            signed_in_at: 1,
            session_expires_at: 2,
            store: TokenStore::File,
            token: Some(Secret::new("t")),
        }
    }

    fn credentials(role: &str) -> Credentials {
        Credentials {
            access_key_id: "ASIA".into(),
            secret_access_key: Secret::new("s"),
            session_token: Secret::new("t"),
            expires_at: 2,
            obtained_at: 1,
            role: role.into(),
            role_arn: String::new(),
        }
    }

    fn key(profile: &str) -> Key {
        Key::new("http://127.0.0.1:1", &ProfileName::parse(profile).unwrap())
    }

    #[test]
    fn a_session_is_private_and_goes_with_all_its_keys() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("state")).unwrap();
        let (one, two) = (key("one"), key("two"));
        cache.save_session(&one, &session("one")).unwrap();
        cache.save_session(&two, &session("two")).unwrap();
        cache.save_credentials(&one, None, &credentials("default")).unwrap();
        cache.save_credentials(&one, Some("admin"), &credentials("admin")).unwrap();
        cache.save_credentials(&two, None, &credentials("default")).unwrap();
        assert_eq!(cache.find_session(&one).unwrap(), Some(session("one")));
        assert_eq!(cache.find_credentials(&one, Some("admin")).unwrap().role, "admin");
        for path in [cache.session_path(&one), cache.credentials_path(&one, None)] {
            assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o777, 0o600);
        }
        cache.remove_session(&one, &session("one")).unwrap();
        assert_eq!(cache.find_session(&one).unwrap(), None);
        assert_eq!(cache.list_credentials(&one).len(), 0);
        assert_eq!(cache.list_credentials(&two).len(), 1);
    }

    #[test]
    fn a_session_that_cannot_be_read_says_what_to_do_and_shows_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let key = key("one");
        std::fs::write(cache.session_path(&key), "{\"token\": \"hunter2\", ").unwrap();
        let error = cache.find_session(&key).unwrap_err().to_string();
        assert!(error.contains("auth-login") && !error.contains("hunter2"), "{error}");
    }
}
