//! A peer of the client that answers as a script says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::{Authd, Builder, Endpoint};
use crate::problem::Problem;

/// What the peer does with a request.
pub(super) enum Act {
    Answer(Value),
    Problem(u16, Option<u64>),
    /// As authd refuses.
    Refuse(Problem),
    Raw(&'static str),
    /// As a gateway refuses.
    Gateway(u16, &'static str),
    /// Reads it, and closes the connection.
    Close,
    /// Says nothing until the client goes away.
    Hang,
    /// Answers when it is told to.
    Hold(Arc<Notify>, Value),
}

pub(super) struct Peer {
    endpoint: Endpoint,
    requests: Arc<AtomicUsize>,
}

impl Peer {
    /// `script` is given the number of the request, from 0, and the request.
    pub(super) async fn start(script: impl Fn(usize, &str) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::url(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let (counter, script) = (requests.clone(), Arc::new(script));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, counter.clone(), script.clone()));
            }
        });
        Self { endpoint, requests }
    }

    /// One that gives every request the same answer.
    pub(super) async fn saying(answer: Value) -> Self {
        Self::start(move |_, _| Act::Answer(answer.clone())).await
    }

    pub(super) fn count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(super) fn authd(&self) -> Builder {
        Authd::at(self.endpoint.clone())
    }
}

async fn serve(
    mut stream: TcpStream,
    requests: Arc<AtomicUsize>,
    script: Arc<impl Fn(usize, &str) -> Act + Send + Sync + 'static>,
) -> Option<()> {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() < length.map_or(0, |length| length.parse().unwrap()) {
            continue;
        }
        let (status, header, body) = match script(requests.fetch_add(1, Ordering::SeqCst), &text) {
            Act::Answer(answer) => (200, "content-type: application/json\r\n".to_owned(), answer.to_string()),
            Act::Hold(notify, answer) => {
                notify.notified().await;
                (200, "content-type: application/json\r\n".to_owned(), answer.to_string())
            }
            Act::Problem(status, retry_after) => {
                let header = retry_after.map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default();
                let body = json!({"type": "t", "title": "t", "status": status, "detail": "d", "error": "e"});
                (status, format!("{header}content-type: application/problem+json\r\n"), body.to_string())
            }
            Act::Refuse(problem) => {
                let body = serde_json::to_string(&problem).unwrap();
                (problem.status, "content-type: application/problem+json\r\n".to_owned(), body)
            }
            Act::Gateway(status, body) => (status, "content-type: application/json\r\n".to_owned(), body.to_owned()),
            Act::Raw(body) => (200, String::new(), body.to_owned()),
            Act::Close => return None,
            Act::Hang => {
                let _ = stream.read(&mut buffer).await;
                return None;
            }
        };
        let answer = format!("HTTP/1.1 {status} X\r\n{header}content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.ok()?;
        text.clear();
    }
}

/// Waits for what a task of the test does.
pub(super) async fn until(happened: impl Fn() -> bool) {
    let waiting = async {
        while !happened() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it happens");
}
