//! A whole machine: systemd booted over a throw-away overlay of this one's root (tests/rig/systemd-boot.sh).

use crate::process::{Process, Spec};
use crate::{TIMEOUT, rig};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long it may take to boot: 16 s alone on two cores.
const BOOT_TIMEOUT: Duration = Duration::from_mins(5);

/// Those that this process has booted: tests may do so side by side.
static MACHINES: AtomicU32 = AtomicU32::new(0);

/// A running machine. What it writes goes to a folder in memory, which goes with it.
#[derive(Debug)]
pub struct Booted {
    dir: PathBuf,
    leader: String,
    process: Process,
}

impl Booted {
    /// Boots with these files in place: path on the new machine, and the file here.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(files: &[(&str, PathBuf)]) -> Self {
        let number = MACHINES.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/dev/shm/authd-test-{}-{number}", std::process::id()));
        if let Some(reason) = impossible() {
            panic!("this machine cannot boot a systemd: {reason}");
        }
        for (target, source) in files {
            let target = dir.join("up").join(target.trim_start_matches('/'));
            fs::create_dir_all(target.parent().expect("a file lies in a folder")).expect("/dev/shm can be written");
            fs::copy(source, &target).unwrap_or_else(|e| panic!("{}: {e}", source.display()));
        }
        fs::create_dir_all(&dir).expect("/dev/shm can be written");
        let mut process = rig::script("systemd-boot.sh").arg(&dir).start(dir.join("log"));
        let pid = process.pid().as_raw_nonzero().to_string();
        let leader = process.wait(BOOT_TIMEOUT, "a machine that runs", || {
            // nspawn's child is the machine's first process; the child before that one has only made it
            let output = rig::program("pgrep").args(["-P", &pid]).run(TIMEOUT);
            let leader = String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned();
            let output = inside(&leader, &["systemctl", "is-system-running"]);
            let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            ["running", "degraded"].contains(&state.as_str()).then_some(leader)
        });
        Self { dir, leader, process }
    }

    /// Runs a command inside, as root.
    pub fn run(&self, args: &[&str]) -> Output {
        inside(&self.leader, args)
    }

    /// A command inside, not yet started.
    pub fn spec(&self, args: &[&str]) -> Spec {
        enter(&self.leader, args)
    }

    /// The same command of this machine in the network of that one.
    pub fn in_network(&self, spec: &Spec) -> Spec {
        rig::program("nsenter").args(["-t", &self.leader, "-n", "--", "bash", "-c", &format!("exec {}", spec.shell())])
    }

    /// A file or folder of that machine, as this one sees it.
    pub fn path(&self, path: &str) -> PathBuf {
        Path::new("/proc").join(&self.leader).join("root").join(path.trim_start_matches('/'))
    }

    /// The journal of a unit.
    pub fn journal(&self, unit: &str) -> String {
        let output = inside(&self.leader, &["journalctl", "--no-pager", "-o", "cat", "-u", unit]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        // With its first process goes the whole machine; when only nspawn ends, it stays.
        if let Some(leader) = self.leader.parse().ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(leader, rustix::process::Signal::KILL);
        }
        self.process.kill();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn enter(leader: &str, args: &[&str]) -> Spec {
    rig::program("nsenter").args(["-t", leader, "-m", "-u", "-i", "-n", "-p", "--"]).args(args)
}

fn inside(leader: &str, args: &[&str]) -> Output {
    enter(leader, args).run(TIMEOUT)
}

/// Why this machine cannot boot another, if it cannot.
fn impossible() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root".into());
    }
    if !Path::new("/usr/bin/systemd-nspawn").exists() {
        return Some("no systemd-nspawn".into());
    }
    // an overlay of the root, in a mount namespace of its own: what containers often may not do
    let probe = "d=$(mktemp -d /dev/shm/authd-probe-XXXXXX) && mkdir $d/u $d/w $d/r \
        && mount -t overlay overlay -o lowerdir=/,upperdir=$d/u,workdir=$d/w $d/r; s=$?; umount $d/r 2>/dev/null; rm -rf $d; exit $s";
    let output =
        rig::program("unshare").args(["--mount", "--propagation", "private", "--", "bash", "-c", probe]).run(TIMEOUT);
    (!output.status.success()).then(|| format!("no overlay mounts: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
