//! The load generator: keep-alive connections on one epoll, one thread, one core. Each connection sends its next
//! request when the last one is answered, and every answer is checked.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll;

use crate::ask::Ask;
use crate::token;
use crate::wire::{Reader, TIMEOUT, Template};

/// Asks a server until the time or the number of requests is up.
#[derive(Clone, Debug, clap::Args)]
pub struct Load {
    #[arg(long)]
    pub addr: SocketAddr,
    #[arg(long, value_enum)]
    pub ask: Ask,
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Ask about subjects START to START + AMONG - 1, uniformly at random.
    #[arg(long, default_value_t = 100_000)]
    pub among: u64,
    #[arg(long, default_value_t = 0)]
    pub start: u64,
    /// Another number, another random order.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// One after the other, round and round, instead of at random.
    #[arg(long)]
    pub in_order: bool,
    /// Never sleep while waiting for answers. For a core of its own: to wake a client that sleeps costs the server an
    /// interrupt to another core, and the slower server finds it asleep more often.
    #[arg(long)]
    pub spin: bool,
    /// Seconds; what is under way then is still waited for.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// At most so many requests.
    #[arg(long, default_value_t = u64::MAX)]
    pub requests: u64,
}

/// What a load found out. Times as measured by the client.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub requests: u64,
    pub elapsed: Duration,
    /// Nanoseconds of each request, sorted.
    latencies: Vec<u32>,
}

impl Outcome {
    /// Takes in what another load of the same kind found out.
    pub fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.elapsed += other.elapsed;
        self.latencies.extend(other.latencies);
        self.latencies.sort_unstable();
    }

    pub fn per_second(&self) -> f64 {
        count(self.requests) / self.elapsed.as_secs_f64()
    }

    /// Microseconds that this share of the requests took at most.
    pub fn percentile(&self, share: f64) -> f64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below the length")]
        let index = (count(self.latencies.len() as u64) * share) as usize;
        let nanos = self.latencies.get(index.min(self.latencies.len().saturating_sub(1)));
        nanos.map_or(f64::NAN, |nanos| f64::from(*nanos) / 1000.0)
    }
}

/// Exact up to 2⁵³, which no run reaches.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub fn count(requests: u64) -> f64 {
    requests as f64
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    filled: usize,
    asked: Instant,
}

/// The order of subjects, and how many more may be asked about.
struct Subjects {
    load: Load,
    state: u64,
    asked: u64,
    end: Instant,
}

impl Subjects {
    /// The next subject's number, unless it is time to stop.
    fn next(&mut self, now: Instant) -> Option<u64> {
        if self.asked >= self.load.requests || now >= self.end {
            return None;
        }
        let offset = if self.load.in_order {
            self.asked % self.load.among
        } else {
            // The high half of a product: uniform without a division.
            let wide = u128::from(token::next(&mut self.state)) * u128::from(self.load.among);
            u64::try_from(wide >> 64).unwrap_or_default()
        };
        self.asked += 1;
        Some(self.load.start + offset)
    }
}

