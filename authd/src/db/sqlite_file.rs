//! What must be at SQLite's path before it is opened.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use super::{sqlite_check, sqlite_reserve};
use crate::setting::{check_file, check_folder};

/// How every SQLite file begins (its file format, §1.3.1).
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Checks the folder of the file, the file if it exists, and the lock beside it: what another program made is neither
/// opened nor changed. To be called before the first connection, since closing a descriptor of the file drops the
/// process' locks on it.
pub fn check(path: &Path) -> Result<(), String> {
    check_folder(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    let shown = path.display();
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(format!("{shown}: {error}")),
        Ok(metadata) => {
            check_file(path, &metadata)?;
            let mut start = Vec::new();
            let options = File::options().read(true).write(true).open(path);
            let read = options.and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut start));
            read.map_err(|error| format!("authd may not read and write {shown}: {error}"))?;
            // A start that was interrupted leaves an empty one.
            if !start.is_empty() && start != MAGIC {
                return Err(format!("{shown} is not a SQLite database; choose another path"));
            }
            if !start.is_empty() && sqlite_check::is_of_another(path) {
                return Err(format!("{shown} is the SQLite database of another program; choose another path"));
            }
        }
    }
    let lock = path.with_extension("lock");
    match fs::symlink_metadata(&lock) {
        Ok(metadata) if !metadata.is_file() || metadata.len() > 0 => {
            Err(format!("{} is not authd's lock file, because it is not empty; choose another path", lock.display()))
        }
        _ => sqlite_reserve::check(path),
    }
}
