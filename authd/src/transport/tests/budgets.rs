//! What one network can take: below the bounds all of it, at a bound nothing that others need.
//!
//! The tests have two networks, 127.0.0.0/24 and 127.0.1.0/24.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::*;

const GREEDY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);

impl Daemon {
    async fn tcp_from(&self, address: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        socket.connect(self.addr).await.unwrap()
    }

    async fn says(&self, address: Ipv4Addr, said: &str) -> TcpStream {
        let mut stream = self.tcp_from(address).await;
        stream.write_all(said.as_bytes()).await.unwrap();
        stream
    }

    /// The other network gets its answer.
    async fn serves_others(&self) {
        let answer = exchange(self.tcp_from(OTHER).await, &post("/auth/validate", "", "{\"token\":\"x\"}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    async fn open_connections(&self) -> u64 {
        let text = self.send_to_socket_raw(&request("GET", "/metrics", "", "")).await;
        let line = text.lines().find_map(|line| line.strip_prefix("authd_connections ")).expect("a gauge");
        line.parse().unwrap()
    }

    pub(super) async fn send_to_socket_raw(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.folder.path().join("admin.sock")).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }
}

/// The status of the next answer on a connection that stays open.
async fn status(stream: &mut TcpStream) -> String {
    let mut line = [0; 12];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut line)).await.expect("an answer in time").unwrap();
    String::from_utf8_lossy(&line[9..]).into_owned()
}

/// Whether the daemon has closed the connection, by now or within the deadline.
async fn is_closed(stream: &mut TcpStream, deadline: Duration) -> bool {
    let mut rest = Vec::new();
    tokio::time::timeout(deadline, stream.read_to_end(&mut rest)).await.is_ok()
}

const IDLE: &str = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
const HALF_HEAD: &str = "GET /health/live HTTP/1.1\r\nHost:";
const HALF_BODY: &str = "POST /auth/validate HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{";
const HTTP2: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test]
async fn at_the_bound_of_connections_the_greediest_network_gives_way_longest_quiet_first() {
    for said in ["", "G", IDLE, HALF_HEAD, HALF_BODY, HTTP2] {
        let daemon = Daemon::start("[server]\nmax_connections = 20\nfirst_byte_seconds = 60").await;
        // Somebody else was there first, and is quiet for longest.
        let mut patient = daemon.says(OTHER, IDLE).await;
        let mut greedy = Vec::new();
        for _ in 0..60 {
            greedy.push(daemon.says(GREEDY, said).await);
        }
        daemon.serves_others().await;
        assert!(daemon.open_connections().await <= 21, "{said:?}");
        assert!(is_closed(&mut greedy[0], DEADLINE).await, "{said:?}: the first of the greedy gave way");
        let last = greedy.last_mut().unwrap();
        assert!(!is_closed(last, Duration::from_millis(20)).await, "{said:?}: the last did not");
        // The other's connection still answers.
        assert_eq!(status(&mut patient).await, "200", "{said:?}");
    }
}

#[tokio::test]
async fn below_the_bounds_nobody_is_refused() {
    let daemon = Daemon::start("[server]\nmax_connections = 70").await;
    let mut streams = Vec::new();
    for _ in 0..60 {
        streams.push(daemon.says(GREEDY, HALF_BODY).await);
    }
    let rest = format!("\"token\":\"x\"{}}}", " ".repeat(87));
    for mut stream in streams {
        stream.write_all(rest.as_bytes()).await.unwrap();
        assert_eq!(status(&mut stream).await, "200");
    }
}

