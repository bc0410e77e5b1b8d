//! How much is measured, and where.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::ask::Ask;
use crate::cores::Cores;
use crate::load::Load;
use crate::report::Report;
use crate::seed::Seed;
use crate::{creation, grpc, hot_path, people, storm, uploads};

/// Measures authd and prints the table.
#[derive(Clone, Debug, clap::Args)]
pub struct Run {
    /// The daemon; default: the one beside this program.
    #[arg(long)]
    authd: Option<PathBuf>,
    /// The folder for the databases, on the disk that counts; default: the one beside this program.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Rounds of each comparison; the medians are reported.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Seconds of each round.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// A few seconds in all: shows that the benchmark works, measures nothing.
    #[arg(long)]
    quick: bool,
    #[arg(long)]
    json: bool,
    /// Exit 1 if a target was missed.
    #[arg(long)]
    gate: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Hot,
    Large,
    Create,
    Idle,
    People,
    Grpc,
    Accounts,
    Uploads,
}

/// How a part is measured.
type Measure = fn(&Plan, &mut Report) -> Result<()>;

/// The same, decided.
#[derive(Clone, Debug)]
pub struct Plan {
    pub authd: PathBuf,
    /// A temporary folder; it goes with the run.
    pub dir: PathBuf,
    pub cores: Cores,
    pub rounds: u64,
    pub seconds: f64,
    /// Tokens of each kind that are hot together.
    pub tokens: u64,
    /// More than fit into the cache.
    pub many_tokens: u64,
    /// Raw commits, and tokens of one caller, in a round.
    pub commits: u64,
    /// Logins, and raw hashes, in a turn.
    pub logins: u64,
    /// Uploads of a round.
    pub uploads: usize,
    /// How long a daemon rests before it is called idle.
    pub settle: Duration,
}

impl Plan {
    pub fn seed(&self, data_dir: &Path, valid: u64, others: u64) -> Seed {
        eprintln!("seeding {valid} valid and 2 x {others} other tokens");
        Seed { authd: self.authd.clone(), data_dir: data_dir.to_owned(), valid, expired: others, revoked: others }
    }

    /// Whether the generator has a core of its own.
    pub fn has_two_cores(&self) -> bool {
        self.cores.generator != self.cores.server
    }

    pub fn load(&self, addr: SocketAddr, ask: Ask) -> Load {
        Load {
            addr,
            ask,
            connections: 64,
            among: self.tokens,
            start: 0,
            seed: 0,
            in_order: false,
            spin: false,
            seconds: self.seconds,
            requests: u64::MAX,
        }
    }
}

impl Run {
    /// Whether the exit code is 0.
    pub fn run(self) -> Result<bool> {
        let own = std::env::current_exe()?;
        let folder = own.parent().context("this program is in no folder")?;
        let authd = self.authd.unwrap_or_else(|| folder.join("authd"));
        ensure!(authd.exists(), "there is no {}: build it, or name it with --authd", authd.display());
        ensure!(self.rounds > 0, "at least one round is needed");
        let parent = self.dir.unwrap_or_else(|| folder.to_owned());
        let dir = tempfile::Builder::new().prefix("bench-").tempdir_in(&parent)?;
        let cores = Cores::choose()?;
        let full = Plan {
            authd: std::fs::canonicalize(authd)?,
            dir: dir.path().to_owned(),
            cores,
            rounds: self.rounds,
            seconds: self.seconds,
            tokens: 100_000,
            many_tokens: 1_000_000,
            commits: 400,
            logins: 24,
            uploads: 64,
            settle: Duration::from_secs(5),
        };
        let plan = if self.quick {
            let settle = Duration::from_millis(50);
            Plan {
                rounds: 1,
                seconds: 0.1,
                tokens: 100,
                many_tokens: 2_000,
                commits: 8,
                logins: 1,
                uploads: 2,
                settle,
                ..full
            }
        } else {
            full
        };
        let mut report = Report::new(dir.path(), cores)?;
        report.conditions.push(format!(
            "{} rounds of {} s in turn, medians; CPU is user and system time of the process tree per request.",
            plan.rounds, plan.seconds
        ));
        if self.quick {
            report.conditions.push("A quick run: too short for the figures to mean anything.".to_owned());
        }
        let wanted = |part| self.only.is_empty() || self.only.contains(&part);
        let parts: [(Part, Measure); 8] = [
            (Part::Hot, hot_path::measure),
            (Part::Large, hot_path::measure_large),
            (Part::Idle, hot_path::measure_idle),
            (Part::Create, creation::measure),
            (Part::People, people::measure),
            (Part::Grpc, grpc::measure),
            (Part::Accounts, storm::measure_sign_ups),
            (Part::Uploads, uploads::measure),
        ];
        let mut is_whole = true;
        for (part, measure) in parts {
            // What was measured before a failure is worth minutes: it is printed all the same.
            if wanted(part)
                && let Err(error) = measure(&plan, &mut report)
            {
                is_whole = false;
                eprintln!("{part:?} failed: {error:?}");
            }
        }
        let text = if self.json { serde_json::to_string_pretty(&report)? } else { report.markdown() };
        println!("{text}");
        Ok(is_whole && (!self.gate || report.missed() == 0))
    }
}
