//! Makes the fixtures of a release: `cargo build --workspace` at its commit, `. tests/rig/install env`, then
//! `cargo run -p tests --bin fixtures -- tests/fixtures/VERSION` (`AUTHD_BIN_DIR` names programs from elsewhere), and
//! commit the folder. Fixtures of older releases stay as they are: the tests open every one of them.

use std::path::PathBuf;
use tests::fixtures::{Engine, make};

fn main() {
    let Some(dir) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: fixtures FOLDER (such as tests/fixtures/1.2.0)");
        std::process::exit(2);
    };
    assert!(!dir.exists(), "{} is there already: fixtures are made once", dir.display());
    make(Engine::Sqlite, &dir.join("sqlite"), Some(&dir.join("home")));
    make(Engine::Postgres, &dir.join("postgres"), None);
    println!("made {}", dir.display());
}