#[tokio::test]
async fn heads_and_bodies_that_do_not_end_are_bounded_in_bytes() {
    let head = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(30 << 10));
    let body =
        format!("POST /auth/validate HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n{}", "x".repeat(50 << 10));
    let large = format!("POST /auth/validate HTTP/1.1\r\nX: {}\r\nContent-Length: 100\r\n\r\n{{", "x".repeat(30 << 10));
    let refused =
        format!("POST /auth/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n{}{head}", "x".repeat(9_000));
    for said in [head, body, large, refused] {
        let daemon = Daemon::start("[server]\nmax_held = 2_000_000\nfirst_byte_seconds = 60").await;
        let mut greedy = Vec::new();
        for _ in 0..100 {
            greedy.push(daemon.says(GREEDY, &said).await);
        }
        daemon.serves_others().await;
        // Half of them would be too much already.
        let mut closed = 0;
        for stream in &mut greedy[..50] {
            closed += usize::from(is_closed(stream, DEADLINE).await);
        }
        assert_eq!(closed, 50);
    }
}

/// Behind a trusted proxy the clients have shares, not the proxy.
#[tokio::test]
async fn behind_a_proxy_the_greediest_client_gives_way() {
    let daemon =
        Daemon::start("[server]\nmax_connections = 20\ntrusted_proxies = [\"127.0.0.2/32\"]\nbody_seconds = 60").await;
    let from = |client: &str| HALF_BODY.replace("Host: x", &format!("Host: x\r\nX-Forwarded-For: {client}"));
    let mut modest = daemon.says(GREEDY, &from("192.0.2.1")).await;
    let mut greedy = Vec::new();
    for number in 0..19 {
        greedy.push(daemon.says(GREEDY, &from(&format!("198.51.100.{number}"))).await);
    }
    // As many as there may be; the next ones cost the greedy.
    for _ in 0..5 {
        let answer = exchange(
            daemon.tcp_from(GREEDY).await,
            &post("/auth/validate", "X-Forwarded-For: 203.0.113.5\r\n", "{\"token\":\"x\"}"),
        )
        .await;
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
    }
    let first = exchange(greedy.swap_remove(0), "").await;
    assert_eq!((first.status, &first.body["error"]), (503, &json!("unavailable")), "{first:?}");
    modest.write_all(format!("\"token\":\"x\"{}}}", " ".repeat(87)).as_bytes()).await.unwrap();
    assert_eq!(status(&mut modest).await, "200");
}

/// A body that never ends.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

type Sent = Either<Full<Bytes>, Endless>;

async fn http2(stream: TcpStream) -> SendRequest<Sent> {
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn post_http2(header: &str, body: Sent) -> ::http::Request<Sent> {
    ::http::Request::post("http://x/auth/validate").header("x-header", header).body(body).unwrap()
}

#[tokio::test]
async fn streams_are_bounded_on_each_connection_and_in_bytes() {
    let daemon = Daemon::start("[server]\nmax_held = 4_000_000\nbody_seconds = 120").await;
    let header = "x".repeat(14 << 10);
    let mut answers = JoinSet::new();
    for _ in 0..20 {
        let mut sender = http2(daemon.tcp_from(GREEDY).await).await;
        for _ in 0..32 {
            answers.spawn(sender.send_request(post_http2(&header, Either::Right(Endless))));
        }
    }
    daemon.serves_others().await;
    // 640 of them would be 14 MiB; those that gave way were told so, or their connection ended.
    let mut gone = 0;
    while gone < 400 {
        let answer =
            tokio::time::timeout(DEADLINE, answers.join_next()).await.expect("one gives way").unwrap().unwrap();
        assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == 503));
        gone += 1;
    }
    // A connection of the other network has its streams.
    let mut sender = http2(daemon.tcp_from(OTHER).await).await;
    let body = Full::new(Bytes::from_static(b"{\"token\":\"x\"}"));
    let answer = sender.send_request(post_http2("x", Either::Left(body))).await.unwrap();
    assert_eq!(answer.status(), 200);
    // It has as few headers as one of HTTP/1.
    let mut request = post_http2("x", Either::Left(Full::default()));
    for number in 0..100 {
        request
            .headers_mut()
            .insert(format!("x-{number}").parse::<::http::HeaderName>().unwrap(), "x".parse().unwrap());
    }
    assert_eq!(sender.send_request(request).await.unwrap().status(), 400);
}
