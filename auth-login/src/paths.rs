//! The files and folders on this machine.

use std::path::PathBuf;

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
            (Some(path), home) => {
                // The AWS tools expand a tilde here, without a shell.
                let below_home = path.to_str().and_then(|path| path.strip_prefix("~/")).zip(home.as_ref());
                Ok(below_home.map_or_else(|| PathBuf::from(path), |(rest, home)| home.join(rest)))
            }
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
}
