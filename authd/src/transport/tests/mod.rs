//! The daemon whole, on sockets of its own: who may call what, and what happens to requests that are not as they
//! should be.

mod answers;
mod budgets;
mod contract;
mod grpc;
mod management;
mod stopping;
mod web;

use std::time::Duration;

use serde_json::{Value, json};
use shared::op::{Access, Info, Permission};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::config::{Environment, Sources};
use crate::env::Env;

const ADMIN: &str = "0123456789abcdef-admin";
const DEADLINE: Duration = Duration::from_secs(20);

struct Daemon {
    addr: std::net::SocketAddr,
    /// Of management, if it has a listener of its own.
    admin_addr: Option<std::net::SocketAddr>,
    folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<anyhow::Result<()>>,
}

/// A whole answer, as it came.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Value,
    text: String,
}

impl Answer {
    /// The values of a header, whose name is in lower case.
    fn headers(&self, name: &str) -> Vec<&str> {
        let (head, _) = self.text.split_once("\r\n\r\n").unwrap_or((&self.text, ""));
        let pairs = head.lines().filter_map(|line| line.split_once(": "));
        pairs.filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).first().copied()
    }
}

impl Daemon {
    async fn start(toml: &str) -> Self {
        Self::start_in(toml, Env::real()).await
    }

