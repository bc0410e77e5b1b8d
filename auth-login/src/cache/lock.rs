//! Locks between processes, with a deadline.
//!
//! The kernel releases them when their holder dies, so a crash leaves nothing to clean up. Polling was rejected: many
//! waiters would wake all the time, and in random order.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use shared::disk;

use crate::error::Error;

/// How long others may hold the lock of a file that they change. Each needs milliseconds, but there may be many, and
/// the disk may be slow.
const FILE_WAIT: Duration = Duration::from_secs(30);

/// An exclusive lock, held until it is dropped.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "dropping the file releases the lock")] File);

/// A place in the queue for a lock.
#[derive(Debug)]
pub struct Waiting(Receiver<io::Result<File>>);

/// Opens the lock file, for its owner only. It stays on disk: removing it would let two processes lock two files.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
}

/// Takes the lock if it is free.
pub fn try_now(file: File) -> io::Result<Option<Held>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(Held(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Queues for the lock.
pub fn queue(file: File) -> io::Result<Waiting> {
    let (sender, receiver) = channel();
    // The kernel has no lock with a deadline, so a thread waits in our place. If we give up, it drops the lock as soon
    // as it gets it, since nobody receives it.
    std::thread::Builder::new().spawn(move || sender.send(file.lock().map(|()| file)))?;
    Ok(Waiting(receiver))
}

/// Takes the lock of a file that several processes change: a file beside it, in a folder that is created if it is
/// missing.
pub fn beside(path: &Path) -> Result<Held, Error> {
    if let Some(dir) = path.parent() {
        disk::make_dir(dir).map_err(|error| Error::file("create the folder", dir, error))?;
    }
    let beside = disk::sibling(path, ".auth-login.lock");
    let file = open(&beside).map_err(|error| Error::file("make the lock", &beside, error))?;
    let held = queue(file).and_then(|queued| queued.wait(FILE_WAIT));
    held.map_err(|error| Error::file("lock", &beside, error))?.ok_or_else(|| {
        Error::refused(format!(
            "another auth-login has been writing {} for {} s; end it, then try again",
            path.display(),
            FILE_WAIT.as_secs()
        ))
    })
}

impl Waiting {
    /// Waits for at most this long; `None` if the lock is still taken.
    pub fn wait(&self, at_most: Duration) -> io::Result<Option<Held>> {
        match self.0.recv_timeout(at_most) {
            Ok(file) => Ok(Some(Held(file?))),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the waiting thread ended")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_is_waited_for_until_the_deadline_or_its_release() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = try_now(open(&path).unwrap()).unwrap().unwrap();
        assert!(try_now(open(&path).unwrap()).unwrap().is_none());
        assert!(queue(open(&path).unwrap()).unwrap().wait(Duration::from_millis(1)).unwrap().is_none());
        let waiting = queue(open(&path).unwrap()).unwrap();
        drop(held);
        assert!(waiting.wait(Duration::from_secs(10)).unwrap().is_some());
    }

    #[test]
    fn who_gave_up_does_not_keep_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = try_now(open(&path).unwrap()).unwrap().unwrap();
        drop(queue(open(&path).unwrap()));
        drop(held);
        assert!(queue(open(&path).unwrap()).unwrap().wait(Duration::from_secs(10)).unwrap().is_some());
    }
}
