//! Objects as files of a directory: written beside, synced, and renamed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::objects::CHUNK;

#[derive(Clone, Debug)]
pub(super) struct Directory(Arc<Path>);

/// An object that is written. It gets its name when it is whole.
#[derive(Debug)]
pub(super) struct Writing {
    directory: Directory,
    key: String,
    file: Option<File>,
}

impl Directory {
    pub fn new(path: &Path) -> Self {
        Self(path.into())
    }

    fn object(&self, key: &str) -> PathBuf {
        self.0.join(key)
    }

    fn unfinished(&self, key: &str) -> PathBuf {
        self.0.join(format!("{key}.part"))
    }

    pub async fn begin(&self, key: String) -> io::Result<Writing> {
        let directory = self.clone();
        run(move || {
            DirBuilder::new().recursive(true).mode(0o700).create(&directory.0)?;
            let path = directory.unfinished(&key);
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            Ok(Writing { directory, key, file: Some(file) })
        })
        .await
    }

    /// Reads a part of an object into the channel.
    pub async fn read(
        &self,
        key: &str,
        first: u64,
        length: u64,
        to: mpsc::Sender<io::Result<Bytes>>,
    ) -> io::Result<impl Future<Output = ()> + Send + 'static> {
        let mut file = tokio::fs::File::open(self.object(key)).await?;
        file.seek(io::SeekFrom::Start(first)).await?;
        let mut file = file.take(length);
        Ok(async move {
            loop {
                let mut chunk = Vec::with_capacity(CHUNK);
                let read = file.read_buf(&mut chunk).await;
                let end = matches!(read, Ok(0) | Err(_));
                let sent = match read {
                    Ok(0) => Ok(()),
                    Ok(_) => to.send(Ok(chunk.into())).await,
                    Err(error) => to.send(Err(error)).await,
                };
                if end || sent.is_err() {
                    return;
                }
            }
        })
    }

    /// Removes an object, complete or not, if it is there.
    pub async fn remove(&self, key: &str) -> io::Result<()> {
        let (object, unfinished) = (self.object(key), self.unfinished(key));
        run(move || {
            for path in [unfinished, object] {
                match fs::remove_file(path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            Ok(())
        })
        .await
    }
}

impl Writing {
    pub async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        let mut file = self.file.take().ok_or(ErrorKind::BrokenPipe)?;
        self.file = Some(run(move || file.write_all(&bytes).map(|()| file)).await?);
        Ok(())
    }

    pub async fn finish(self) -> io::Result<()> {
        let Self { directory, key, file } = self;
        let file = file.ok_or(ErrorKind::BrokenPipe)?;
        run(move || {
            file.sync_all()?;
            fs::rename(directory.unfinished(&key), directory.object(&key))?;
            File::open(&directory.0)?.sync_all()
        })
        .await
    }
}

async fn run<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
