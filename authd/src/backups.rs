//! Backups of SQLite: a consistent copy of the database, made while authd runs, which an administrator reads in parts.
//!
//! There is at most one, in a private file of the data directory. It is deleted when its reader says so, when nobody has
//! read it for [`KEPT`] and another one begins, and at the start of the daemon.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use shared::api::Done;
use shared::api::backups::{Backup, BackupPart, CreateBackup, DeleteBackup, ReadBackup};
use shared::id::BackupId;
use shared::op::Operation;
use shared::problem::Code;
use shared::secret::Secret;
use tokio::time::Instant;

use crate::base::Base;
use crate::call::Call;
use crate::db::DbError;
use crate::error::{Error, Result};
use crate::ledger::Change;
use crate::registry::Registry;

/// Bytes of a part.
const PART: usize = 512 << 10;
/// How long a backup that nobody reads keeps others from being made.
const KEPT: Duration = Duration::from_mins(10);
/// How the files' names begin and end.
const NAME: (&str, &str) = ("backup-", ".db");

#[derive(Debug)]
pub struct Backups {
    base: Base,
    folder: PathBuf,
    current: Arc<Mutex<Option<Current>>>,
}

#[derive(Debug)]
struct Current {
    id: BackupId,
    state: State,
    /// When it was begun or read last.
    used_at: Instant,
}

#[derive(Clone, Debug)]
enum State {
    Making,
    /// Its size.
    Made(u64),
    Failed(String),
}

/// Refuses a backup beside one that is being made or read.
fn check_free(current: Option<&Current>) -> Result<()> {
    let is_used = |other: &Current| !matches!(other.state, State::Failed(_)) && other.used_at.elapsed() < KEPT;
    if current.is_some_and(is_used) {
        return Err(Error::new(Code::Conflict, "another backup is being made or read").retry_after(60));
    }
    Ok(())
}

