//! Litestream, which replicates the log of SQLite that authd leaves to it.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use tests::authd::Setup;
use tests::process::both;
use tests::{TIMEOUT, folder, rig, until};

const TOML: &str = "[database]\ncheckpoints = \"external\"\n";
/// Litestream's pause between two looks at the log.
const SYNC: &str = "100ms";

fn restore(config: &Path, database: &Path, to: &Path) -> Output {
    let args = ["restore", "-config"];
    rig::program("litestream").args(args).arg(config).arg("-o").arg(to).arg(database).run(TIMEOUT)
}

/// Changes go on while Litestream follows; both are killed, and what it has is put in the place of the lost file.
#[test]
fn what_was_acknowledged_a_moment_before_a_crash_is_in_the_replica() {
    let dir = folder("litestream");
    let path = |name: &str| dir.path().join(name);
    let mut authd = Setup::new().toml(TOML).start();
    let database = authd.database();
    let config = path("litestream.yml");
    let text = format!(
        "dbs:\n  - path: {}\n    monitor-interval: {SYNC}\n    replica:\n      type: file\n      path: {}\n      sync-interval: {SYNC}\n",
        database.display(),
        path("replica").display()
    );
    fs::write(&config, text).expect("the folder is ours");
    let spec = rig::program("litestream").args(["replicate", "-config"]).arg(&config);
    let mut litestream = spec.start(path("log"));

    let mut minted = Vec::new();
    let mut mint = || {
        let name = format!("t{}", minted.len());
        let (token, _) = authd.mint(&name, &["read"]);
        minted.push((token, Instant::now()));
        minted.len()
    };
    // More than a log of SQLite's usual length, so that it is begun anew meanwhile.
    let load = Instant::now();
    while mint() < 1_500 || load.elapsed() < Duration::from_secs(4) {}
    let marked = mint();
    let copy = path("copy.db");
    until(TIMEOUT, "the replica of what was acknowledged", || {
        mint();
        fs::remove_file(&copy).ok();
        let restored = restore(&config, &database, &copy);
        restored.status.success().then_some(())?;
        let count = rig::program("python").args(["-c", COUNT]).arg(&copy).run(TIMEOUT);
        let count: usize = String::from_utf8_lossy(&count.stdout).trim().parse().ok()?;
        (count >= marked).then_some(())
    });
    let settled = minted.len();
    // A second of changes, of which the last may be lost.
    let begun = Instant::now();
    let mut last = Vec::new();
    while begun.elapsed() < Duration::from_secs(3) {
        let (token, _) = authd.mint(&format!("late{}", last.len()), &["read"]);
        last.push((token, Instant::now()));
    }
    authd.kill();
    let killed = Instant::now();
    litestream.kill();

    fs::remove_file(&copy).ok();
    let restored = restore(&config, &database, &copy);
    assert!(restored.status.success(), "{}", both(&restored));
    let put = authd.run(&["restore", "--replace", &copy.display().to_string()]);
    assert!(put.status.success(), "{}", both(&put));
    authd.start_again();
    for (index, (token, _)) in minted[..marked].iter().enumerate().step_by(50) {
        assert_eq!(authd.validate(token, &["read"])["valid"], true, "t{index} of {settled}");
    }
    let lost = last.iter().filter(|(token, _)| authd.validate(token, &["read"])["valid"] == false);
    let oldest = lost.map(|(_, at)| killed.duration_since(*at)).max().unwrap_or_default();
    assert!(oldest <= Duration::from_secs(1), "a token that was acknowledged {oldest:?} before the crash is missing");
    let health = authd.http().get("/health").expect("authd answers").expect(200);
    assert_eq!(health["status"], "healthy");
}

const COUNT: &str = "import sqlite3, sys\n\
    db = sqlite3.connect(sys.argv[1])\n\
    assert db.execute('PRAGMA integrity_check').fetchone()[0] == 'ok'\n\
    print(db.execute('SELECT COUNT(*) FROM tokens').fetchone()[0])";
