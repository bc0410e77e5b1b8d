//! Where the third parties are: the scripts of `tests/rig`, and the programs that `tests/rig/install` has installed.

use crate::process::Spec;
use std::path::PathBuf;
use std::sync::LazyLock;

/// The folder `tests/rig`.
pub fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("rig")
}

/// `PATH` with the rig's programs before the machine's.
static PATH: LazyLock<std::ffi::OsString> = LazyLock::new(|| {
    let venv = dir().join(".venv/bin");
    assert!(
        venv.join("moto_server").exists() && dir().join("node_modules").exists(),
        "the test peers are not installed (looked in {}): run tests/rig/install, or tests/run, which does",
        venv.display()
    );
    let machine = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin".into(), "/sbin".into()];
    let all = [venv, dir().join("node_modules/.bin")].into_iter().chain(std::env::split_paths(&machine)).chain(sbin);
    std::env::join_paths(all).expect("PATH has no colon inside a folder's name")
});

/// The `PATH` on which the AWS CLI and the rest of the rig are found.
pub fn path() -> &'static std::ffi::OsStr {
    &PATH
}

/// A program of the rig's `PATH`.
pub fn program(name: &str) -> Spec {
    Spec::new(name).env("PATH", &*PATH)
}

/// A script of `tests/rig`, by its kind: node for .mjs, Python for .py, itself otherwise.
pub fn script(name: &str) -> Spec {
    let path = dir().join(name);
    match path.extension().and_then(|e| e.to_str()) {
        // the provider's library warns about Node 20, on which it works
        Some("mjs") => program("node").arg("--no-warnings").arg(path),
        Some("py") => program("python").arg(path),
        _ => Spec::new(path).env("PATH", &*PATH),
    }
}
