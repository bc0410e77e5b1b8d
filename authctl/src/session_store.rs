//! Stored sessions of `authctl login`: small files for their owner alone, in `$XDG_STATE_HOME/authctl`. The session's token
//! is in that file or in the keyring; each sign-in prints which. Commands that name no server use the one of the last
//! sign-in.
//!
//! The last session at a server has a file, and a name in the keyring, that only the server decides, as in earlier
//! releases. The sessions of other users there are set aside, under names that the user decides too.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shared::client::Endpoint;
use shared::disk;
use shared::keyring::{Keyring, TokenStore};
use shared::names;
use shared::paths::xdg_dir;
use shared::secret::Secret;
use shared::time::Time;

use crate::Io;
use crate::error::Error;

pub(crate) const KEYRING: Keyring = Keyring::of("authctl");
/// The largest file that is read, in bytes; our files are far smaller.
const MAX_BYTES: u64 = 64 << 10;

/// A session of a user at one server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredSession {
    pub server: String,
    /// Who signed in.
    pub user: String,
    pub store: TokenStore,
    /// The session's token, unless the keyring has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// When the user signed in, in milliseconds since 1970: of several sessions the last one is meant. 0 in the file of an
    /// earlier release, which commands had to name the server for.
    #[serde(default)]
    pub signed_in_at: i64,
    /// The name in the keyring of a session that is set aside; the server is the name of the other one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyring: Option<String>,
    /// The file that it was read from.
    #[serde(skip)]
    path: PathBuf,
}

impl StoredSession {
    pub(crate) fn new(server: &str, user: &str, token: Secret, store: TokenStore, now: Time) -> Self {
        Self {
            server: server.to_owned(),
            user: user.to_owned(),
            store,
            token: Some(token),
            signed_in_at: now.millis(),
            keyring: None,
            path: PathBuf::new(),
        }
    }

    /// The name in the keyring.
    fn keyring(&self) -> &str {
        self.keyring.as_deref().unwrap_or(&self.server)
    }

    /// Whether it is not the last session at its server.
    fn is_aside(&self) -> bool {
        self.keyring.is_some()
    }

    /// Whether it is the session of this user, in any spelling.
    pub(crate) fn is_of(&self, user: &str) -> bool {
        names::fold(&self.user) == names::fold(user)
    }

    /// The session's token, from the file or the keyring; `None` if it is in neither.
    pub(crate) fn token(&self) -> Result<Option<Secret>, Error> {
        if self.token.is_some() || self.store == TokenStore::File {
            return Ok(self.token.clone());
        }
        KEYRING.find(self.keyring()).map_err(|problem| {
            Error::NotAuthenticated(format!(
                "the token of your session at {} is in the keyring, and {problem}. Unlock it and try again, or keep \
                 the token in a file: authctl login --server {} --token-store file",
                self.server, self.server
            ))
        })
    }

    /// Removes a session that was read: its file first, so that nothing uses it any more.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        disk::remove(&self.path).map_err(|error| failed("remove", &self.path, error))?;
        if self.store == TokenStore::Keyring {
            let left = |problem| Error::Refused(format!("the session's token is still in the keyring: {problem}"));
            KEYRING.remove(self.keyring()).map_err(left)?;
        }
        Ok(())
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

    fn file(&self, session: &StoredSession) -> PathBuf {
        let StoredSession { server, user, .. } = session;
        let key = if session.is_aside() { format!("{server}\n{}", names::fold(user)) } else { server.clone() };
        self.0.join(format!("{}.json", disk::fingerprint(&key)))
    }

    /// The sessions at a server, the last sign-in first. A file that cannot be read is an error only if there is none.
    pub(crate) fn sessions(&self, server: &str) -> Result<Vec<StoredSession>, Error> {
        let (mut found, unreadable) = self.read_all()?;
        found.retain(|session| session.server == server);
        if let (true, Some(path)) = (found.is_empty(), unreadable) {
            let advice = format!("remove the file and sign in again: authctl login --server {server}");
            return Err(Error::NotAuthenticated(format!("{} is not a session file; {advice}", path.display())));
        }
        Ok(found)
    }

    /// Every session, the last sign-in first, and a file that is none.
    fn read_all(&self) -> Result<(Vec<StoredSession>, Option<PathBuf>), Error> {
        let (mut found, mut unreadable) = (Vec::new(), None);
        for path in self.files().map_err(|error| failed("read", &self.0, error))? {
            let read = disk::read(&path, MAX_BYTES).map_err(|error| failed("read", &path, error))?;
            // Another process has removed it meanwhile.
            let Some(bytes) = read else { continue };
            match serde_json::from_slice::<StoredSession>(&bytes) {
                Ok(session) => found.push(StoredSession { path, ..session }),
                // The parser's error is not shown: it may quote the token.
                Err(_) => unreadable = Some(path),
            }
        }
        found.sort_by_key(|session| std::cmp::Reverse(session.signed_in_at));
        Ok((found, unreadable))
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match std::fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
        Ok(paths?.into_iter().filter(|path| path.extension().is_some_and(|suffix| suffix == "json")).collect())
    }

