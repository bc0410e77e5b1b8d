//! What this machine stores of a sign-in: the session with its device token, and the AWS keys until they expire.
//!
//! One folder for its owner only, with a small JSON file for each session and one for the keys of each role. The device
//! token is in the session's file or in the keyring, as chosen at the first sign-in. A new token is stored *before* the
//! keys that came with it are used: authd accepts the old one only until then.

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

use crate::api::End;
use crate::aws_files::ProfileName;
use crate::error::Error;

/// The largest file that is read, in bytes; our files are far smaller.
const MAX_BYTES: u64 = 256 << 10;

/// The stored data of one server and profile.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
    /// The prefix of its file names.
    key: String,
}

impl Cache {
    /// Opens the folder, and creates it if it is missing.
    pub fn open(dir: &Path, server: &str, profile: &ProfileName) -> Result<Self, Error> {
        for name in ["sessions", "credentials", "locks", "logins"] {
            let path = dir.join(name);
            disk::make_dir(&path).map_err(|error| Error::file("create the folder", &path, error))?;
        }
        Ok(Self { dir: dir.to_owned(), key: fingerprint(&format!("{server}\n{profile}")) })
    }

    /// Fails if the session or its keys could not be stored.
    pub fn check_writable(&self) -> Result<(), Error> {
        [self.session_path(), self.credentials_path(None), self.login_path()]
            .iter()
            .try_for_each(|path| disk::check_replaceable(path).map_err(|error| Error::file("write", path, error)))
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn path(&self, folder: &str, suffix: &str) -> PathBuf {
        self.dir.join(folder).join(format!("{}{suffix}", self.key))
    }

    fn session_path(&self) -> PathBuf {
        self.path("sessions", ".json")
    }

    fn credentials_path(&self, role: Option<&str>) -> PathBuf {
        self.path("credentials", &format!("-{}.json", fingerprint(role.unwrap_or_default())))
    }

    fn login_path(&self) -> PathBuf {
        self.path("logins", ".json")
    }

    /// The lock that guards changes of the session's token and keys.
    pub fn session_lock(&self) -> Result<std::fs::File, Error> {
        self.lock(".session")
    }

    /// The lock that is held from the start to the end of a sign-in.
    pub fn login_lock(&self) -> Result<std::fs::File, Error> {
        self.lock(".login")
    }

    /// The lock that the profile's agent holds.
    pub fn agent_lock(&self) -> Result<std::fs::File, Error> {
        self.lock(".agent")
    }

    /// Whether an agent keeps the profile's keys fresh.
    pub fn has_agent(&self) -> bool {
        self.agent_lock().is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
    }

    fn lock(&self, suffix: &str) -> Result<std::fs::File, Error> {
        let path = self.path("locks", suffix);
        lock::open(&path).map_err(|error| Error::file("create the lock", &path, error))
    }

    /// The session, with or without its token (see [`Session::token`]).
    pub fn find_session(&self) -> Result<Option<Session>, Error> {
        read(&self.session_path())
    }

    /// The sessions of every server and profile. Unreadable ones count as missing.
    pub fn list_sessions(&self) -> Vec<Session> {
        let entries = std::fs::read_dir(self.dir.join("sessions")).into_iter().flatten().flatten();
        let records =
            entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "json"));
        records.filter_map(|path| read(&path).ok().flatten()).collect()
    }

    /// Stores the session durably, on disk or in the keyring.
    pub fn save_session(&self, session: &Session) -> Result<(), Error> {
        remove(&self.end_path())?;
        let record = session.stored_elsewhere()?;
        write(&self.session_path(), record.as_ref().unwrap_or(session))
    }

    /// Removes the session and all its keys.
    pub fn remove_session(&self, session: &Session) -> Result<(), Error> {
        remove(&self.session_path())?;
        remove(&self.end_path())?;
        self.remove_credentials()?;
        session.forget_token()
    }

    /// Why the last session has ended, if authd ended it. It has no secrets.
    pub fn find_end(&self) -> Option<End> {
        read(&self.end_path()).ok().flatten()
    }

    pub fn save_end(&self, end: &End) -> Result<(), Error> {
        write(&self.end_path(), end)
    }

    fn end_path(&self) -> PathBuf {
        self.path("sessions", ".end")
    }

    /// The keys for a role (`None`: the default one). Unreadable keys count as missing.
    pub fn find_credentials(&self, role: Option<&str>) -> Option<Credentials> {
        read(&self.credentials_path(role)).ok().flatten()
    }

    pub fn save_credentials(&self, role: Option<&str>, credentials: &Credentials) -> Result<(), Error> {
        write(&self.credentials_path(role), credentials)
    }

    /// Every role's keys.
    pub fn list_credentials(&self) -> Vec<Credentials> {
        self.credentials_paths().filter_map(|path| read(&path).ok().flatten()).collect()
    }

    /// Removes the keys of every role.
    pub fn remove_credentials(&self) -> Result<(), Error> {
        self.credentials_paths().try_for_each(|path| remove(&path))
    }

    fn credentials_paths(&self) -> impl Iterator<Item = PathBuf> {
        let entries = std::fs::read_dir(self.dir.join("credentials")).into_iter().flatten().flatten();
        let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&self.key));
        ours.map(|entry| entry.path())
    }

    /// The pending sign-in of another process.
    pub fn find_login(&self) -> Option<PendingLogin> {
        read(&self.login_path()).ok().flatten()
    }

    pub fn save_login(&self, login: &PendingLogin) -> Result<(), Error> {
        write(&self.login_path(), login)
    }

    pub fn remove_login(&self) {
        // Errors are ignored: the note only informs, and the next sign-in overwrites a stale one.
        let _ = remove(&self.login_path());
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let Some(bytes) = disk::read(path, MAX_BYTES).map_err(|error| Error::file("read", path, error))? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        // Only the position is reported; the text around it may be a token.
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

fn remove(path: &Path) -> Result<(), Error> {
    disk::remove(path).map_err(|error| Error::file("remove", path, error))
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

    fn cache(dir: &Path, profile: &str) -> Cache {
        Cache::open(dir, "http://127.0.0.1:1", &ProfileName::parse(profile).unwrap()).unwrap()
    }

    #[test]
    fn a_session_is_private_and_goes_with_all_its_keys() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (cache(&dir.path().join("state"), "one"), cache(&dir.path().join("state"), "two"));
        one.save_session(&session("one")).unwrap();
        two.save_session(&session("two")).unwrap();
        one.save_credentials(None, &credentials("default")).unwrap();
        one.save_credentials(Some("admin"), &credentials("admin")).unwrap();
        two.save_credentials(None, &credentials("default")).unwrap();
        assert_eq!(one.find_session().unwrap(), Some(session("one")));
        assert_eq!(one.find_credentials(Some("admin")).unwrap().role, "admin");
        for path in [one.session_path(), one.credentials_path(None)] {
            assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o777, 0o600);
        }
        one.remove_session(&session("one")).unwrap();
        assert_eq!(one.find_session().unwrap(), None);
        assert_eq!(one.list_credentials().len(), 0);
        assert_eq!(two.list_credentials().len(), 1);
    }

    #[test]
    fn a_session_that_cannot_be_read_says_what_to_do_and_shows_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), "one");
        std::fs::write(cache.session_path(), "{\"token\": \"hunter2\", ").unwrap();
        let error = cache.find_session().unwrap_err().to_string();
        assert!(error.contains("auth-login") && !error.contains("hunter2"), "{error}");
    }
}
