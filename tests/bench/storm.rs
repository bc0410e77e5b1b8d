//! Validates at a fixed rate while logins saturate the hashing threads, beside a bare hyper answer at the same rate
//! beside as many raw Argon2id threads. Latency counts from the moment at which a request was due, so that a server
//! that stalls cannot hide it by delaying the next request.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::ask::Ask;
use crate::cores;
use crate::hot_path::fixed_answer;
use crate::plan::Plan;
use crate::report::{Report, Row};
use crate::servers::Server;
use crate::wire::{Reader, TIMEOUT, Template};

/// How long a login may take: many wait for one another, and for whatever else the machine does.
const LOGIN_PATIENCE: Duration = Duration::from_mins(1);

/// Validates per second, over so many connections.
const RATE: u64 = 1_000;
const CONNECTIONS: u64 = 8;

pub fn measure(plan: &Plan, authd: &Server, logins: usize, report: &mut Report) -> Result<()> {
    eprintln!("validates beside a storm of {logins} logins");
    let bare = Server::bare(&fixed_answer(authd, Ask::Valid)?, &plan.dir, plan.cores.server)?;
    let (mut limit, mut own) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let mut storms = Vec::new();
    for _ in 0..plan.rounds {
        // authd hashes on as many threads as cores: here it is pinned to one.
        let raw = Raw::start(plan.cores.server)?;
        let times = cores::on(plan.cores.generator, || fixed_rate(bare.addr, plan))?;
        drop(raw);
        keep(&mut limit, &times);
        let (times, logins) = cores::on(plan.cores.generator, || beside_logins(authd.addr, plan, logins))?;
        keep(&mut own, &times);
        storms.push(crate::load::count(logins) / plan.seconds);
    }
    let ([limit_p50, limit_p99], [own_p50, own_p99]) = (limit, own);
    let what = format!("validate, {RATE}/s beside {logins} logins (limit: bare answer beside a raw Argon2id thread)");
    report.rows.push(Row::beside(&format!("p50 of {what}"), "µs", limit_p50, own_p50));
    report.rows.push(Row::beside(&format!("p99 of {what}"), "µs", limit_p99, own_p99).ratio_at_most(3.0));
    report.rows.push(Row::alone("logins meanwhile, one core", "per second", storms));
    Ok(())
}

fn keep([p50, p99]: &mut [Vec<f64>; 2], times: &[Duration]) {
    let at = |share: usize| times.get(times.len() * share / 100).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6);
    p50.push(at(50));
    p99.push(at(99));
}

/// One raw Argon2id thread on a core, until it is dropped.
struct Raw(Child);

impl Raw {
    fn start(core: usize) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["hash", "--threads", "1"]).stdin(Stdio::null());
        Ok(Self(cores::on(core, || command.spawn().context("cannot start the raw hashing"))?))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Both fail only if it has ended already, which is what is wanted.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Sorted latencies, and how many logins were answered meanwhile.
fn beside_logins(addr: SocketAddr, plan: &Plan, logins: usize) -> Result<(Vec<Duration>, u64)> {
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let storm: Vec<_> = (0..logins)
            .map(|place| {
                let (stop, answered) = (&stop, &answered);
                scope.spawn(move || -> Result<()> {
                    let mut connection = Asker::connect(addr, Ask::Login)?;
                    while !stop.load(Ordering::Relaxed) {
                        connection.ask(place as u64)?;
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        let times = fixed_rate(addr, plan);
        let count = answered.load(Ordering::Relaxed);
        stop.store(true, Ordering::Relaxed);
        for login in storm {
            login.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        Ok((times?, count))
    })
}

/// Asks at the fixed rate; the sorted times from when each request was due until its answer was there.
fn fixed_rate(addr: SocketAddr, plan: &Plan) -> Result<Vec<Duration>> {
    let pause = Duration::from_secs(1) / u32::try_from(RATE / CONNECTIONS)?;
    let begin = Instant::now() + Duration::from_millis(200);
    let end = begin + Duration::from_secs_f64(plan.seconds);
    let mut times = thread::scope(|scope| -> Result<Vec<Duration>> {
        let askers: Vec<_> = (0..CONNECTIONS)
            .map(|place| {
                scope.spawn(move || -> Result<Vec<Duration>> {
                    let mut connection = Asker::connect(addr, Ask::Valid)?;
                    let mut due = begin + pause * u32::try_from(place)? / u32::try_from(CONNECTIONS)?;
                    let (mut times, mut index) = (Vec::new(), place);
                    while due < end {
                        thread::sleep(due.saturating_duration_since(Instant::now()));
                        connection.ask(index % plan.tokens)?;
                        times.push(due.elapsed());
                        index += CONNECTIONS;
                        due += pause;
                    }
                    Ok(times)
                })
            })
            .collect();
        let mut times = Vec::new();
        for asker in askers {
            times.extend(asker.join().map_err(|_| anyhow!("a thread panicked"))??);
        }
        Ok(times)
    })?;
    times.sort_unstable();
    Ok(times)
}

/// A connection that asks one thing after the other.
struct Asker {
    stream: TcpStream,
    template: Template,
    reader: Reader,
    received: Vec<u8>,
}

impl Asker {
    fn connect(addr: SocketAddr, ask: Ask) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(if ask == Ask::Login { LOGIN_PATIENCE } else { TIMEOUT }))?;
        Ok(Self { stream, template: Template::new(ask, addr), reader: Reader::new(ask), received: vec![0; 16 * 1024] })
    }

    fn ask(&mut self, index: u64) -> Result<()> {
        self.stream.write_all(self.template.fill(index))?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.received[filled..])?;
            ensure!(read > 0, "the server closed a connection");
            filled += read;
            if self.reader.check(&self.received[..filled])?.is_some() {
                return Ok(());
            }
        }
    }
}
