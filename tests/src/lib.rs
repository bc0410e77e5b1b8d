//! The harness of the end-to-end tests: starts the real binaries and real third parties on free ports in temporary
//! folders, and ends them when the test does.
//!
//! Everything here blocks and panics: a test is a straight story, and what cannot start is a failed test that says
//! which peer, and what its log says. Waiting is always for an event (a line, an answer, an exit) with a deadline.

pub mod authd;
pub mod backend;
pub mod browser;
pub mod document;
pub mod echo;
pub mod fixtures;
pub mod http;
pub mod local;
pub mod locks;
pub mod login;
pub mod machine;
pub mod mail;
pub mod neighbour;
pub mod pooler;
pub mod postgres;
pub mod process;
pub mod provider;
pub mod proxy;
pub mod redis;
pub mod rig;
pub mod s3;
pub mod strace;
pub mod sts;
pub mod timing;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a peer may take to start, or a single step of a test to finish, on a machine with two busy cores.
pub const TIMEOUT: Duration = Duration::from_mins(1);

/// Asks until the answer is `Some`, or panics with `what` after `timeout`.
///
/// # Panics
/// When the deadline has passed.
pub fn until<T>(timeout: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {timeout:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// One of the workspace's own programs, as cargo has built it beside the test binary. `AUTHD_BIN_DIR` names another
/// folder (a release build, an installed package).
///
/// # Panics
/// When it has not been built: `cargo build --workspace` comes first.
pub fn binary(name: &str) -> PathBuf {
    let dir = std::env::var_os("AUTHD_BIN_DIR").map_or_else(
        || {
            let exe = std::env::current_exe().expect("the test binary has a path");
            let dir = exe.parent().expect("it lies in a folder");
            // target/debug/deps/e2e-… for tests, target/debug/playground for programs
            if dir.ends_with("deps") { dir.parent().expect("deps lies in target/debug").into() } else { dir.into() }
        },
        PathBuf::from,
    );
    let path = dir.join(name);
    assert!(path.is_file(), "{} is not there: run `cargo build --workspace` first", path.display());
    path
}

/// A temporary folder with a short path (unix sockets allow 107 bytes), which other users may pass through where a
/// server must run as another user. Below `AUTHD_TEST_TMP`, else /tmp; those of the peers that all tests share stay
/// until whoever made that folder removes it, as `tests/run` does.
///
/// # Panics
/// When the temporary folder of the machine cannot be written.
pub fn folder(name: &str) -> tempfile::TempDir {
    let base = std::env::var_os("AUTHD_TEST_TMP").unwrap_or_else(|| "/tmp".into());
    tempfile::Builder::new().prefix(&format!("authd-{name}-")).tempdir_in(base).expect("it can be written")
}
