//! The listener on 127.0.0.1: the browser begins at it, and is redirected to it with the release.
//!
//! It answers two requests. `GET /ENTRY`, a random path, redirects to the sign-in, once: this address stands in the
//! arguments of the browser's launcher, which every user of this machine can read, and the sign-in's own address does not.
//! `GET /?state=…&release=…` with the state of this login brings the release. Anything else is 404, so that a page in the
//! same browser learns nothing. It listens on an address and checks `Host`, because a foreign name could resolve to it.

mod owner;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shared::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::sync::mpsc::Sender;
use tokio::task::{AbortHandle, JoinSet};

use crate::error::Error;

/// Bytes of a browser's request line and headers, which include cookies of other ports.
const MAX_HEAD: usize = 64 << 10;
/// Browsers open connections ahead and send nothing for a while; these wait in parallel, for this long.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// The connection that has waited longest gives way to one more.
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
    entry: String,
    page: Arc<Mutex<()>>,
}

/// What the listener serves.
#[derive(Debug)]
struct Served {
    port: u16,
    /// The path of the one-time address.
    entry: String,
    is_entered: AtomicBool,
    /// Where the person signs in.
    auth_url: String,
    state: String,
    page: Arc<Mutex<()>>,
    releases: Sender<Secret>,
}

/// A request that is answered with more than 404.
#[derive(Debug)]
enum Request {
    /// The one-time address.
    Entry,
    /// A look at the one-time address that opens nothing: HEAD, or a browser that loads it ahead.
    EntryAhead,
    /// The redirect of this login.
    Release(Secret),
    /// The question whether a page of another origin may send the redirect (Fetch §3.3, Private Network Access §3.1).
    Preflight { origin: String },
}

impl Loopback {
    /// Takes a free port; `entry` is the unpredictable path of the one-time address.
    pub async fn bind(entry: String) -> Result<Self, Error> {
        let failed =
            |error: std::io::Error| Error::refused(format!("cannot listen on 127.0.0.1: {error}. Add --no-browser"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        Ok(Self { listener, port, entry, page: Arc::default() })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The one-time address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/{}", self.port, self.entry)
    }

    /// Locked from before a release is passed on until its page is written or its time limit has passed.
    pub fn page(&self) -> Arc<Mutex<()>> {
        self.page.clone()
    }

    /// Redirects the first browser to the sign-in, and sends every release that comes for this state; runs until it is
    /// dropped.
    pub async fn serve(self, auth_url: &str, state: &str, releases: Sender<Secret>) {
        let Self { listener, port, entry, page } = self;
        let (auth_url, state) = (auth_url.to_owned(), state.to_owned());
        let is_entered = AtomicBool::new(false);
        let served = Arc::new(Served { port, entry, is_entered, auth_url, state, page, releases });
        let mut connections = JoinSet::new();
        let mut waiting: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            // No free file descriptor, or the connection is closed already: the next one may succeed.
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            while connections.try_join_next().is_some() {}
            waiting.retain(|connection| !connection.is_finished());
            if waiting.len() >= MAX_CONNECTIONS
                && let Some(longest) = waiting.pop_front()
            {
                longest.abort();
            }
            let served = served.clone();
            waiting.push_back(connections.spawn(async move {
                let _ = tokio::time::timeout(HEAD_TIME, served.answer(stream)).await;
            }));
        }
    }
}

impl Served {
    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        let request = loop {
            let mut chunk = [0; 4096];
            let length = stream.read(&mut chunk).await?;
            let seen = head.len().saturating_sub(3);
            head.extend_from_slice(&chunk[..length]);
            if head[seen..].windows(4).any(|bytes| bytes == b"\r\n\r\n") {
                // A cookie of another port may hold any bytes.
                break self.read(&String::from_utf8_lossy(&head));
            }
            if length == 0 || head.len() > MAX_HEAD {
                break None;
            }
        };
        let from = stream.peer_addr().map_or(0, |peer| peer.port());
        let mut write = async |answer: String| {
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await
        };
        let release = match request {
            None => return write(page("404 Not Found", "Not found", "This page does not exist.")).await,
            Some(Request::EntryAhead) => {
                let text = "Open this address in a window to sign in.";
                return write(page("503 Service Unavailable", "Not opened yet", text)).await;
            }
            // The address is in the arguments of the browser's launcher, which every user of this machine can read.
            Some(Request::Entry) if owner::is_of_another_user(from, self.port) => {
                return write(page("403 Forbidden", "Not your sign-in", "Another user of this machine started it."))
                    .await;
            }
            Some(Request::Entry) if self.is_entered.swap(true, Ordering::Relaxed) => {
                let text = "It was opened in another window or tab, and goes on there. If you have closed that one, open \
                            the address that the terminal shows, or start again there.";
                return write(page("410 Gone", "This sign-in goes on in another window", text)).await;
            }
            Some(Request::Entry) => return write(redirect(&self.auth_url)).await,
            Some(Request::Preflight { origin }) => return write(allow(&origin)).await,
            Some(Request::Release(release)) => release,
        };
        let _writing = self.page.lock().await;
        // Before the answer: if the browser has disconnected, the sign-in must still succeed. If the channel is full,
        // the release is dropped: authd does not send so many.
        let _ = self.releases.try_send(release);
        let text = "You can close this window and go back to the terminal.";
        tokio::time::timeout(PAGE_TIME, write(page("200 OK", "You are signed in", text))).await?
    }

