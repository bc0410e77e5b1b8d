//! Minting tokens durably, beside what SQLite can commit at all on the same disk, and beside the floor of a new token:
//! one thread that writes exactly its rows with their indexes, plus the CPU of a bare answer over HTTP.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};

use crate::ask::Ask;
use crate::cores;
use crate::hot_path;
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
    let mut floor = Floor::open(&data_dir.join("floor.db"), &data_dir.join("authd.db"))?;
    let bare = Server::bare(&hot_path::fixed_answer(&authd, Ask::Create)?, &plan.dir, plan.cores.server)?;
    // The fixed answer has taken the first name.
    let mut minted = 1;
    for (ask, what) in [(Ask::Create, ""), (Ask::CreateKeyed, ", with Idempotency-Key")] {
        eprintln!("create: one caller, then {CALLERS}{what}");
        let (mut limit, mut own) = (Vec::new(), Vec::new());
        let (mut limit_rate, mut own_rate) = (Vec::new(), Vec::new());
        let (mut rows_rate, mut floor_rate, mut bare_cpu, mut own_cpu) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
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
            let is_keyed = ask == Ask::CreateKeyed;
            let rows = cores::on(plan.cores.server, || floor.commits(plan.commits / 4, CALLERS, is_keyed))?;
            let load = Load { requests: plan.commits * 8, seconds: 600.0, ..plan.load(bare.addr, ask) };
            let answers = hot_path::sample(&bare, &load, plan.cores.generator)?.cpu_micros;
            rows_rate.push(rows);
            bare_cpu.push(answers);
            // All on one core: the time of the rows and the time of the answer add up.
            floor_rate.push(1e6 / (1e6 / rows + answers));
            let before = cores::cpu_time(authd.pid())?;
            own_rate.push(mint(CALLERS, plan.commits * 8)?.per_second());
            let used = cores::cpu_time(authd.pid())?.saturating_sub(before);
            own_cpu.push(used.as_secs_f64() * 1e6 / load::count(plan.commits * 8));
        }
        let row = Row::beside(&format!("create, one caller, p50{what} (limit: one raw commit)"), "µs", limit, own);
        report.rows.push(row.ratio_at_most(3.0));
        let name = format!("create, {CALLERS} callers{what} (limit: raw, {CALLERS} rows a commit)");
        report.rows.push(Row::beside(&name, "rows/s", limit_rate.clone(), own_rate.clone()));
        let name =
            format!("the rows and indexes of a token alone, raw, {CALLERS} a commit{what}, beside the same limit");
        report.rows.push(Row::beside(&name, "tokens/s", limit_rate, rows_rate));
        let name = format!("create, {CALLERS} callers{what} (floor: those rows and a bare answer, on one core)");
        report.rows.push(Row::beside(&name, "tokens/s", floor_rate, own_rate).ratio_at_least(0.6));
        let name = format!("CPU per new token, {CALLERS} callers{what} (limit: a bare answer alone)");
        report.rows.push(Row::beside(&name, "µs", bare_cpu, own_cpu));
    }
    authd.stop()
}

/// The daemon's own schema in a database of one's own, filled by one thread with what a new token needs and nothing
/// else: no request, no caller, no answer, no second thread.
struct Floor {
    db: Connection,
    written: u64,
}

impl Floor {
    fn open(path: &Path, authd: &Path) -> Result<Self> {
        let db = Connection::open(path)?;
        db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -4096; PRAGMA wal_autocheckpoint = 4000")?;
        let like = Connection::open(authd)?;
        let mut made = like.prepare(
            "SELECT sql FROM sqlite_master WHERE tbl_name IN ('tokens', 'secrets', 'audit', 'counters', 'idempotency') \
             AND sql IS NOT NULL AND type <> 'trigger' ORDER BY type = 'index'",
        )?;
        for sql in made.query_map([], |row| row.get::<_, String>(0))? {
            db.execute_batch(&sql?)?;
        }
        db.execute_batch("INSERT INTO counters (name, value) VALUES ('tokens.live', 0), ('tokens.all', 0)")?;
        Ok(Self { db, written: 0 })
    }

    /// Tokens per second.
    fn commits(&mut self, how_many: u64, rows: usize, is_keyed: bool) -> Result<f64> {
        const AT: i64 = 1_800_000_000_000;
        let (scopes, key_id) = (r#"["read","write"]"#, "0190a6f0-0000-7000-8000-000000000000");
        let mut token = self.db.prepare_cached(
            "INSERT INTO tokens (id, name, live_name, scopes, metadata, cidrs, created_at, created_by, secret) \
             VALUES (?1, ?2, ?2, ?3, '{}', '[]', ?4, 'admin-token', ?5)",
        )?;
        let mut secret = self.db.prepare_cached(
            "INSERT INTO secrets (slot, rest, token_id, name, scopes, cidrs, revoked) VALUES (?1, ?2, ?3, ?4, ?5, '[]', 0)",
        )?;
        let mut audit = self.db.prepare_cached(
            "INSERT INTO audit (id, at, actor, action, subject, outcome, address, request_id, detail) \
             VALUES (?1, ?2, 'admin-token', 'tokens.create', ?3, 'ok', '127.0.0.1', '01234567-89ab', ?4)",
        )?;
        let mut key = self.db.prepare_cached(
            "INSERT INTO idempotency (key, request, subject, key_id, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let begin = Instant::now();
        for _ in 0..how_many {
            self.db.execute_batch("BEGIN IMMEDIATE")?;
            for _ in 0..rows {
                self.written += 1;
                let at = AT + i64::try_from(self.written)?;
                let hash = Sha256::digest(self.written.to_be_bytes());
                let id = format!("{:08x}-{:04x}-7000-8000-{:012x}", at >> 16, at & 0xffff, self.written);
                let name = format!("bench-{:016x}", self.written);
                let slot = i64::from_be_bytes(hash[..8].try_into()?);
                token.execute(params![id, name, scopes, at, slot])?;
                secret.execute(params![slot, &hash[8..], &hash[..16], name, scopes])?;
                if is_keyed {
                    let key_hash = Sha256::digest(hash);
                    key.execute(params![key_hash.as_slice(), hash.as_slice(), id, key_id, at, at + 86_400_000])?;
                }
                audit.execute(params![key_id, at, id, format!(r#"{{"name":"{name}","scopes":{scopes}}}"#)])?;
            }
            self.db.execute("UPDATE counters SET value = value + ?1", params![i64::try_from(rows)?])?;
            self.db.execute_batch("COMMIT")?;
        }
        Ok(load::count(how_many * rows as u64) / begin.elapsed().as_secs_f64())
    }
}

/// A table of one's own in the same folder: WAL, synchronous=FULL, one thread.
pub struct Raw(Connection);

pub struct Commits {
    /// Microseconds per commit.
    p50: f64,
    rows_per_second: f64,
}

impl Raw {
    pub fn open(path: &Path) -> Result<Self> {
        let db = Connection::open(path)?;
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE raw (id INTEGER PRIMARY KEY, payload BLOB NOT NULL)",
        )?;
        Ok(Self(db))
    }

    pub fn commits(&self, how_many: u64, rows: usize) -> Result<Commits> {
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