    /// The session at a server: of this user, or of the last one who signed in. `None` when there is none.
    pub(crate) fn session(&self, server: &str, user: Option<&str>) -> Result<Option<StoredSession>, Error> {
        let sessions = self.sessions(server)?;
        let Some(user) = user else { return Ok(sessions.into_iter().next()) };
        let others: Vec<String> = sessions.iter().map(|session| session.user.clone()).collect();
        let found = sessions.into_iter().find(|session| session.is_of(user));
        found.map(Some).ok_or_else(|| {
            let others = if others.is_empty() { "nobody".to_owned() } else { others.join(", ") };
            let advice = format!("run authctl login --server {server} --user {user}");
            Error::NotAuthenticated(format!("{user} is not signed in to {server} ({others} is); {advice}"))
        })
    }

    /// The last sign-in anywhere, whose server commands use that name none.
    pub(crate) fn last(&self) -> Option<StoredSession> {
        let (sessions, _) = self.read_all().ok()?;
        sessions.into_iter().next().filter(|last| last.signed_in_at > 0)
    }

    /// Makes room for the session of another user, which becomes the last one at the server.
    pub(crate) fn set_aside(&self, session: &StoredSession) -> Result<(), Error> {
        let token = session.token()?;
        if session.is_aside() || token.is_none() {
            return Ok(());
        }
        let keyring = Some(format!("{} at {}", session.user, session.server));
        self.save(StoredSession { token, keyring, ..session.clone() })?;
        if session.store == TokenStore::Keyring {
            // The other session's token takes its place there, or is in a file.
            KEYRING.remove(session.keyring()).ok();
        }
        Ok(())
    }

    /// Stores a session durably, on disk or in the keyring.
    pub(crate) fn save(&self, mut session: StoredSession) -> Result<(), Error> {
        let path = self.file(&session);
        disk::make_dir(&self.0).map_err(|error| failed("create the folder", &self.0, error))?;
        if session.store == TokenStore::Keyring
            && let Some(token) = session.token.take()
        {
            KEYRING.save(session.keyring(), &token).map_err(|problem| {
                Error::Refused(format!(
                    "the session's token cannot be stored in the keyring: {problem}. Keep it in a file: --token-store file"
                ))
            })?;
        }
        let bytes = serde_json::to_vec(&session).map_err(|error| failed("write", &path, error.into()))?;
        disk::replace_private(&path, &bytes).map_err(|error| failed("write", &path, error))
    }

    /// Removes a session that another one of the same user has replaced, if that has not taken its place already.
    pub(crate) fn remove_replaced(&self, old: &StoredSession, new: &StoredSession) {
        if old.path != self.file(new) {
            // If the file stays, the newer session is used.
            disk::remove(&old.path).ok();
        }
        if old.store == TokenStore::Keyring && (new.store == TokenStore::File || old.keyring() != new.keyring()) {
            // If the keyring is unreachable, it keeps a token that authd accepts only for a short time.
            KEYRING.remove(old.keyring()).ok();
        }
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

    fn stored(server: &str, user: &str, at: i64) -> StoredSession {
        StoredSession::new(server, user, Secret::new(format!("{user}-t0ken")), TokenStore::File, Time::from_millis(at))
    }

    #[test]
    fn a_session_is_private_and_for_one_server_and_user() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder(dir.path().join("authctl"));
        assert!(folder.session("http://a", None).unwrap().is_none() && folder.last().is_none());
        folder.save(stored("http://a", "Bob", 1)).unwrap();
        folder.set_aside(&folder.session("http://a", None).unwrap().unwrap()).unwrap();
        folder.save(stored("http://a", "alice", 2)).unwrap();
        let of_server = folder.path().join(format!("{}.json", disk::fingerprint("http://a")));
        assert!(std::fs::read_to_string(of_server).unwrap().contains("alice-t0ken"), "where earlier releases look");
        let token = |user| folder.session("http://a", user).unwrap().unwrap().token().unwrap();
        assert_eq!(token(None), Some(Secret::new("alice-t0ken")), "the last sign-in");
        assert_eq!(token(Some("BOB")), Some(Secret::new("Bob-t0ken")));
        let error = format!("{:?}", folder.session("http://a", Some("carol")).unwrap_err());
        assert!(error.contains("alice, Bob is") && error.contains("--user carol"), "{error}");
        assert!(folder.session("http://b", None).unwrap().is_none());
        folder.save(stored("http://b", "alice", 3)).unwrap();
        assert_eq!(folder.last().unwrap().server, "http://b");
        for file in folder.files().unwrap() {
            assert_eq!(std::fs::metadata(file).unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::metadata(folder.path()).unwrap().mode() & 0o777, 0o700);
        for left in [Some("http://a"), Some("http://a"), None] {
            folder.last().unwrap().remove().unwrap();
            assert_eq!(folder.last().map(|session| session.server).as_deref(), left);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_read_says_what_to_do_and_shows_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder(dir.path().to_owned());
        std::fs::write(dir.path().join("a.json"), "{\"token\": \"hunter2\", ").unwrap();
        let error = format!("{:?}", folder.session("http://a", None).unwrap_err());
        assert!(error.contains("authctl login --server http://a") && !error.contains("hunter2"), "{error}");
        folder.save(stored("http://a", "alice", 1)).unwrap();
        assert!(folder.session("http://a", None).unwrap().is_some(), "the others are used");
    }

    #[test]
    fn the_host_is_named_without_regard_to_case() {
        let named = |text: &str| name(&Endpoint::url(text).unwrap());
        assert_eq!(named("https://Auth.Example.test/Base/"), "https://auth.example.test/Base");
        assert_eq!(named("http://127.0.0.1:8080"), "http://127.0.0.1:8080");
    }
}
