//! The hot path: what validating one token costs beside an answer of the same bytes that needs no thought.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::ask::Ask;
use crate::bare::Answer;
use crate::load::{self, Load, Outcome};
use crate::plan::Plan;
use crate::report::{Report, Row};
use crate::servers::Server;
use crate::wire::{self, Template};
use crate::{cores, seed};

/// One server in one round.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub cpu_micros: f64,
    pub per_second: f64,
    pub p50: f64,
    pub p99: f64,
}

/// The rounds of both servers, in order.
pub struct Pair {
    pub bare: Vec<Sample>,
    pub authd: Vec<Sample>,
}

impl Pair {
    pub fn row(&self, measure: &str, unit: &'static str, pick: impl Fn(&Sample) -> f64) -> Row {
        Row::beside(measure, unit, self.bare.iter().map(&pick).collect(), self.authd.iter().map(&pick).collect())
    }

    fn cpu(&self, what: &str) -> Row {
        self.row(&format!("CPU per validate, {what}"), "µs", |sample| sample.cpu_micros)
    }
}

/// How often the two servers of a comparison take turns in a round: what else the machine does changes within a second.
pub const TURNS: u64 = 6;

/// All kinds of tokens, and latency, with `plan.tokens` of each kind in the database.
pub fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    let data_dir = plan.dir.join("hot");
    seed::run(&plan.seed(&data_dir, plan.tokens, plan.tokens))?;
    let authd = Server::authd(&plan.authd, &data_dir, plan.cores.server)?;
    let many = thousands(plan.tokens);

    let valid = compare(plan, &authd, Ask::Valid)?;
    report.rows.push(valid.cpu(&format!("{many} hot tokens")).ratio_at_most(1.5));
    for (ask, what) in [
        (Ask::Scopes, "with required scopes"),
        (Ask::Malformed, "malformed"),
        (Ask::Expired, "expired"),
        (Ask::Revoked, "revoked"),
        (Ask::Unknown, "unknown, each asked about once"),
    ] {
        report.rows.push(compare(plan, &authd, ask)?.cpu(what));
    }
    report.rows.extend(refusals(plan, &authd)?);
    report.rows.push(valid.row(&format!("throughput, {many} hot tokens, 64 connections"), "req/s", |s| s.per_second));
    report.rows.push(valid.row("p50 of the same", "µs", |sample| sample.p50));
    report.rows.push(valid.row("p99 of the same", "µs", |sample| sample.p99));
    let alone = latency(plan, &authd)?;
    report.rows.push(alone.row("p50, one connection, all on one core", "µs", |sample| sample.p50));
    report.rows.push(alone.row("p99 of the same", "µs", |sample| sample.p99));
    report.rows.extend(memory(&authd, &format!("after all of these ({} tokens)", thousands(3 * plan.tokens)))?);
    authd.stop()
}

/// What is refused beside what is good, in the same rounds; what is good also has its last use written. (An unknown token may cost its one indexed read.)
fn refusals(plan: &Plan, authd: &Server) -> Result<Vec<Row>> {
    eprintln!("valid and refused in turn");
    let refused = [(Ask::Malformed, "malformed"), (Ask::Expired, "expired"), (Ask::Revoked, "revoked")];
    let (mut valid, mut others) = (Vec::new(), [const { Vec::new() }; 3]);
    // Each turn of valid ones is followed by a rest, so there are fewer.
    let turns = TURNS / 2;
    for round in 0..plan.rounds {
        let mut sums = [const { (Duration::ZERO, 0) }; 4];
        for turn in 0..turns {
            let asks = std::iter::once(Ask::Valid).chain(refused.iter().map(|(ask, _)| *ask));
            for (ask, (cpu, requests)) in asks.zip(&mut sums) {
                let (seed, seconds) = (round * turns + turn, plan.seconds / load::count(turns));
                let load = Load { seed, seconds, spin: plan.has_two_cores(), ..plan.load(authd.addr, ask) };
                let before = cores::cpu_time(authd.pid())?;
                *requests += cores::on(plan.cores.generator, || load::run(&load))?.requests;
                if ask == Ask::Valid {
                    // What it leaves to be written is its own cost, and not that of whoever comes next.
                    std::thread::sleep(plan.settle);
                }
                *cpu += cores::cpu_time(authd.pid())?.saturating_sub(before);
            }
        }
        let [of_valid, of_refused @ ..] = sums.map(|(cpu, requests)| cpu.as_secs_f64() * 1e6 / load::count(requests));
        valid.push(of_valid);
        others.iter_mut().zip(of_refused).for_each(|(samples, cpu)| samples.push(cpu));
    }
    let row = |((_, what), samples): (&(Ask, &str), Vec<f64>)| {
        let measure = format!("CPU per validate, {what} (limit: a valid one)");
        Row::beside(&measure, "µs", valid.clone(), samples).ratio_at_most(1.1)
    };
    Ok(refused.iter().zip(others).map(row).collect())
}