impl Backups {
    /// `folder` is the data directory, which only this daemon uses if the database is SQLite.
    pub fn new(base: &Base, folder: &Path) -> Arc<Self> {
        let backups = Self { base: base.clone(), folder: folder.to_owned(), current: Arc::default() };
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_prefix(NAME.0)?.strip_suffix(NAME.1));
            if id.is_some_and(|id| id.parse::<BackupId>().is_ok()) {
                remove(&entry.path());
            }
        }
        Arc::new(backups)
    }

    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.add(self, Self::create);
        registry.add(self, Self::read);
        registry.add(self, Self::delete);
    }

    async fn create(&self, call: Call, _: CreateBackup) -> Result<Backup> {
        if self.base.db.engine() != "sqlite" {
            let detail = "this daemon's database is PostgreSQL, which is backed up with its own tools, such as pg_dump";
            return Err(Error::new(Code::Conflict, detail));
        }
        check_free(self.lock().as_ref())?;
        let id = BackupId(self.base.env.uuid());
        self.base.ledger.commit(&call, Change::new(CreateBackup::INFO.name, id)).await?;
        let before = {
            let mut current = self.lock();
            check_free(current.as_ref())?;
            current.replace(Current { id, state: State::Making, used_at: Instant::now() })
        };
        before.iter().for_each(|before| remove(&self.path(before.id)));
        let (db, path, current) = (self.base.db.clone(), self.path(id), self.current.clone());
        tokio::spawn(async move {
            let made = db.backup(path.clone()).await;
            let size = made.and_then(|()| {
                fs::metadata(&path).map(|file| file.len()).map_err(|error| DbError::Unavailable(error.into()))
            });
            let state = size.map_or_else(
                |error| {
                    remove(&path);
                    tracing::warn!(%error, "a backup could not be made");
                    State::Failed(error.to_string())
                },
                State::Made,
            );
            let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(current) = current.as_mut().filter(|current| current.id == id) {
                (current.state, current.used_at) = (state, Instant::now());
            }
        });
        Ok(Backup { id })
    }

    async fn read(&self, _: Call, op: ReadBackup) -> Result<BackupPart> {
        let state = self.find(op.id)?;
        let size = match state {
            State::Making => return Ok(BackupPart { size: None, data: Secret::new(String::new()) }),
            State::Failed(reason) => {
                return Err(Error::unavailable("the backup could not be made; see the daemon's log", reason));
            }
            State::Made(size) => size,
        };
        let (path, offset) = (self.path(op.id), op.offset.unwrap_or_default());
        let reading = tokio::task::spawn_blocking(move || read_part(&path, offset, size));
        let part = reading.await.map_err(Error::internal)?.map_err(Error::internal)?;
        Ok(BackupPart { size: Some(size), data: Secret::new(BASE64_STANDARD.encode(part)) })
    }

    async fn delete(&self, call: Call, op: DeleteBackup) -> Result<Done> {
        self.find(op.id)?;
        self.base.ledger.commit(&call, Change::new(DeleteBackup::INFO.name, op.id)).await?;
        if self.lock().take_if(|current| current.id == op.id).is_some() {
            remove(&self.path(op.id));
        }
        Ok(Done::default())
    }

    /// The state of the backup, which is used now.
    fn find(&self, id: BackupId) -> Result<State> {
        let mut current = self.lock();
        let found = current.as_mut().filter(|current| current.id == id).ok_or_else(|| Error::not_found("backup"))?;
        found.used_at = Instant::now();
        Ok(found.state.clone())
    }

    fn path(&self, id: BackupId) -> PathBuf {
        self.folder.join(format!("{}{id}{}", NAME.0, NAME.1))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_part(path: &Path, offset: u64, size: u64) -> std::io::Result<Vec<u8>> {
    let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(PART);
    let mut part = vec![0; left.min(PART)];
    File::open(path)?.read_exact_at(&mut part, offset)?;
    Ok(part)
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "a backup could not be deleted");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::TestApp;

    /// The whole backup, read as a client does.
    async fn fetch(app: &TestApp) -> Vec<u8> {
        let id = app.call("backups.create", json!({})).await.unwrap()["id"].clone();
        let mut bytes = Vec::new();
        loop {
            let part = app.call("backups.read", json!({ "id": id, "offset": bytes.len() })).await.unwrap();
            bytes.extend(BASE64_STANDARD.decode(part["data"].as_str().unwrap()).unwrap());
            if part["size"].as_u64() == Some(bytes.len() as u64) {
                break;
            }
            tokio::task::yield_now().await;
        }
        app.call("backups.delete", json!({ "id": id })).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn a_backup_is_a_whole_database_and_leaves_nothing_behind() {
        let app = TestApp::new().await;
        if app.base.db.engine() != "sqlite" {
            let refused = app.call("backups.create", json!({})).await.unwrap_err();
            assert!(refused.detail.contains("pg_dump"), "{}", refused.detail);
            return;
        }
        app.call("tokens.create", json!({ "name": "kept", "scopes": ["read"] })).await.unwrap();
        let bytes = fetch(&app).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy.db");
        fs::write(&path, bytes).unwrap();
        let copy = rusqlite::Connection::open(&path).unwrap();
        let check: String = copy.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
        let name: String = copy.query_row("SELECT name FROM tokens", [], |row| row.get(0)).unwrap();
        assert_eq!(name, "kept");
        let left = fs::read_dir(app.folder()).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
        assert!(!left.into_iter().any(|name| name.starts_with(NAME.0)), "it is deleted");
    }

    #[tokio::test]
    async fn one_backup_is_made_at_a_time() {
        let app = TestApp::new().await;
        if app.base.db.engine() != "sqlite" {
            return;
        }
        app.call("backups.create", json!({})).await.unwrap();
        let refused = app.call("backups.create", json!({})).await.unwrap_err();
        assert_eq!(refused.code, Code::Conflict);
        tokio::time::pause();
        tokio::time::advance(KEPT).await;
        tokio::time::resume();
        app.call("backups.create", json!({})).await.unwrap();
    }
}
