//! Minting tokens durably, beside what SQLite can commit at all on the same disk.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use rusqlite::{Connection, params};

use crate::ask::Ask;
use crate::cores;
use crate::load::{self, Load};
use crate::plan::Plan;
use crate::report::{Report, Row};
use crate::servers::Server;

/// Callers that mint at the same time, and rows per commit of the limit beside them.
const CALLERS: usize = 64;

pub fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    let data_dir = plan.dir.join("create");
    let authd = Server::authd(&plan.authd, &data_dir, plan.cores.server)?;
    let raw = Raw::open(&data_dir.join("raw.db"))?;
    let mut minted = 0;
    for (ask, what) in [(Ask::Create, ""), (Ask::CreateKeyed, ", with Idempotency-Key")] {
        eprintln!("create: one caller, then {CALLERS}{what}");
        let (mut limit, mut own) = (Vec::new(), Vec::new());
        let (mut limit_rate, mut own_rate) = (Vec::new(), Vec::new());
        let mut mint = |connections: usize, requests: u64| {
            // No name twice: the numbers go on where the last round stopped.
            let load = Load {
                connections,
                requests,
                among: requests,
                start: minted,
                in_order: true,
                seconds: 600.0,
                ..plan.load(authd.addr, ask)
            };
            minted += requests;
            cores::on(plan.cores.generator, || load::run(&load))
        };
        for _ in 0..plan.rounds {
            limit.push(cores::on(plan.cores.server, || raw.commits(plan.commits, 1))?.p50);
            own.push(mint(1, plan.commits)?.percentile(0.5));
            limit_rate.push(cores::on(plan.cores.server, || raw.commits(plan.commits / 4, CALLERS))?.rows_per_second);
            own_rate.push(mint(CALLERS, plan.commits * 8)?.per_second());
        }
        let row = Row::beside(&format!("create, one caller, p50{what} (limit: one raw commit)"), "µs", limit, own);
        report.rows.push(row.ratio_at_most(3.0));
        let name = format!("create, {CALLERS} callers{what} (limit: raw, {CALLERS} rows a commit)");
        report.rows.push(Row::beside(&name, "rows/s", limit_rate, own_rate).ratio_at_least(0.3));
    }
    authd.stop()
}

/// A table of one's own in the same folder: WAL, synchronous=FULL, one thread.
struct Raw(Connection);

struct Commits {
    /// Microseconds per commit.
    p50: f64,
    rows_per_second: f64,
}

impl Raw {
    fn open(path: &Path) -> Result<Self> {
        let db = Connection::open(path)?;
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE raw (id INTEGER PRIMARY KEY, payload BLOB NOT NULL)",
        )?;
        Ok(Self(db))
    }

    fn commits(&self, how_many: u64, rows: usize) -> Result<Commits> {
        let mut insert = self.0.prepare_cached("INSERT INTO raw (payload) VALUES (?1)")?;
        let mut times = Vec::new();
        let begin = Instant::now();
        for _ in 0..how_many {
            let asked = Instant::now();
            self.0.execute_batch("BEGIN IMMEDIATE")?;
            for _ in 0..rows {
                // About what one token's row holds.
                insert.execute(params![[0x5a_u8; 200].as_slice()])?;
            }
            self.0.execute_batch("COMMIT")?;
            times.push(asked.elapsed().as_secs_f64() * 1e6);
        }
        let rows_per_second = load::count(how_many * rows as u64) / begin.elapsed().as_secs_f64();
        Ok(Commits { p50: crate::report::median(&times), rows_per_second })
    }
}
