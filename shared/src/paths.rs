//! Default paths and addresses, the same for the daemon and its clients.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The admin socket's name inside its directory.
pub const SOCKET_NAME: &str = "admin.sock";
/// The address of the public HTTP listener.
pub const SERVER_ADDR: &str = "127.0.0.1:8080";

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A variable that holds an absolute path. Relative ones are ignored, as the XDG Base Directory Specification requires.
pub fn absolute(env: impl Fn(&str) -> Option<OsString>, variable: &str) -> Option<PathBuf> {
    env(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// The directory of an XDG variable, else `default` in the home directory. `None` without a home.
pub fn xdg_dir(env: impl Fn(&str) -> Option<OsString>, variable: &str, default: &str) -> Option<PathBuf> {
    absolute(&env, variable).or_else(|| Some(absolute(&env, "HOME")?.join(default)))
}

fn runtime_dir() -> Option<PathBuf> {
    absolute(|name| env::var_os(name), "XDG_RUNTIME_DIR").map(|path| path.join("authd"))
}

/// The first directory of a systemd variable, which may list several separated by colons.
fn systemd_dir(name: &str) -> Option<PathBuf> {
    let value = env::var(name).ok()?;
    value.split(':').map(PathBuf::from).find(|path| path.is_absolute())
}

/// `$STATE_DIRECTORY`, else `/var/lib/authd` (root), else `$XDG_STATE_HOME/authd` or `~/.local/state/authd`.
/// `None` only without a home.
pub fn data_dir() -> Option<PathBuf> {
    systemd_dir("STATE_DIRECTORY")
        .or_else(|| is_root().then(|| PathBuf::from("/var/lib/authd")))
        .or_else(|| Some(xdg_dir(|name| env::var_os(name), "XDG_STATE_HOME", ".local/state")?.join("authd")))
}

/// Where the daemon puts its admin socket: `$RUNTIME_DIRECTORY`, else `/run/authd` (root), else
/// `$XDG_RUNTIME_DIR/authd`, else the data directory.
pub fn admin_socket(data_dir: &Path) -> PathBuf {
    systemd_dir("RUNTIME_DIRECTORY")
        .or_else(|| is_root().then(|| PathBuf::from("/run/authd")))
        .or_else(runtime_dir)
        .unwrap_or_else(|| data_dir.to_owned())
        .join(SOCKET_NAME)
}

/// The paths where a client looks for the admin socket, in order.
pub fn admin_socket_candidates() -> Vec<PathBuf> {
    let dirs = [systemd_dir("RUNTIME_DIRECTORY"), Some(PathBuf::from("/run/authd")), runtime_dir(), data_dir()];
    let mut candidates: Vec<_> = dirs.into_iter().flatten().map(|path| path.join(SOCKET_NAME)).collect();
    candidates.dedup();
    candidates
}