pub fn run(load: &Load) -> Result<Outcome> {
    ensure!(load.connections > 0 && load.among > 0, "at least one connection and one subject are needed");
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut connections =
        (0..load.connections).map(|place| connect(load.addr, &poll, place)).collect::<Result<Vec<_>>>()?;
    let mut template = Template::new(load.ask, load.addr);
    let mut reader = Reader::new(load.ask);
    let begin = Instant::now();
    let end = begin.checked_add(Duration::try_from_secs_f64(load.seconds)?).context("too many seconds")?;
    let mut subjects = Subjects { state: load.seed, load: load.clone(), asked: 0, end };
    let mut latencies = Vec::with_capacity(1 << 20);
    let mut open = 0;
    for connection in &mut connections {
        let now = Instant::now();
        if let Some(subject) = subjects.next(now) {
            connection.send(template.fill(subject), now)?;
            open += 1;
        }
    }
    let mut events = Vec::with_capacity(load.connections);
    let wait = if load.spin { 0 } else { TIMEOUT.as_secs() };
    let wait = Timespec { tv_sec: i64::try_from(wait)?, tv_nsec: 0 };
    let mut last = Instant::now();
    while open > 0 {
        events.clear();
        match epoll::wait(&poll, spare_capacity(&mut events), Some(&wait)) {
            Ok(0) if last.elapsed() < TIMEOUT => continue,
            Ok(0) => bail!("{} did not answer within {} s", load.addr, TIMEOUT.as_secs()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll failed"),
        }
        for event in &events {
            let data = event.data;
            let connection = &mut connections[usize::try_from(data.u64())?];
            if !connection.receive(&mut reader)? {
                continue;
            }
            let now = Instant::now();
            last = now;
            latencies.push(u32::try_from(now.duration_since(connection.asked).as_nanos()).unwrap_or(u32::MAX));
            match subjects.next(now) {
                Some(subject) => connection.send(template.fill(subject), now)?,
                None => open -= 1,
            }
        }
    }
    let elapsed = begin.elapsed();
    latencies.sort_unstable();
    Ok(Outcome { requests: subjects.asked, elapsed, latencies })
}

fn connect(addr: SocketAddr, poll: &OwnedFd, place: usize) -> Result<Connection> {
    let stream = TcpStream::connect_timeout(&addr, TIMEOUT).with_context(|| format!("cannot connect to {addr}"))?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    epoll::add(poll, &stream, epoll::EventData::new_u64(place as u64), epoll::EventFlags::IN)?;
    Ok(Connection { stream, received: vec![0; 16 * 1024], filled: 0, asked: Instant::now() })
}

impl Connection {
    fn send(&mut self, request: &[u8], now: Instant) -> Result<()> {
        // One small request on an idle connection always fits into the socket's buffer.
        let written = self.stream.write(request).context("the server closed a connection")?;
        ensure!(written == request.len(), "a request was sent only in part");
        self.asked = now;
        Ok(())
    }

    /// Whether the answer is whole now.
    fn receive(&mut self, reader: &mut Reader) -> Result<bool> {
        match self.stream.read(&mut self.received[self.filled..]) {
            Ok(0) => bail!("the server closed a connection, or its answer is longer than 16 KiB"),
            Ok(read) => self.filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("a connection broke"),
        }
        let Some(length) = reader.check(&self.received[..self.filled])? else { return Ok(false) };
        ensure!(length == self.filled, "the server sent more than one answer");
        self.filled = 0;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bare::{Answer, serve};
    use crate::servers::{free_addr, wait_for_200};

    fn bare(body: &str) -> (tokio::runtime::Runtime, Load) {
        let addr = free_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(serve(addr, Answer { status: 200, headers: Vec::new(), body: body.to_owned() }));
        wait_for_200(addr, "/", Duration::from_secs(5)).unwrap();
        let load = Load {
            addr,
            ask: Ask::Valid,
            connections: 4,
            among: 10,
            start: 0,
            seed: 0,
            in_order: false,
            spin: false,
            seconds: 5.0,
            requests: 100,
        };
        (runtime, load)
    }

    #[test]
    fn every_request_is_sent_answered_and_counted() {
        let (_runtime, load) = bare(r#"{"valid":true}"#);
        let outcome = run(&load).unwrap();
        assert_eq!((outcome.requests, outcome.latencies.len()), (100, 100));
        assert!(outcome.percentile(0.5) <= outcome.percentile(0.99));
    }

    #[test]
    fn a_wrong_answer_ends_the_run() {
        let (_runtime, load) = bare(r#"{"valid":false}"#);
        let error = run(&load).unwrap_err().to_string();
        assert!(error.contains("a wrong answer") && error.contains(r#"{"valid":false}"#), "{error}");
    }

    #[test]
    fn in_order_visits_each_subject_once() {
        let (_runtime, mut load) = bare(r#"{"valid":true}"#);
        load.in_order = true;
        load.start = 5;
        let end = Instant::now() + Duration::from_mins(1);
        let mut subjects = Subjects { load, state: 0, asked: 0, end };
        let seen: Vec<u64> = (0..10).map(|_| subjects.next(Instant::now()).unwrap()).collect();
        assert_eq!(seen, (5..15).collect::<Vec<_>>());
    }
}
