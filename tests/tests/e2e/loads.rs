//! What somebody without credentials can make authd hold, with its default settings: its memory stays bounded and comes
//! back, and others are answered meanwhile.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tests::authd::{Authd, Setup};
use tests::http::{Http, connect_from};
use tests::process::{Process, free_port};
use tests::{TIMEOUT, folder, proxy, until};

/// The most memory that authd may use, and how much of it may be left after the load, in KiB.
const MOST: u64 = 256 << 10;
const LEFT: u64 = 32 << 10;
const LEFT_WITHIN: Duration = Duration::from_mins(1);

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 1);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 1);

/// How long others wait for their answers, at most. A machine that tests share may make a few of them wait.
const WAIT: Duration = Duration::from_secs(1);

/// Ends the other client, also when the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The tests of a run share the files of one process: one load at a time, with all the files that the system allows.
fn alone(wanted: u64) -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    // Another load's test may have failed.
    let turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(most >= wanted, "the hard limit of open files is {most}, and this test needs {wanted}: ulimit -Hn");
    setrlimit(Resource::Nofile, Rlimit { current: Some(limit.maximum.unwrap_or(1 << 20)), ..limit })
        .expect("it is the hard limit");
    turn
}

/// Sends these bytes on this many connections, as far as they are taken, and keeps them open.
fn hold(kind: &str, connections: usize, bytes: &[u8]) {
    let _turn = alone(connections as u64 + 2_000);
    let authd = Authd::start();
    let before = authd.memory();
    let is_over = AtomicBool::new(false);
    let (peak, waits) = thread::scope(|scope| {
        let neighbour = scope.spawn(|| {
            let http = Http::tcp(authd.port()).from(NEIGHBOUR).timeout(WAIT * 10);
            let mut waits = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let answer = http.get("/health/live").unwrap_or_else(|e| panic!("{kind}: another client: {e}"));
                assert_eq!(answer.status, 200, "{kind}: another client");
                waits.push(asked.elapsed());
                thread::sleep(Duration::from_millis(20));
            }
            waits
        });
        let end = End(&is_over);
        let mut peak = 0;
        let mut held = Vec::with_capacity(connections);
        for number in 0..connections {
            // One that is refused makes no load.
            held.extend(open(authd.port(), bytes).ok());
            if number % 100 == 0 {
                peak = peak.max(authd.memory());
            }
        }
        for _ in 0..60 {
            peak = peak.max(authd.memory());
            thread::sleep(Duration::from_millis(50));
        }
        drop(held);
        until(LEFT_WITHIN, "memory that came back", || (authd.memory() <= before + LEFT).then_some(()));
        drop(end);
        (peak, neighbour.join().expect("it was answered"))
    });
    println!("{kind}: {} MiB, {} at the start, {} at the end", peak >> 10, before >> 10, authd.memory() >> 10);
    assert!(peak <= MOST, "{kind}: {} MiB", peak >> 10);
    let late = waits.iter().filter(|&&wait| wait > WAIT).count();
    assert!(late * 20 <= waits.len(), "{kind}: {late} of {} answers to another client took over {WAIT:?}", waits.len());
}

fn open(port: u16, bytes: &[u8]) -> std::io::Result<TcpStream> {
    let mut stream = connect_from(ATTACKER, port)?;
    stream.set_nonblocking(true)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        match stream.write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(stream)
}

#[test]
fn idle_connections() {
    hold("idle", 7_500, b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n");
}

#[test]
fn idle_connections_after_a_large_head() {
    let request = |more: usize| format!("GET /health/live HTTP/1.1\r\nHost: x\r\nX: {}", "a".repeat(more));
    let bytes = format!("{}\r\n\r\n{}", request(30_000), request(31_000));
    hold("idle after a large head", 7_500, bytes.as_bytes());
}

#[test]
fn slow_heads() {
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n", "a".repeat(30_000));
    hold("slow heads", 7_500, head.as_bytes());
}

#[test]
fn slow_bodies() {
    let head =
        "POST /auth/validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n";
    hold("slow bodies", 7_500, format!("{head}{}", "a".repeat(50_000)).as_bytes());
}

#[test]
fn heads_behind_a_refused_request() {
    let head = "POST /auth/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n";
    let next = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}", "a".repeat(30_000));
    hold("heads behind a refused request", 7_500, format!("{head}{}{next}", "a".repeat(10_000)).as_bytes());
}

#[test]
fn streams_without_a_body() {
    hold("streams", 1_000, &http2(&[], 128));
}

#[test]
fn streams_with_long_heads() {
    hold("streams with long heads", 500, &http2(&literal("x", &"a".repeat(14_000)), 128));
}