    async fn start_in(toml: &str, env: Env) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("authd.toml"), toml).unwrap();
        let environment = [
            ("AUTHD_DATA_DIR", path("data")),
            ("AUTHD_ADMIN_SOCKET", path("admin.sock")),
            ("SERVER_ADDR", "127.0.0.1:0".into()),
            ("ADMIN_TOKEN", ADMIN.into()),
        ];
        let environment: Environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
        let config =
            Sources { file: Some(path("authd.toml").into()), environment, ..Sources::default() }.load().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, is_ready) = oneshot::channel();
        let announce = |config: &crate::config::Config, _: &dyn crate::db::Db| {
            let _ = ready.send((config.server.addr, config.admin.addr));
        };
        let stopped = async { drop(stopped.await) };
        let running = tokio::spawn(crate::daemon::run(config, env, announce, stopped));
        let (addr, admin_addr) = tokio::time::timeout(DEADLINE, is_ready).await.unwrap().unwrap();
        Self { addr, admin_addr, folder, stop: Some(stop), running }
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    async fn send(&self, request: &str) -> Answer {
        exchange(self.tcp().await, request).await
    }

    async fn send_to_socket(&self, request: &str) -> Answer {
        exchange(UnixStream::connect(self.folder.path().join("admin.sock")).await.unwrap(), request).await
    }

    /// A token of a service's own.
    async fn service_token(&self) -> String {
        self.send(&post("/services", &bearer(ADMIN), "{\"name\":\"billing\"}")).await;
        let answer = self.send(&post("/services/billing/token", &bearer(ADMIN), "{}")).await;
        answer.body["token"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    /// Signs a new person in.
    async fn sign_in(&self, username: &str) -> String {
        let body = json!({ "username": username, "password": "correct horse" }).to_string();
        self.send(&post("/users", &bearer(ADMIN), &body)).await;
        let answer = self.send(&post("/auth/login", "", &body)).await;
        answer.body["token"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    /// Mints a token with these scopes.
    async fn mint(&self, name: &str, scopes: &[&str]) -> String {
        let body = json!({ "name": name, "scopes": scopes }).to_string();
        let answer = self.send(&post("/auth/tokens", &format!("Authorization: Bearer {ADMIN}\r\n"), &body)).await;
        answer.body["token"].as_str().unwrap().to_owned()
    }
}

async fn exchange(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // A connection that is reset after the answer has still answered.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("an answer in time");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    Answer {
        status: head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0),
        head: head.to_lowercase(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
        text,
    }
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn post(path: &str, headers: &str, body: &str) -> String {
    request("POST", path, &format!("Content-Type: application/json\r\n{headers}"), body)
}

/// A request for an operation that says nothing but what its path needs.
fn bare(info: &Info, headers: &str) -> String {
    let id = "01900000-0000-7000-8000-000000000000";
    let segments = info.path.split('/').map(|segment| if segment.starts_with('{') { id } else { segment });
    let path = segments.collect::<Vec<_>>().join("/");
    let (media, body) = match (info.oauth, info.has_body()) {
        (true, _) => ("application/x-www-form-urlencoded", "unasked=1"),
        (false, true) => ("application/json", "{}"),
        (false, false) => ("application/json", ""),
    };
    request(info.method.as_str(), &path, &format!("Content-Type: {media}\r\n{headers}"), body)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[tokio::test]
async fn every_route_lets_in_every_kind_of_caller_that_the_table_says_and_no_other() {
    let daemon = Daemon::start("").await;
    let mut holders = Vec::new();
    for permission in Permission::ALL {
        holders.push((*permission, daemon.mint(permission.as_str(), &[permission.scope()]).await));
    }
    let plain = daemon.mint("plain", &["read", "admin", "tokens.write"]).await;
    let revoked = daemon.mint("revoked", &["authd:admin"]).await;
    daemon.send(&post("/auth/tokens/revoked/revoke", &bearer(ADMIN), "{}")).await;
    let unknown = crate::tokens::model::mint("amp_live_", &[3; 28]);
    let device = format!("adr_{}", "A".repeat(70));
    let person = daemon.sign_in("person").await;
    let ended = daemon.sign_in("gone").await;
    daemon.send(&post("/auth/logout", &bearer(&ended), "{}")).await;
    let service = daemon.service_token().await;
    for info in shared::api::operations() {
        let status = async |headers: &str| daemon.send(&bare(info, headers)).await.status;
        let let_in = |status: u16| status != 401 && status != 403 && status != 0;
        match info.access {
            Access::Public => {
                for headers in [String::new(), bearer("nonsense"), bearer(&revoked), bearer(ADMIN)] {
                    assert!(let_in(status(&headers).await), "{} {headers}", info.name);
                }
            }
            // Proof is inside the request; none of the credentials of others counts for it.
            Access::SelfProving => {
                let answer = daemon.send(&bare(info, &bearer(ADMIN))).await;
                // Checks answer about whatever they are asked, and this is nobody's session.
                assert!(answer.status >= 400 || answer.body["valid"] == false, "{}: {answer:?}", info.name);
            }
            Access::User | Access::Authenticated => {
                for nobody in [String::new(), "Authorization: Bearer\r\n".into()] {
                    assert!(matches!(status(&nobody).await, 400 | 401), "{} {nobody}", info.name);
                }
                for wrong in ["nonsense", &revoked, unknown.expose(), &device, &ADMIN[1..], &ended] {
                    assert_eq!(status(&bearer(wrong)).await, 401, "{} {wrong}", info.name);
                }
                // One's own session is ended by some of these, so each gets its own.
                let session = daemon.sign_in("another").await;
                assert!(let_in(status(&bearer(&session)).await), "{}", info.name);
                let session = daemon.sign_in("another").await;
                assert!(let_in(status(&format!("token: {session}\r\n")).await), "{}", info.name);
                let is_known = info.access == Access::Authenticated;
                for other in [ADMIN, &plain, &service] {
                    assert_eq!(let_in(status(&bearer(other)).await), is_known, "{} {other}", info.name);
                }
                assert_eq!(let_in(daemon.send_to_socket(&bare(info, "")).await.status), is_known, "{}", info.name);
            }
            Access::Permission(needed) => {
                for nobody in [String::new(), "Authorization: Basic YTpi\r\n".into()] {
                    assert_eq!(status(&nobody).await, 401, "{} {nobody}", info.name);
                }
                for wrong in ["nonsense", &revoked, unknown.expose(), &device, &ADMIN[1..], &ended] {
                    assert_eq!(status(&bearer(wrong)).await, 401, "{} {wrong}", info.name);
                }
                for weak in [&plain, &person, &service] {
                    assert_eq!(status(&bearer(weak)).await, 403, "{} {weak}", info.name);
                }
                assert!(let_in(status(&bearer(ADMIN)).await), "{}", info.name);
                assert!(let_in(daemon.send_to_socket(&bare(info, "")).await.status), "{}", info.name);
                for (held, token) in &holders {
                    // A mighty token may be refused later, for what it asks; not here, where nothing is asked.
                    let expected = *held == needed || *held == Permission::Admin;
                    assert_eq!(let_in(status(&bearer(token)).await), expected, "{} by {held:?}", info.name);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_says_how_to_get_in() {
    let daemon = Daemon::start("").await;
    let anonymous = daemon.send(&request("GET", "/auth/tokens", "", "")).await;
    assert!(
        anonymous.head.contains("www-authenticate: bearer realm=\"authd\"\r\n")
            || anonymous.head.ends_with("\"authd\"")
    );
    let wrong = daemon.send(&request("GET", "/auth/tokens", &bearer("x"), "")).await;
    assert!(wrong.head.contains("error=\"invalid_token\""));
    let token = daemon.mint("plain", &["read"]).await;
    let weak = daemon.send(&request("GET", "/auth/tokens", &bearer(&token), "")).await;
    assert_eq!(weak.status, 403);
    assert!(weak.head.contains("error=\"insufficient_scope\", scope=\"authd:tokens.read\""));
    for answer in [anonymous, wrong, weak] {
        assert!(answer.head.contains("content-type: application/problem+json"));
        assert_eq!(answer.body["status"], answer.status);
        assert!(answer.head.contains(&format!("x-request-id: {}", answer.body["request_id"].as_str().unwrap())));
    }
}

#[tokio::test]
async fn requests_that_are_not_as_they_should_be_get_a_clear_refusal() {
    let daemon = Daemon::start("").await;
    let big = format!("{{\"token\":\"{}\"}}", "x".repeat(70_000));
    let deep = format!("{{\"token\":\"x\",\"required_scopes\":{}", "[".repeat(20_000));
    let form = request("POST", "/auth/validate", "Content-Type: application/x-www-form-urlencoded\r\n", "token=x");
    let chunked = "POST /auth/validate HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let endless = format!("{chunked}{:x}\r\n{}\r\n0\r\n\r\n", 70_000, "x".repeat(70_000));
    for (request, status, code) in [
        (post("/auth/validate", "", "{"), 400, "malformed_request"),
        (post("/auth/validate", "", &deep), 422, "validation_failed"),
        (post("/auth/validate", "", "[\"x\"]"), 422, "validation_failed"),
        (post("/auth/validate", "", "{\"token\":7}"), 422, "validation_failed"),
        (post("/auth/validate", "", "{\"token\":\"x\",\"token\":\"y\"}"), 422, "validation_failed"),
        (post("/auth/validate?x=y", "", "{}"), 400, "malformed_request"),
        (post("/auth/validate", "", &big), 413, "payload_too_large"),
        (endless, 413, "payload_too_large"),
        (form, 415, "unsupported_media_type"),
        (request("GET", "/auth/validate", "", ""), 405, "method_not_allowed"),
        (request("GET", "/nothing/here", "", ""), 404, "not_found"),
        (request("GET", "/metrics", "", ""), 404, "not_found"),
        (request("GET", &format!("/{}", "x".repeat(9_000)), "", ""), 400, "malformed_request"),
        (request("GET", "/auth/tokens/%zz", &bearer(ADMIN), ""), 400, "malformed_request"),
        (request("GET", "/auth/tokens?limit=0", &bearer(ADMIN), ""), 422, "validation_failed"),
        (
            request("GET", "/auth/tokens", "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n", ""),
            400,
            "malformed_request",
        ),
    ] {
        let answer = daemon.send(&request).await;
        let shown = &request[..request.len().min(80)];
        assert_eq!((answer.status, answer.body["error"].as_str()), (status, Some(code)), "{shown}: {answer:?}");
    }
    let wrong_method = daemon.send(&request("DELETE", "/auth/tokens", "", "")).await;
    assert!(wrong_method.head.contains("allow: post, get") || wrong_method.head.contains("allow: get, post"));
}

/// A request whose body is held back cannot be used after the token that it began with has gone.
#[tokio::test]
async fn a_request_does_not_outlive_its_token() {
    let daemon = Daemon::start("").await;
    let body = "{\"name\":\"late\",\"scopes\":[\"authd:admin\"]}";
    for revoke in [false, true] {
        let name = format!("leaked-{revoke}");
        let token = daemon.mint(&name, &["authd:admin"]).await;
        let request = post("/auth/tokens", &bearer(&token), &body.replace("late", &format!("late-{revoke}")));
        let (first, rest) = request.split_at(request.len() - 5);
        let mut stream = daemon.tcp().await;
        stream.write_all(first.as_bytes()).await.unwrap();
        // The daemon has let it in once it has answered another one that came later.
        daemon.send(&super::tests::request("GET", "/health/live", "", "")).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        if revoke {
            let path = format!("/auth/tokens/{name}/revoke");
            assert_eq!(daemon.send(&post(&path, &bearer(ADMIN), "{}")).await.status, 200);
        }
        let answer = exchange(stream, rest).await;
        assert_eq!(answer.status, if revoke { 401 } else { 201 }, "{answer:?}");
    }
}

#[tokio::test]
async fn slow_and_silent_clients_are_let_go() {
    let daemon = Daemon::start("[server]\nfirst_byte_seconds = 1\nhead_seconds = 1\nbody_seconds = 1").await;
    for (said, expected) in [
        ("", ""),
        ("POST /auth/val", ""),
        ("PRI", ""),
        ("PRI * HTTP/2.0\r\n\r\n", ""),
        ("POST /auth/validate HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"tok", "408"),
        // An HTTP/2 connection that is begun well, and then asks nothing.
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", ""),
    ] {
        let mut stream = daemon.tcp().await;
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "the connection is closed after {said:?}");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains(expected), "{said:?}: {answer:?}");
    }
}

#[tokio::test]
async fn the_admin_socket_takes_nothing_from_browsers() {
    let daemon = Daemon::start("").await;
    let plain = daemon.send_to_socket(&request("GET", "/status", "", "")).await;
    assert_eq!(plain.status, 200);
    assert!(plain.body["caller"].as_str().unwrap().starts_with("socket:"));
    for header in ["Origin: http://localhost\r\n", "Referer: http://x/\r\n"] {
        assert_eq!(daemon.send_to_socket(&request("GET", "/status", header, "")).await.status, 403, "{header}");
    }
    let foreign = "GET /status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(daemon.send_to_socket(foreign).await.status, 403);
    let metrics = daemon.send_to_socket(&request("GET", "/metrics", "", "")).await;
    assert_eq!(metrics.status, 200);
}

#[tokio::test]
async fn http2_is_spoken_by_prior_knowledge() {
    let daemon = Daemon::start("").await;
    let mut stream = daemon.tcp().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = [0; 9];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut frame)).await.unwrap().unwrap();
    assert_eq!(frame[3], 4, "the daemon answers with its own SETTINGS frame");
}

#[tokio::test]
async fn pages_are_there_and_cannot_be_framed_or_scripted() {
    let daemon = Daemon::start("").await;
    for path in ["/", "/docs"] {
        let page = daemon.send(&request("GET", path, "", "")).await;
        assert_eq!(page.status, 200);
        assert!(page.head.contains("default-src 'none'") && page.head.contains("x-frame-options: deny"), "{path}");
    }
    let document = daemon.send(&request("GET", "/openapi.json", "", "")).await;
    assert_eq!(document.body["openapi"], "3.1.0");
    let head = daemon.send(&request("HEAD", "/health", "", "")).await;
    assert_eq!((head.status, head.body), (200, Value::Null));
}

#[tokio::test]
async fn a_second_daemon_on_the_same_data_is_refused() {
    let daemon = Daemon::start("").await;
    let environment = [
        ("AUTHD_DATA_DIR", daemon.folder.path().join("data").display().to_string()),
        ("AUTHD_ADMIN_SOCKET", daemon.folder.path().join("other.sock").display().to_string()),
        ("SERVER_ADDR", "127.0.0.1:0".into()),
    ];
    let environment: Environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
    let config = Sources { environment, ..Sources::default() }.load().unwrap();
    let error = crate::daemon::run(config, Env::real(), |_, _| {}, std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("another authd is running"), "{error:#}");
}
