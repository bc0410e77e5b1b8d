//! The files and folders on this machine.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use shared::paths::{absolute, xdg_dir};

use crate::error::Error;
use crate::io::Io;

/// The files and folders of one person.
#[derive(Clone, Debug)]
pub struct Paths {
    /// `$XDG_CONFIG_HOME/auth-login/config.toml`
    pub settings: PathBuf,
    /// `$XDG_STATE_HOME/auth-login`: sessions, keys, locks.
    pub state: PathBuf,
    /// `$AWS_SHARED_CREDENTIALS_FILE`, else `~/.aws/credentials`
    pub aws_credentials: PathBuf,
    /// `$AWS_CONFIG_FILE`, else `~/.aws/config`
    pub aws_config: PathBuf,
}

impl Paths {
    pub fn find(io: &Io) -> Result<Self, Error> {
        let variable = |name: &str| io.var(name).cloned();
        let home = absolute(variable, "HOME");
        let no_home = |or: &str| Error::usage(format!("there is no home directory: set HOME, or {or}"));
        let under = |xdg: &str, default: &str| {
            xdg_dir(variable, xdg, default).ok_or_else(|| no_home(&format!("{xdg}, to an absolute path")))
        };
        let aws = |name: &str, default: &str| match (io.var(name), &home) {
            (Some(path), home) => Ok(expand(path, |name| io.var(name).cloned(), home.as_deref())),
            (None, Some(home)) => Ok(home.join(".aws").join(default)),
            (None, None) => Err(no_home(name)),
        };
        Ok(Self {
            settings: under("XDG_CONFIG_HOME", ".config")?.join("auth-login/config.toml"),
            state: under("XDG_STATE_HOME", ".local/state")?.join("auth-login"),
            aws_credentials: aws("AWS_SHARED_CREDENTIALS_FILE", "credentials")?,
            aws_config: aws("AWS_CONFIG_FILE", "config")?,
        })
    }
    /// Fails if the files belong to another user, as under sudo with the home of the user: what this process writes there
    /// would lock that user out.
    pub fn check_owner(&self, io: &Io) -> Result<(), Error> {
        let own = geteuid().as_raw();
        let sudo_user = io.var("SUDO_UID").and_then(|uid| uid.to_str()?.parse().ok());
        for path in [&self.state, &self.settings, &self.aws_credentials, &self.aws_config] {
            let Some((found, owner)) = path.ancestors().find_map(|path| Some((path, path.metadata().ok()?.uid())))
            else {
                continue;
            };
            // A folder of this program is always its user's own; the others may be shared.
            let is_foreign = sudo_user == Some(owner) || found == self.state;
            if owner != own && is_foreign {
                return Err(Error::refused(format!(
                    "{} belongs to another user (uid {owner}), whom this run would lock out. Run auth-login as that user, \
                     without sudo; as root with its own home: sudo -H auth-login",
                    found.display()
                )));
            }
        }
        Ok(())
    }
}

/// A path in a variable, as botocore reads it: `$NAME` and `${NAME}` are expanded, then `~` and `~user` at the start.
/// What is unknown stays.
fn expand(path: &OsStr, variable: impl Fn(&str) -> Option<OsString>, home: Option<&Path>) -> PathBuf {
    let Some(path) = path.to_str() else { return PathBuf::from(path) };
    let path = expand_variables(path, |name| variable(name)?.into_string().ok());
    let Some(tail) = path.strip_prefix('~') else { return PathBuf::from(path) };
    let (user, rest) = tail.split_at(tail.find('/').unwrap_or(tail.len()));
    let home = if user.is_empty() { home.map(Path::to_owned) } else { home_of(user) };
    home.map_or_else(|| PathBuf::from(&path), |home| home.join(rest.trim_start_matches('/')))
}

/// Python's `os.path.expandvars`.
fn expand_variables(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let word = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').len();
        let (name, end) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, _)) => (name, name.len() + 2),
            None => (&after[..word], word),
        };
        match value(name) {
            Some(value) => expanded.push_str(&value),
            None => expanded.extend(["$", &after[..end]]),
        }
        rest = &after[end..];
    }
    expanded + rest
}

/// The home of a user of this machine.
fn home_of(user: &str) -> Option<PathBuf> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == user)?;
    fields.get(5).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(env: &[(&str, &str)]) -> Result<Paths, Error> {
        Paths::find(&Io::fake(Box::new(std::io::sink()), Box::new(std::io::sink()), env))
    }

    #[test]
    fn the_environment_decides() {
        let paths = find(&[("HOME", "/h"), ("AWS_CONFIG_FILE", "~/c"), ("XDG_STATE_HOME", "relative")]).unwrap();
        assert_eq!(paths.aws_credentials, PathBuf::from("/h/.aws/credentials"));
        assert_eq!(paths.aws_config, PathBuf::from("/h/c"));
        assert_eq!(paths.state, PathBuf::from("/h/.local/state/auth-login"));
        assert!(find(&[]).is_err());
    }

    #[test]
    fn the_variables_of_the_aws_files_are_read_as_botocore_reads_them() {
        for (text, path) in [
            ("/x", "/x"),
            ("~", "/h"),
            ("~/x", "/h/x"),
            ("~root/x", "/root/x"),
            ("~nobody-of-this-name/x", "~nobody-of-this-name/x"),
            ("x/~", "x/~"),
            ("$HOME/x", "/h/x"),
            ("${HOME}/$TEAM.$TEAM", "/h/a.a"),
            ("$HOMES/${/x$", "$HOMES/${/x$"),
            ("$TILDE/x", "/h/x"),
            ("${UNKNOWN}/$", "${UNKNOWN}/$"),
            ("", "/h/.aws/config"),
        ] {
            let env = [("HOME", "/h"), ("TEAM", "a"), ("TILDE", "~"), ("AWS_CONFIG_FILE", text)];
            assert_eq!(find(&env).unwrap().aws_config, PathBuf::from(path), "{text}");
        }
    }

    #[test]
    fn the_files_of_another_user_are_not_touched() {
        let home = tempfile::tempdir().unwrap();
        let own = geteuid().as_raw();
        let check = |home: &str, sudo_user: u32| {
            let sudo_user = sudo_user.to_string();
            let env = [("HOME", home), ("SUDO_UID", sudo_user.as_str())];
            let io = Io::fake(Box::new(std::io::sink()), Box::new(std::io::sink()), &env);
            Paths::find(&io).unwrap().check_owner(&io)
        };
        let home = home.path().to_str().unwrap();
        assert!(check(home, own).is_ok());
        assert!(check(home, own + 1).is_ok());
        if own == 0 {
            std::os::unix::fs::chown(home, Some(1000), None).unwrap();
            assert!(check(home, 1000).unwrap_err().to_string().contains("without sudo"));
            assert!(check(home, 1001).is_ok());
            std::fs::create_dir_all(format!("{home}/.local/state/auth-login")).unwrap();
            assert!(check(home, 1001).is_ok());
            std::os::unix::fs::chown(format!("{home}/.local/state/auth-login"), Some(1000), None).unwrap();
            assert!(check(home, 1001).is_err());
        }
    }
}