/// More tokens than the cache can hold.
pub fn measure_large(plan: &Plan, report: &mut Report) -> Result<()> {
    let data_dir = plan.dir.join("large");
    seed::run(&plan.seed(&data_dir, plan.many_tokens, 0))?;
    let many = thousands(plan.many_tokens);
    let starts = start_times(plan, &data_dir)?;
    report.rows.push(Row::alone(&format!("exec to ready, {many} tokens in the database"), "ms", starts).at_most(100.0));
    let authd = Server::authd(&plan.authd, &data_dir, plan.cores.server)?;
    let plan = Plan { tokens: plan.many_tokens, ..plan.clone() };
    let pair = compare(&plan, &authd, Ask::Valid)?;
    report.rows.push(pair.cpu(&format!("{many} tokens, default cache")).ratio_at_most(3.0));
    report.rows.push(pair.row(&format!("throughput, {many} tokens"), "req/s", |sample| sample.per_second));
    let [all, anonymous] = memory(&authd, &format!("after {many} tokens"))?;
    report.rows.extend([all.at_most(100.0), anonymous]);
    authd.stop()
}

/// Start time, memory and size of a daemon that has nothing to do.
pub fn measure_idle(plan: &Plan, report: &mut Report) -> Result<()> {
    let data_dir = plan.dir.join("idle");
    // The first start makes the database and its keys; those after it are what an operator waits for.
    let first = Server::authd(&plan.authd, &data_dir, plan.cores.server)?;
    let first_ready = first.ready;
    let answer = fixed_answer(&first, Ask::Unknown)?;
    first.stop()?;
    let mut bare = Vec::new();
    for _ in 0..plan.rounds {
        let server = Server::bare(&answer, &plan.dir, plan.cores.server)?;
        bare.push(server.ready.as_secs_f64() * 1000.0);
    }
    let starts = start_times(plan, &data_dir)?;
    report.rows.push(Row::beside("exec to first 200", "ms", bare, starts));
    report.rows.push(Row::alone("exec to first 200, very first start", "ms", vec![first_ready.as_secs_f64() * 1000.0]));
    let authd = Server::authd(&plan.authd, &data_dir, plan.cores.server)?;
    // What a start leaves for later is done by then.
    std::thread::sleep(plan.settle);
    let [all, anonymous] = memory(&authd, "idle")?;
    report.rows.extend([all.at_most(20.0), anonymous.at_most(4.0)]);
    let size = std::fs::metadata(&plan.authd)?.len();
    report.rows.push(Row::alone("size of the binary", "MiB", vec![load::count(size) / 1024.0 / 1024.0]));
    authd.stop()
}

fn start_times(plan: &Plan, data_dir: &Path) -> Result<Vec<f64>> {
    let start = |_| {
        let server = Server::authd(&plan.authd, data_dir, plan.cores.server)?;
        let ready = server.ready.as_secs_f64() * 1000.0;
        server.stop()?;
        Ok(ready)
    };
    (0..plan.rounds).map(start).collect()
}

fn memory(server: &Server, when: &str) -> Result<[Row; 2]> {
    let memory = cores::memory(server.pid())?;
    Ok([
        Row::alone(&format!("RSS {when}"), "MiB", vec![memory.rss]),
        Row::alone("of that its own (RssAnon)", "MiB", vec![memory.anonymous]),
    ])
}