    /// What a request asks for; `None` if it is not for this login.
    fn read(&self, head: &str) -> Option<Request> {
        let mut lines = head.split("\r\n");
        let (method, target) = lines.next()?.strip_suffix(" HTTP/1.1")?.split_once(' ')?;
        let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
        let values = |name: &'static str| {
            let of_name = headers.iter().filter(move |(found, _)| found.eq_ignore_ascii_case(name));
            of_name.map(|(_, value)| value.trim())
        };
        let one = |name| Some(values(name)).and_then(|mut values| values.next().filter(|_| values.next().is_none()));
        let (host, port) = (one("host")?, self.port);
        if host != format!("127.0.0.1:{port}") && host != format!("localhost:{port}") {
            return None;
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if path.strip_prefix('/') == Some(self.entry.as_str()) {
            let purposes = ["sec-purpose", "purpose", "x-purpose", "x-moz"].into_iter().flat_map(values);
            let is_ahead = purposes.into_iter().any(|purpose| {
                let purpose = purpose.to_ascii_lowercase();
                ["prefetch", "prerender", "preview"].iter().any(|ahead| purpose.contains(ahead))
            });
            return match method {
                "GET" if !is_ahead => Some(Request::Entry),
                "GET" | "HEAD" => Some(Request::EntryAhead),
                _ => None,
            };
        }
        match (method, path) {
            ("GET", "/") => self.release(query).map(Request::Release),
            // What is allowed is what a link does without being asked: the page of another origin cannot read the answer.
            ("OPTIONS", "/") if one("access-control-request-method").is_some() => {
                let is_plain =
                    |origin: &&str| origin.len() <= MAX_RELEASE && origin.bytes().all(|b| b.is_ascii_graphic());
                Some(Request::Preflight { origin: one("origin").filter(is_plain)?.to_owned() })
            }
            _ => None,
        }
    }

    /// The release in a query that is exactly what authd sends a browser with.
    fn release(&self, query: &str) -> Option<Secret> {
        let one = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let mut values = pairs.filter(|(found, _)| *found == name);
            let value = values.next()?.1;
            values.next().is_none().then_some(value)
        };
        let release = one("release")?;
        // base64url and hex need no escapes; a value with escapes is not from authd.
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte));
        let good = one("state")? == self.state && !release.is_empty() && release.len() <= MAX_RELEASE && plain(release);
        good.then(|| Secret::new(release))
    }
}

/// The address is a plain web address (`check_url` in the sign-in).
fn redirect(url: &str) -> String {
    format!(
        "HTTP/1.1 303 See Other\r\nLocation: {url}\r\nContent-Length: 0\r\nCache-Control: no-store\r\n\
         Referrer-Policy: no-referrer\r\nConnection: close\r\n\r\n"
    )
}

fn allow(origin: &str) -> String {
    format!(
        "HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: {origin}\r\nAccess-Control-Allow-Methods: GET\r\n\
         Access-Control-Allow-Private-Network: true\r\nVary: Origin\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
}

fn page(status: &str, title: &str, text: &str) -> String {
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
mod tests;
