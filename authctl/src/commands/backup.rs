//! A backup of the daemon's SQLite database.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use shared::api::backups::{CreateBackup, DeleteBackup, ReadBackup};
use shared::cli::Exit;
use shared::id::BackupId;

use super::Context;
use crate::error::Error;

/// The pause between two questions whether the backup has been made.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
pub struct Backup {
    /// A new file for the backup, readable by you alone; `-` is standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) async fn run(args: Backup, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    if args.file == Path::new("-") {
        if context.io.width.is_some() {
            return Err(Error::Usage("a backup is not for a terminal: name a file, or redirect the output".to_owned()));
        }
        let id = context.call(&CreateBackup {}).await?.id;
        let fetched = fetch(id, context, None).await;
        return end(id, fetched, context).await.map(|_| Exit::Ok);
    }
    // Under another name until it is whole.
    let part = {
        let mut name = args.file.clone().into_os_string();
        name.push(".part");
        PathBuf::from(name)
    };
    let usage = |path: &Path, error: &dyn std::fmt::Display| Error::Usage(format!("{}: {error}", path.display()));
    if args.file.symlink_metadata().is_ok() {
        return Err(usage(&args.file, &"this file exists, and a backup overwrites nothing; choose another name"));
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part);
    let mut file = file.map_err(|error| usage(&part, &error))?;
    let fetched = async {
        let id = context.call(&CreateBackup {}).await?.id;
        let fetched = fetch(id, context, Some(&mut file)).await;
        end(id, fetched, context).await
    };
    let written = match fetched.await {
        Ok(size) => keep(&file, &part, &args.file).map(|()| size).map_err(Error::from),
        Err(error) => Err(error),
    };
    let size = written.inspect_err(|_| drop(std::fs::remove_file(&part)))?;
    writeln!(
        context.io.err,
        "Wrote {size} bytes to {}. Keep root.key too, but elsewhere: it opens the keys in it",
        args.file.display()
    )?;
    Ok(Exit::Ok)
}

/// Deletes the backup from the daemon's disk, whether it could be read or not.
async fn end(id: BackupId, fetched: Result<u64, Error>, context: &mut Context<'_, '_>) -> Result<u64, Error> {
    let deleted = context.call(&DeleteBackup { id }).await;
    let size = fetched?;
    deleted.map(|_| size)
}

/// Writes all parts to the file, or to the output; returns the number of bytes.
async fn fetch(id: BackupId, context: &mut Context<'_, '_>, mut file: Option<&mut File>) -> Result<u64, Error> {
    let mut offset = 0;
    loop {
        let part = context.call(&ReadBackup { id, offset: Some(offset) }).await?;
        let Some(size) = part.size else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let data = BASE64_STANDARD.decode(part.data.expose()).map_err(io::Error::other)?;
        match &mut file {
            Some(file) => file.write_all(&data)?,
            None => context.io.out.bytes().write_all(&data)?,
        }
        offset += data.len() as u64;
        if offset == size {
            context.io.out.flush()?;
            return Ok(size);
        }
        if data.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// Gives the whole file its name, if that is still free.
fn keep(file: &File, part: &Path, name: &Path) -> io::Result<()> {
    file.sync_all()?;
    match renameat_with(CWD, part, CWD, name, RenameFlags::NOREPLACE) {
        // A file system that cannot tell.
        Err(Errno::INVAL) if name.symlink_metadata().is_err() => std::fs::rename(part, name),
        renamed => Ok(renamed?),
    }
}
