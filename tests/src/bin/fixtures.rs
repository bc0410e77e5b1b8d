//! Makes the fixtures of a release: `cargo build --workspace` at its commit, `. tests/rig/install env`, then
//! `cargo run -p tests --bin fixtures -- tests/fixtures/VERSION` (`AUTHD_BIN_DIR` names programs from elsewhere), and
//! `WRITE_NAMES=$PWD/tests/fixtures/VERSION/names.txt cargo test -p authd fixtures::names`; commit the folder.

use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::fixtures::{Engine, make, shape};

/// A test goes on where the fixture stopped: its logins and sessions must not have ended by then.
const MOST: Duration = Duration::from_secs(200);

fn main() -> std::io::Result<()> {
    let Some(dir) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: fixtures FOLDER (such as tests/fixtures/1.2.0)");
        std::process::exit(2);
    };
    assert!(!dir.exists(), "{} is there already: fixtures are made once", dir.display());
    let (sqlite, home) = (dir.join("sqlite"), dir.join("home"));
    let ages = [make(Engine::Sqlite, &sqlite, Some(&home)), make(Engine::Postgres, &dir.join("postgres"), None)];
    assert!(ages.iter().all(|age| *age < MOST), "this took too long ({ages:?}): try again with less beside it");
    std::fs::write(dir.join("shape.txt"), shape(&sqlite, &home).into_iter().collect::<String>())?;
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/authd.toml");
    std::fs::copy(shipped, dir.join("authd.toml"))?;
    println!("made {}", dir.display());
    Ok(())
}