/// An HTTP/2 connection with this many `POST /auth/validate` whose body does not come (RFC 9113).
fn http2(more: &[u8], streams: u32) -> Vec<u8> {
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    const END_HEADERS: u8 = 4;
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).expect("it is short").to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    // `:method: POST` and `:scheme: http` of the static table (RFC 7541).
    let named =
        [literal(":path", "/auth/validate"), literal(":authority", "x"), literal("content-type", "application/json")];
    let block = [&[0x83, 0x86], named.concat().as_slice(), more].concat();
    let requests = (0..streams).map(|number| frame(HEADERS, END_HEADERS, 2 * number + 1, &block));
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(requests.flatten());
    bytes
}

/// A header that is not indexed (RFC 7541, 6.2.2).
fn literal(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        let mut rest = text.len();
        let mut coded = Vec::new();
        if rest < 127 {
            coded.extend(u8::try_from(rest));
        } else {
            coded.push(127);
            rest -= 127;
            while rest >= 128 {
                coded.extend(u8::try_from(rest % 128 + 128));
                rest /= 128;
            }
            coded.extend(u8::try_from(rest));
        }
        coded.extend(text.as_bytes());
        coded
    };
    [vec![0], text(name), text(value)].concat()
}

/// As many clients as an office has, each at an address of its own, through one nginx: all are answered, whether authd
/// trusts the proxy or takes all of them for one client.
fn many_clients_through_one_proxy(trusted: bool) {
    const CLIENTS: u16 = 5_000;
    const REQUESTS: usize = 3;
    let _turn = alone(u64::from(CLIENTS) + 2_000);
    let setup = if trusted { Setup::new().env("AUTHD_TRUSTED_PROXIES", "127.0.0.1") } else { Setup::new() };
    let authd = setup.start();
    let (token, _) = authd.mint("office", &["read"]);
    let (nginx, port, _dir) = nginx(authd.port());
    let body = serde_json::json!({ "token": token, "required_scopes": ["read"] }).to_string();
    let request = format!(
        "POST /auth/validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let statuses = runtime.block_on(async {
        let clients = (0..CLIENTS).map(|number| {
            let request = request.clone();
            let [high, low] = number.to_be_bytes();
            tokio::spawn(async move {
                let client = client(Ipv4Addr::new(127, 1 + high, low, 1), port, &request, REQUESTS);
                tokio::time::timeout(Duration::from_mins(3), client).await.expect("it is answered")
            })
        });
        let mut statuses = BTreeMap::<String, usize>::new();
        for client in clients.collect::<Vec<_>>() {
            for status in client.await.expect("it ends") {
                *statuses.entry(status).or_default() += 1;
            }
        }
        statuses
    });
    let expected = BTreeMap::from([("200".to_owned(), usize::from(CLIENTS) * REQUESTS)]);
    assert_eq!(statuses, expected, "{}", nginx.log());
}

/// The statuses of its answers. It keeps its connection, and pauses between two requests.
async fn client(address: Ipv4Addr, port: u16, request: &str, requests: usize) -> Vec<String> {
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind((address, 0).into()).expect("an address of this machine");
    let stream = socket.connect((Ipv4Addr::LOCALHOST, port).into()).await.expect("nginx listens");
    let mut stream = BufReader::new(stream);
    let mut statuses = Vec::new();
    for _ in 0..requests {
        stream.write_all(request.as_bytes()).await.expect("nginx reads");
        let (mut line, mut length) = (String::new(), 0);
        stream.read_line(&mut line).await.expect("an answer");
        statuses.push(line.split(' ').nth(1).unwrap_or("none").to_owned());
        while !line.trim().is_empty() {
            line.clear();
            stream.read_line(&mut line).await.expect("a head");
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().expect("a length");
            }
        }
        stream.read_exact(&mut vec![0; length]).await.expect("a body");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    statuses
}

/// nginx in front of authd, as its manual shows it, with room for the clients.
fn nginx(authd: u16) -> (Process, u16, TempDir) {
    let (dir, port) = (folder("nginx"), free_port());
    let site = format!(
        "server {{
           listen 127.0.0.1:{port} backlog=4096;
           location / {{
             proxy_pass http://127.0.0.1:{authd};
             proxy_set_header X-Forwarded-For $remote_addr;
           }}
         }}"
    );
    let mut process = proxy::nginx(dir.path(), 15_000, &site).start(dir.path().join("log"));
    process.wait(TIMEOUT, "nginx", || Http::tcp(port).get("/health/live").ok().map(drop));
    (process, port, dir)
}

#[test]
fn many_clients_through_a_proxy_that_is_trusted() {
    many_clients_through_one_proxy(true);
}

#[test]
fn many_clients_through_a_proxy_that_is_not_trusted() {
    many_clients_through_one_proxy(false);
}
