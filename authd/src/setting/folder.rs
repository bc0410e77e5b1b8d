//! Folders and files whose content authd relies on: nobody else may be able to change them. What exists is never
//! changed to suit, because it may not be ours.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

use rustix::fs::{Access, access};

/// Checks a folder for files that authd relies on: authd can write in it (see [`check_usable`]), and nobody but authd's
/// user and root can. The error says what to do.
pub fn check_folder(folder: &Path) -> Result<(), String> {
    let found = fs::metadata(folder).ok().filter(Metadata::is_dir);
    found.map_or(Ok(()), |metadata| check_writers(folder, &metadata))?;
    check_usable(folder)
}

/// Checks that authd can create files in a folder, or can create the folder.
pub fn check_usable(folder: &Path) -> Result<(), String> {
    let shown = folder.display();
    match fs::metadata(folder) {
        Ok(metadata) if !metadata.is_dir() => Err(format!("{shown} is not a folder")),
        Ok(_) => {
            writable(folder).map_err(|reason| format!("authd may not write in {shown} ({reason}); {}", own(folder)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound && fs::symlink_metadata(folder).is_err() => creatable(folder),
        Err(error) => Err(format!("{shown}: {error}")),
    }
}

/// Checks an existing file that authd writes or relies on.
pub fn check_file(path: &Path, metadata: &Metadata) -> Result<(), String> {
    if !metadata.is_file() {
        return Err(format!("{} is not a regular file", path.display()));
    }
    check_writers(path, metadata)
}

/// Checks that nobody but authd's user and root can write in a folder or file.
pub fn check_writers(path: &Path, metadata: &Metadata) -> Result<(), String> {
    let (shown, owner, me) = (path.display(), metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != me && owner != 0 {
        return Err(format!(
            "{shown} belongs to the user with the id {owner}, who could change what authd (user id {me}) relies on; run \
             authd as that user, or: {}",
            own(path)
        ));
    }
    if metadata.mode() & 0o022 != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(format!(
            "other users can write in {shown} (mode {mode:04o}): chmod go-w {shown}, or use a folder of authd's own"
        ));
    }
    Ok(())
}

fn own(path: &Path) -> String {
    format!("chown {} {}", rustix::process::geteuid().as_raw(), path.display())
}

/// The nearest folder above that exists is one in which authd may create the rest.
fn creatable(folder: &Path) -> Result<(), String> {
    let mut above = folder;
    while let Some(parent) = above.parent() {
        above = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let reason = match fs::metadata(above) {
            // Where it leads is not known before the folder is there.
            Ok(_) if missing(folder, above).any(|part| part == Component::ParentDir) => {
                let folder = folder.display();
                return Err(format!("{folder} leads through a folder that does not exist; write the path without .."));
            }
            Ok(metadata) if metadata.is_dir() => match make_below(above) {
                Ok(()) => return Ok(()),
                Err(reason) => reason,
            },
            Ok(_) => "not a folder".to_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound && above != Path::new(".") => continue,
            Err(error) => error.to_string(),
        };
        let (folder, above, me) = (folder.display(), above.display(), rustix::process::geteuid().as_raw());
        return Err(format!(
            "{folder} does not exist, and authd cannot create it in {above} ({reason}); as root: install -d -m 700 -o {me} {folder}"
        ));
    }
    Err(format!("{} does not exist", folder.display()))
}

/// The parts of a path below a folder.
fn missing<'a>(folder: &'a Path, above: &Path) -> impl Iterator<Item = Component<'a>> {
    folder.components().skip(above.components().count())
}

/// Whether a folder can be made there, which permissions alone do not tell for every file system.
fn make_below(folder: &Path) -> Result<(), String> {
    let probe = folder.join(format!(".authd-check-{}", std::process::id()));
    fs::create_dir(&probe).and_then(|()| fs::remove_dir(&probe)).map_err(|error| error.to_string())
}

fn writable(folder: &Path) -> Result<(), String> {
    access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_that_others_can_write_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        for (mode, is_good) in
            [(0o700, true), (0o755, true), (0o750, true), (0o770, false), (0o707, false), (0o1777, false)]
        {
            fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            let checked = check_folder(dir.path());
            assert_eq!(checked.is_ok(), is_good, "{mode:o}: {checked:?}");
            assert!(is_good || checked.unwrap_err().contains("chmod go-w"));
            assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o7777, mode);
        }
    }

    #[test]
    fn a_folder_of_another_user_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        if std::os::unix::fs::chown(dir.path(), Some(12345), None).is_ok() {
            assert!(check_folder(dir.path()).unwrap_err().contains("belongs to the user with the id 12345"));
        }
    }

    #[test]
    fn a_folder_that_cannot_be_created_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(check_folder(&dir.path().join("a/b/c")), Ok(()));
        assert!(check_folder(&dir.path().join("a/../b")).unwrap_err().contains("without .."));
        assert!(!dir.path().join("a").exists());
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(check_folder(&file).unwrap_err().contains("not a folder"));
        let error = check_folder(&file.join("below/it")).unwrap_err();
        assert!(error.contains("Not a directory") || error.contains("install -d -m 700"), "{error}");
        let error = check_folder(Path::new("/proc/authd/data")).unwrap_err();
        assert!(error.contains("cannot create it in /proc") && error.contains("install -d -m 700"), "{error}");
        std::os::unix::fs::symlink(dir.path().join("nowhere"), dir.path().join("link")).unwrap();
        assert!(check_folder(&dir.path().join("link")).is_err(), "a link to nowhere");
    }
}