/// Rounds of bare and authd in turn, 64 connections.
pub fn compare(plan: &Plan, authd: &Server, ask: Ask) -> Result<Pair> {
    eprintln!("{ask:?} of {}", plan.tokens);
    let bare = Server::bare(&fixed_answer(authd, ask)?, &plan.dir, plan.cores.server)?;
    if ask != Ask::Unknown {
        // Every token once, so that the rounds find the cache as a daemon that has run for a while has it.
        let warm = Load { in_order: true, requests: plan.tokens, seconds: 600.0, ..plan.load(authd.addr, ask) };
        cores::on(plan.cores.generator, || load::run(&warm))?;
    }
    let mut pair = Pair { bare: Vec::new(), authd: Vec::new() };
    for round in 1..=plan.rounds {
        let mut sums = [Sum::default(), Sum::default()];
        for turn in 0..TURNS {
            let turn = round * TURNS + turn;
            for (server, sum) in [&bare, authd].into_iter().zip(&mut sums) {
                let seconds = plan.seconds / load::count(TURNS);
                let mut load = Load { seed: turn, seconds, spin: plan.has_two_cores(), ..plan.load(server.addr, ask) };
                if ask == Ask::Unknown {
                    load = Load { in_order: true, start: turn << 32, among: 1 << 32, ..load };
                }
                sum.add(server, &load, plan.cores.generator)?;
            }
        }
        let [bare, authd] = sums.map(Sum::sample);
        pair.bare.push(bare);
        pair.authd.push(authd);
    }
    Ok(pair)
}

/// The same with one connection and the generator on the server's core, so that no core has to be woken up.
fn latency(plan: &Plan, authd: &Server) -> Result<Pair> {
    eprintln!("latency");
    let bare = Server::bare(&fixed_answer(authd, Ask::Valid)?, &plan.dir, plan.cores.server)?;
    let mut pair = Pair { bare: Vec::new(), authd: Vec::new() };
    for round in 1..=plan.rounds {
        for (server, samples) in [(&bare, &mut pair.bare), (authd, &mut pair.authd)] {
            let load = Load { seed: round, connections: 1, ..plan.load(server.addr, Ask::Valid) };
            samples.push(sample(server, &load, plan.cores.server)?);
        }
    }
    Ok(pair)
}

pub fn sample(server: &Server, load: &Load, core: usize) -> Result<Sample> {
    let mut sum = Sum::default();
    sum.add(server, load, core)?;
    Ok(sum.sample())
}

/// Several loads of one server, taken together.
#[derive(Default)]
pub struct Sum {
    cpu: Duration,
    outcome: Outcome,
}

impl Sum {
    pub fn add(&mut self, server: &Server, load: &Load, core: usize) -> Result<()> {
        let before = cores::cpu_time(server.pid())?;
        let outcome = cores::on(core, || load::run(load))?;
        self.cpu += cores::cpu_time(server.pid())?.saturating_sub(before);
        self.outcome.add(outcome);
        Ok(())
    }

    pub fn sample(self) -> Sample {
        Sample {
            cpu_micros: self.cpu.as_secs_f64() * 1e6 / load::count(self.outcome.requests),
            per_second: self.outcome.per_second(),
            p50: self.outcome.percentile(0.5),
            p99: self.outcome.percentile(0.99),
        }
    }
}

/// What authd answers to this question, for the bare server to answer too. hyper writes date and length by itself.
pub fn fixed_answer(authd: &Server, ask: Ask) -> Result<Answer> {
    let (head, body) = wire::exchange(authd.addr, Template::new(ask, authd.addr).fill(0))?;
    let own = |name: &str| ["date", "content-length"].iter().any(|other| name.eq_ignore_ascii_case(other));
    let headers = wire::headers(&head).filter(|(name, _)| !own(name));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("an answer without a status")?;
    Ok(Answer { status, headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), body })
}

pub fn thousands(count: u64) -> String {
    if count.is_multiple_of(1_000_000) {
        return format!("{} M", count / 1_000_000);
    }
    if count.is_multiple_of(1_000) {
        return format!("{} k", count / 1_000);
    }
    count.to_string()
}
