//! Where the content of files is: a directory, or a bucket of S3.

use std::io;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Config;
use super::directory::{self, Directory};
use super::s3::{self, Bucket};
use crate::env::Env;
use crate::error::{Error, Result};

/// What is written at once, in bytes: a part of a multipart upload.
pub const PART: usize = 8 << 20;
/// What is read at once from a directory, in bytes.
pub(super) const CHUNK: usize = 64 << 10;
/// Chunks of a download that wait for the client.
const WAITING: usize = 2;

#[derive(Debug)]
pub(super) enum Objects {
    Directory(Directory),
    S3(Box<Bucket>),
}

/// An object that is written part by part.
#[derive(Debug)]
pub(super) enum Writing {
    Directory(directory::Writing),
    S3(s3::Writing),
}

/// The content of a file, or a part of it, as it is read.
#[derive(Debug)]
pub struct Content {
    pub length: u64,
    pub chunks: mpsc::Receiver<io::Result<Bytes>>,
}

impl Objects {
    pub fn new(config: &Config, env: &Env) -> Self {
        if config.bucket.is_empty() {
            Self::Directory(Directory::new(&config.directory))
        } else {
            Self::S3(Box::new(Bucket::new(config, env)))
        }
    }

    pub async fn begin(&self, key: String) -> Result<Writing> {
        match self {
            Self::Directory(directory) => directory.begin(key).await.map(Writing::Directory).map_err(failed),
            Self::S3(_) => Ok(Writing::S3(s3::Writing::new(key))),
        }
    }

    /// Writes [`PART`] bytes that are not the last.
    pub async fn write(&self, writing: &mut Writing, part: Bytes) -> Result<()> {
        match (self, writing) {
            (_, Writing::Directory(writing)) => writing.write(part).await.map_err(failed),
            (Self::S3(bucket), Writing::S3(writing)) => bucket.write(writing, part).await,
            (Self::Directory(_), Writing::S3(_)) => Err(Error::internal("an object of another store")),
        }
    }

    /// Writes the last bytes; then the object is complete.
    pub async fn finish(&self, writing: Writing, part: Bytes) -> Result<()> {
        match (self, writing) {
            (_, Writing::Directory(mut writing)) => {
                writing.write(part).await.map_err(failed)?;
                writing.finish().await.map_err(failed)
            }
            (Self::S3(bucket), Writing::S3(writing)) => bucket.finish(writing, part).await,
            (Self::Directory(_), Writing::S3(_)) => Err(Error::internal("an object of another store")),
        }
    }

    /// Reads `length` bytes from `first` on.
    pub async fn read(&self, key: &str, first: u64, length: u64) -> Result<Content> {
        let (to, chunks) = mpsc::channel(WAITING);
        if length > 0 {
            match self {
                Self::Directory(directory) => {
                    let reading = directory.read(key, first, length, to).await.map_err(failed)?;
                    tokio::spawn(reading);
                }
                Self::S3(bucket) => {
                    let reading = bucket.read(key, first, length, to).await?;
                    tokio::spawn(reading);
                }
            }
        }
        Ok(Content { length, chunks })
    }

    /// Removes an object, complete or not, if it is there.
    pub async fn remove(&self, key: &str, is_upload: bool) -> Result<()> {
        match self {
            Self::Directory(directory) => directory.remove(key).await.map_err(failed),
            Self::S3(bucket) => bucket.remove(key, is_upload).await,
        }
    }
}

fn failed(error: io::Error) -> Error {
    Error::unavailable("the store of files does not work now; try again", error).retry_after(5)
}
