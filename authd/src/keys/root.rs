//! The root key: 32 bytes outside of the database, which seal the key ring in the database.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustix::fs::StatVfsMountFlags;
use zeroize::Zeroizing;

use super::KeyError;
use super::seal::Secret;
use crate::env::Env;

/// The file in the data dir.
pub const FILE: &str = "root.key";

/// Reads a root key as 64 hexadecimal digits, as base64 of 32 bytes, or as 32 bytes as they are.
pub fn parse(text: &[u8], place: &str) -> Result<Secret, KeyError> {
    let trimmed = text.trim_ascii();
    let decoded = match trimmed.len() {
        64 => hex::decode(trimmed).ok().map(Zeroizing::new),
        43 => URL_SAFE_NO_PAD.decode(trimmed).ok().map(Zeroizing::new),
        44 => STANDARD.decode(trimmed).ok().map(Zeroizing::new),
        _ if text.len() == 32 => Some(Zeroizing::new(text.to_vec())),
        _ => None,
    };
    let secret = decoded.and_then(|bytes| bytes.as_slice().try_into().map(Zeroizing::new).ok());
    secret.ok_or_else(|| {
        KeyError::Root(format!(
            "{place} must be 32 random bytes as 64 hexadecimal digits or base64: create one with `openssl rand -hex 32`"
        ))
    })
}

/// The key of the file; `None` if there is no file.
pub(super) fn read(path: &Path) -> Result<Option<Secret>, KeyError> {
    let mut text = Zeroizing::new(Vec::with_capacity(128));
    let read = File::open(path).and_then(|file| {
        let mode = loose_mode(path, &file)?;
        file.take(128).read_to_end(&mut text).map(|_| mode)
    });
    match read {
        Ok(Some(mode)) => Err(KeyError::Root(format!(
            "other users can read the root key {shown} (mode {mode:04o}): chmod 600 {shown}. Whoever has read it and a copy \
             of the database can open the secrets in it",
            shown = path.display()
        ))),
        Ok(None) => parse(&text, &path.display().to_string()).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(path, &error)),
    }
}

/// The mode of a key that others can read or write. A link or a mount is not a file of authd's: containers mount secrets
/// that way, read-only for everybody who is in the container.
fn loose_mode(path: &Path, file: &File) -> std::io::Result<Option<u32>> {
    let (link, found) = (std::fs::symlink_metadata(path)?, file.metadata()?);
    let is_mounted = || {
        let is_other = folder(path).metadata().is_ok_and(|folder| folder.dev() != found.dev());
        is_other || rustix::fs::fstatvfs(file).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::RDONLY))
    };
    // root may own a key that authd's group can read.
    let allowed = if found.uid() == 0 && !rustix::process::geteuid().is_root() { 0o640 } else { 0o600 };
    let mode = found.mode() & 0o7777;
    Ok((mode & 0o777 & !allowed & 0o077 != 0 && !link.is_symlink() && !is_mounted()).then_some(mode))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates the file durably, readable only by its owner. It is written under another name and then linked, so that a
/// crash leaves no empty key and concurrent processes use the same key. Returns whether this process created
/// it.
pub(super) fn create(path: &Path, env: &Env) -> Result<bool, KeyError> {
    let fail = |error: std::io::Error| unusable(path, &error);
    let secret = Zeroizing::new(env.bytes::<32>());
    let beside = path.with_extension(format!("key.{}", env.uuid().simple()));
    let mut text = Zeroizing::new(hex::encode(secret.as_slice()));
    text.push('\n');
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).map_err(fail)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| std::fs::hard_link(&beside, path));
    let removed = std::fs::remove_file(&beside);
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        linked => linked.and(removed).map_err(fail)?,
    }
    File::open(folder(path)).and_then(|folder| folder.sync_all()).map_err(fail)?;
    Ok(true)
}

fn unusable(path: &Path, error: &std::io::Error) -> KeyError {
    KeyError::Root(format!("the root key {}: {error}", path.display()))
}
