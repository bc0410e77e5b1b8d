//! Stored sessions of `authctl login`: for each server one small file for its owner alone, in
//! `$XDG_STATE_HOME/authctl`. The session's token is in that file or in the keyring; each sign-in prints which.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shared::client::Endpoint;
use shared::disk;
use shared::keyring::{Keyring, TokenStore};
use shared::paths::xdg_dir;
use shared::secret::Secret;

use crate::Io;
use crate::error::Error;

pub(crate) const KEYRING: Keyring = Keyring::of("authctl");
/// The largest file that is read, in bytes; our files are far smaller.
const MAX_BYTES: u64 = 64 << 10;

/// A session at one server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredSession {
    pub server: String,
    /// Who signed in.
    pub user: String,
    pub store: TokenStore,
    /// The session's token, unless the keyring has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
}

impl StoredSession {
    /// The session's token, from the file or the keyring; `None` if it is in neither.
    pub(crate) fn token(&self) -> Result<Option<Secret>, Error> {
        if self.token.is_some() || self.store == TokenStore::File {
            return Ok(self.token.clone());
        }
        KEYRING.find(&self.server).map_err(|problem| {
            Error::NotAuthenticated(format!(
                "the token of your session at {} is in the keyring, and {problem}. Unlock it and try again, or keep \
                 the token in a file: authctl login --server {} --token-store file",
                self.server, self.server
            ))
        })
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// `None` without a home.
    pub(crate) fn find(io: &Io<'_>) -> Option<Self> {
        let state = xdg_dir(|name| (io.env)(name).map(Into::into), "XDG_STATE_HOME", ".local/state")?;
        Some(Self(state.join("authctl")))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    fn file(&self, server: &str) -> PathBuf {
        self.0.join(format!("{}.json", disk::fingerprint(server)))
    }

    /// The session at a server; `None` when there is none.
    pub(crate) fn session(&self, server: &str) -> Result<Option<StoredSession>, Error> {
        let path = self.file(server);
        let advice = format!("remove the file and sign in again: authctl login --server {server}");
        let read = disk::read(&path, MAX_BYTES).map_err(|error| failed("read", &path, error))?;
        let Some(bytes) = read else { return Ok(None) };
        // The parser's error is not shown: it may quote the token.
        let stored: StoredSession = serde_json::from_slice(&bytes)
            .map_err(|_| Error::NotAuthenticated(format!("{} is not a session file; {advice}", path.display())))?;
        Ok(Some(stored).filter(|stored| stored.server == server))
    }

    /// Stores a session durably, on disk or in the keyring.
    pub(crate) fn save(&self, mut session: StoredSession) -> Result<(), Error> {
        let path = self.file(&session.server);
        disk::make_dir(&self.0).map_err(|error| failed("create the folder", &self.0, error))?;
        if session.store == TokenStore::Keyring
            && let Some(token) = session.token.take()
        {
            KEYRING.save(&session.server, &token).map_err(|problem| {
                Error::Refused(format!(
                    "the session's token cannot be stored in the keyring: {problem}. Keep it in a file: --token-store file"
                ))
            })?;
        }
        let bytes = serde_json::to_vec(&session).map_err(|error| failed("write", &path, error.into()))?;
        disk::replace_private(&path, &bytes).map_err(|error| failed("write", &path, error))
    }

    /// Removes a session: its file first, so that nothing uses it any more.
    pub(crate) fn remove(&self, session: &StoredSession) -> Result<(), Error> {
        let path = self.file(&session.server);
        disk::remove(&path).map_err(|error| failed("remove", &path, error))?;
        if session.store == TokenStore::Keyring {
            let left = |problem| Error::Refused(format!("the session's token is still in the keyring: {problem}"));
            KEYRING.remove(&session.server).map_err(left)?;
        }
        Ok(())
    }
}

fn failed(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::Refused(format!("cannot {what} {}: {error}", path.display()))
}

/// The name of a server on this machine: upper and lower case in its host are the same.
pub(crate) fn name(server: &Endpoint) -> String {
    let text = server.to_string();
    let path = text.match_indices('/').nth(2).map_or(text.len(), |(at, _)| at);
    let (host, path) = text.split_at(path);
    host.to_ascii_lowercase() + path
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn stored(server: &str) -> StoredSession {
        let (server, user) = (server.to_owned(), "alice".to_owned());
        StoredSession { server, user, store: TokenStore::File, token: Some(Secret::new("t0ken")) }
    }

    #[test]
    fn a_session_is_private_and_for_one_server() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder(dir.path().join("authctl"));
        assert!(folder.session("http://a").unwrap().is_none());
        folder.save(stored("http://a")).unwrap();
        assert_eq!(folder.session("http://a").unwrap().unwrap().token().unwrap(), Some(Secret::new("t0ken")));
        assert!(folder.session("http://b").unwrap().is_none());
        assert_eq!(std::fs::metadata(folder.file("http://a")).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(folder.path()).unwrap().mode() & 0o777, 0o700);
        folder.remove(&stored("http://a")).unwrap();
        assert!(folder.session("http://a").unwrap().is_none());
    }

    #[test]
    fn a_file_that_cannot_be_read_says_what_to_do_and_shows_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder(dir.path().to_owned());
        std::fs::write(folder.file("http://a"), "{\"token\": \"hunter2\", ").unwrap();
        let error = format!("{:?}", folder.session("http://a").unwrap_err());
        assert!(error.contains("authctl login --server http://a") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn the_host_is_named_without_regard_to_case() {
        let named = |text: &str| name(&Endpoint::url(text).unwrap());
        assert_eq!(named("https://Auth.Example.test/Base/"), "https://auth.example.test/Base");
        assert_eq!(named("http://127.0.0.1:8080"), "http://127.0.0.1:8080");
    }
}
