//! The listener on 127.0.0.1, to which the browser is redirected with the release.
//!
//! It answers one request: `GET /?state=…&release=…` with the state of this login. Anything else is 404, so that a page
//! in the same browser learns nothing. It listens on an address and checks `Host`, because a foreign name could resolve
//! to it.

use std::sync::Arc;
use std::time::Duration;

use shared::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;

use crate::error::Error;

/// Bytes of a browser's request line and headers, which include cookies of other ports.
const MAX_HEAD: usize = 16 << 10;
/// Browsers open connections ahead and send nothing for a while; these wait in parallel, for this long.
const HEAD_TIME: Duration = Duration::from_secs(10);
const MAX_CONNECTIONS: usize = 16;
/// A browser on this machine reads its page in far less time.
const PAGE_TIME: Duration = Duration::from_secs(1);
/// Bytes; longer than any release.
const MAX_RELEASE: usize = 256;

/// A bound port of 127.0.0.1.
#[derive(Debug)]
pub struct Loopback {
    listener: TcpListener,
    port: u16,
    page: Arc<Mutex<()>>,
}

impl Loopback {
    /// Takes a free port.
    pub async fn bind() -> Result<Self, Error> {
        let failed = |error: std::io::Error| {
            Error::refused(format!("cannot listen on 127.0.0.1: {error}. Use auth-login --no-browser"))
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        Ok(Self { listener, port, page: Arc::default() })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Locked from before a release is passed on until its page is written or its time limit has passed.
    pub fn page(&self) -> Arc<Mutex<()>> {
        self.page.clone()
    }

    /// Sends every release that comes for this state; runs until it is dropped.
    pub async fn serve(self, state: &str, releases: Sender<Secret>) {
        let mut connections = JoinSet::new();
        loop {
            while connections.len() >= MAX_CONNECTIONS {
                connections.join_next().await;
            }
            // No free file descriptor, or the connection is closed already: the next one may succeed.
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (state, port, page, releases) = (state.to_owned(), self.port, self.page.clone(), releases.clone());
            connections.spawn(async move {
                let _ = tokio::time::timeout(HEAD_TIME, answer(stream, &state, port, &page, releases)).await;
            });
        }
    }
}

async fn answer(
    mut stream: TcpStream,
    state: &str,
    port: u16,
    writing: &Mutex<()>,
    releases: Sender<Secret>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    let release = loop {
        let mut chunk = [0; 2048];
        let length = stream.read(&mut chunk).await?;
        head.extend_from_slice(&chunk[..length]);
        if head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            break release(&head, state, port);
        }
        if length == 0 || head.len() > MAX_HEAD {
            break None;
        }
    };
    let page = page(release.is_some());
    let mut write = async || {
        stream.write_all(page.as_bytes()).await?;
        stream.shutdown().await
    };
    let Some(release) = release else { return write().await };
    let _writing = writing.lock().await;
    // Before the answer: if the browser has disconnected, the sign-in must still succeed. If the channel is full,
    // the release is dropped: authd does not send so many.
    let _ = releases.try_send(release);
    tokio::time::timeout(PAGE_TIME, write()).await?
}

/// The release in a request that is exactly what authd sends a browser to.
fn release(head: &[u8], state: &str, port: u16) -> Option<Secret> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let query = lines.next()?.strip_prefix("GET /?")?.strip_suffix(" HTTP/1.1")?;
    let mut hosts = lines.filter_map(|line| line.split_once(':')).filter(|(name, _)| name.eq_ignore_ascii_case("host"));
    let host = hosts.next()?.1.trim();
    if hosts.next().is_some() || (host != format!("127.0.0.1:{port}") && host != format!("localhost:{port}")) {
        return None;
    }
    let one = |name: &str| {
        let mut values = query.split('&').filter_map(|pair| pair.split_once('=')).filter(|(found, _)| *found == name);
        let value = values.next()?.1;
        values.next().is_none().then_some(value)
    };
    let release = one("release")?;
    // base64url and hex need no escapes; a value with escapes is not from authd.
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte));
    let good = one("state")? == state && !release.is_empty() && release.len() <= MAX_RELEASE && plain(release);
    good.then(|| Secret::new(release))
}

fn page(found: bool) -> String {
    let (status, title, text) = if found {
        ("200 OK", "You are signed in", "You can close this window and go back to the terminal.")
    } else {
        ("404 Not Found", "Not found", "This page does not exist.")
    };
    let body = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><body style=\"font:1.1rem system-ui;margin:4rem auto;padding:0 1rem;max-width:32rem\">\
         <h1>{title}</h1><p>{text}</p></body></html>\n"
    );
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'\r\n\
         Referrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "GET /?state=s1&release=r-1 HTTP/1.1\r\nHost: 127.0.0.1:99\r\n\r\n";

    fn read(head: &str) -> Option<String> {
        release(head.as_bytes(), "s1", 99).map(|release| release.expose().to_owned())
    }

    #[test]
    fn only_the_redirect_of_this_login_is_answered() {
        assert_eq!(read(GOOD).unwrap(), "r-1");
        assert_eq!(read(&GOOD.replace("127.0.0.1:99", "localhost:99")).unwrap(), "r-1");
        for (from, to) in [
            ("GET", "POST"),
            ("/?", "/x?"),
            ("state=s1", "state=s2"),
            ("state=s1&", ""),
            ("state=s1", "state=s1&state=s1"),
            ("release=r-1", "release="),
            ("release=r-1", "release=a%20b"),
            ("127.0.0.1:99", "evil.test:99"),
            ("127.0.0.1:99", "127.0.0.1:98"),
            ("Host: 127.0.0.1:99", "X: y"),
            ("Host: 127.0.0.1:99", "Host: 127.0.0.1:99\r\nHost: evil.test"),
        ] {
            assert!(GOOD.contains(from));
            assert_eq!(read(&GOOD.replace(from, to)), None, "{from} -> {to}");
        }
        assert_eq!(read(&GOOD.replace("r-1", &"r".repeat(257))), None);
    }

    #[tokio::test]
    async fn a_silent_connection_keeps_nobody_waiting() {
        let loopback = Loopback::bind().await.unwrap();
        let port = loopback.port();
        let (sender, mut receiver) = tokio::sync::mpsc::channel(4);
        let server = tokio::spawn(async move { loopback.serve("s1", sender).await });
        let _silent = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        for (request, status) in [("GET /favicon.ico HTTP/1.1\r\nHost: 127.0.0.1:99\r\n\r\n", "404"), (GOOD, "200")] {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            stream.write_all(request.replace("99", &port.to_string()).as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        }
        assert_eq!(receiver.recv().await.unwrap().expose(), "r-1");
        server.abort();
    }
}
