//! Validates at a fixed rate while logins saturate the hashing threads, beside a bare hyper answer at the same rate
//! beside as many raw Argon2id threads. Latency counts from the moment at which a request was due, so that a server
//! that stalls cannot hide it by delaying the next request.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::ask::Ask;
use crate::hot_path::fixed_answer;
use crate::plan::Plan;
use crate::report::{Report, Row};
use crate::servers::Server;
use crate::wire::{Reader, TIMEOUT, Template};
use crate::{cores, creation, seed};

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
        let beside = || beside(Ask::Login, authd.addr, plan, logins, 0);
        let (times, logins) = cores::on(plan.cores.generator, beside)?;
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

/// Validates beside so many callers who sign up, with the limits raised, beside validates alone, and beside bare answers
/// next to a thread that only commits to SQLite on the same core: without that the limit would be an idle core. Each
/// sign-up is a commit and a mail; the mails go to a server that takes them at once.
pub fn measure_sign_ups(plan: &Plan, report: &mut Report) -> Result<()> {
    let callers = 64;
    eprintln!("validates beside a storm of {callers} sign-ups");
    let data_dir = plan.dir.join("accounts");
    seed::run(&plan.seed(&data_dir, plan.tokens, 0))?;
    let most = 1_000_000;
    let toml = format!(
        "[accounts]\nsign_up = \"open\"\n[mail]\nsmtp_url = \"smtp://{}?tls=none\"\nfrom = \"bench@example.com\"\n\
         max_queued = {most}\nper_hour = {most}\nper_network_per_hour = {most}\n",
        mailbox()?
    );
    let authd = Server::authd_with(&toml, &plan.authd, &data_dir, plan.cores.server)?;
    let bare = Server::bare(&fixed_answer(&authd, Ask::Valid)?, &plan.dir, plan.cores.server)?;
    let raw = creation::Raw::open(&plan.dir.join("beside.db"))?;
    let (mut limit, mut alone, mut own) =
        ([const { Vec::new() }; 2], [const { Vec::new() }; 2], [const { Vec::new() }; 2]);
    let (mut signed_up, mut first) = (Vec::new(), 0);
    for _ in 0..plan.rounds {
        keep(&mut limit, &beside_commits(&raw, bare.addr, plan, callers)?);
        keep(&mut alone, &cores::on(plan.cores.generator, || fixed_rate(authd.addr, plan))?);
        let beside = || beside(Ask::SignUp, authd.addr, plan, callers, first);
        let (times, count) = cores::on(plan.cores.generator, beside)?;
        keep(&mut own, &times);
        // Each address once.
        first += count + u64::try_from(callers)?;
        signed_up.push(crate::load::count(count) / plan.seconds);
    }
    let ([limit_p50, limit_p99], [alone_p50, alone_p99], [own_p50, own_p99]) = (limit, alone, own);
    let what = format!("validate, {RATE}/s beside {callers} callers who sign up");
    let row = |share, limit, times: &[f64], than| {
        Row::beside(&format!("{share} of {what} (limit: {than})"), "µs", limit, times.to_vec())
    };
    report.rows.push(row("p50", alone_p50, &own_p50, "the same alone"));
    report.rows.push(row("p99", alone_p99, &own_p99, "the same alone"));
    let than = "bare answer beside a thread that commits";
    report.rows.push(row("p50", limit_p50, &own_p50, than));
    report.rows.push(row("p99", limit_p99, &own_p99, than).ratio_at_most(1.5));
    report.rows.push(Row::alone("sign-ups meanwhile, one core", "per second", signed_up));
    authd.stop()
}

/// Bare answers at the fixed rate, beside a thread on the server's core that commits `ROWS` rows for each of the callers
/// at once, as authd's writer does for sign-ups that wait together.
fn beside_commits(raw: &creation::Raw, addr: SocketAddr, plan: &Plan, callers: usize) -> Result<Vec<Duration>> {
    /// A sign-up writes a link, a mail, an audit row and the counters of its limits.
    const ROWS: usize = 5;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let times = cores::on(plan.cores.generator, || fixed_rate(addr, plan));
            stop.store(true, Ordering::Relaxed);
            times
        });
        cores::on(plan.cores.server, || -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                raw.commits(1, callers * ROWS)?;
            }
            Ok(())
        })?;
        asking.join().map_err(|_| anyhow!("a thread panicked"))?
    })
}

/// A mail server on threads of this process: it takes everything and keeps nothing.
fn mailbox() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away is no fault of the server's.
            thread::spawn(move || take_mails(stream).ok());
        }
    });
    Ok(addr)
}

fn take_mails(stream: TcpStream) -> Result<()> {
    let (mut reader, mut stream) = (BufReader::new(stream.try_clone()?), stream);
    let (mut line, mut is_data) = (String::new(), false);
    stream.write_all(b"220 bench\r\n")?;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let answer: &[u8] = match (is_data, line.trim_end()) {
            (true, ".") => b"250 ok\r\n",
            (true, _) => continue,
            (false, "DATA") => b"354 go on\r\n",
            (false, "QUIT") => b"221 bye\r\n",
            (false, _) => b"250 ok\r\n",
        };
        is_data = answer.starts_with(b"354");
        stream.write_all(answer)?;
    }
}

/// Sorted latencies, and how many requests of the storm were answered meanwhile. Each of them is about another subject,
/// from `first` on, but logins.
fn beside(ask: Ask, addr: SocketAddr, plan: &Plan, callers: usize, first: u64) -> Result<(Vec<Duration>, u64)> {
    let (stop, answered, next) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(first));
    thread::scope(|scope| {
        let storm: Vec<_> = (0..callers)
            .map(|place| {
                let (stop, answered, next) = (&stop, &answered, &next);
                scope.spawn(move || -> Result<()> {
                    let mut connection = Asker::connect(addr, ask)?;
                    while !stop.load(Ordering::Relaxed) {
                        let subject =
                            if ask == Ask::Login { place as u64 } else { next.fetch_add(1, Ordering::Relaxed) };
                        connection.ask(subject)?;
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        let times = fixed_rate(addr, plan);
        let count = answered.load(Ordering::Relaxed);
        stop.store(true, Ordering::Relaxed);
        for caller in storm {
            caller.join().map_err(|_| anyhow!("a thread panicked"))??;
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
