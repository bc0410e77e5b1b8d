//! A daemon of few words: it answers what it was told to, in order, one answer for each connection, and remembers what
//! it was asked.

#![expect(clippy::unwrap_used, reason = "support of tests: a panic is how it fails")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::TOKEN_ID;
use crate::program::{Program, Run};

/// Long enough for the slowest machine; a test that waits so long has failed.
const DEADLINE: Duration = Duration::from_secs(20);

pub enum Answer {
    Response {
        status: u16,
        content_type: &'static str,
        body: String,
    },
    /// Reads the request and closes the connection.
    Hangup,
}

impl Answer {
    pub fn json(status: u16, body: &str) -> Self {
        Self::Response { status, content_type: "application/json", body: body.to_owned() }
    }

    pub fn problem(status: u16, body: &str) -> Self {
        Self::Response { status, content_type: "application/problem+json", body: body.to_owned() }
    }

    fn write(self, stream: &mut impl Write) {
        if let Self::Response { status, content_type, body } = self {
            let length = body.len();
            // A client that has gone is the test's business, not the daemon's.
            let _ = write!(
                stream,
                "HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
        }
    }
}

/// Where it listens; the folder goes with it.
enum Place {
    Socket(PathBuf, #[expect(dead_code, reason = "held until the daemon is dropped")] TempDir),
    Url(String),
}

pub struct Daemon {
    place: Place,
    requests: Receiver<String>,
}

impl Daemon {
    pub fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (sender, requests) = channel();
        let answers: Vec<Answer> = answers.into_iter().collect();
        thread::spawn(move || serve(answers, &sender, || listener.accept().unwrap().0));
        Self { place: Place::Socket(path, folder), requests }
    }

    pub fn start_tcp(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = channel();
        let answers: Vec<Answer> = answers.into_iter().collect();
        thread::spawn(move || serve(answers, &sender, || listener.accept().unwrap().0));
        Self { place: Place::Url(url), requests }
    }

    /// Where it listens over TCP.
    pub fn url(&self) -> &str {
        match &self.place {
            Place::Url(url) => url,
            Place::Socket(path, _) => panic!("it listens at {}", path.display()),
        }
    }

    /// Runs the program against it.
    pub fn run(&self, program: &Program<'_>, args: &[&str]) -> Run {
        let place = match &self.place {
            Place::Socket(path, _) => ["--socket", path.to_str().unwrap()],
            Place::Url(url) => ["--server", url.as_str()],
        };
        program.run(&[&place, args].concat())
    }

    /// The next request that it got: head and body.
    pub fn request(&self) -> String {
        self.requests.recv_timeout(DEADLINE).expect("a request")
    }
}

fn serve<S: Read + Write>(answers: Vec<Answer>, requests: &Sender<String>, mut accept: impl FnMut() -> S) {
    for answer in answers {
        // A probe connects and says nothing.
        let (request, mut stream) = loop {
            let mut stream = accept();
            if let Some(request) = read_request(&mut stream) {
                break (request, stream);
            }
        };
        if requests.send(request).is_err() {
            return;
        }
        answer.write(&mut stream);
    }
    // Connections after the last answer wait in the queue: the listener lives as long as this thread.
    loop {
        drop(accept());
    }
}

fn read_request(stream: &mut impl Read) -> Option<String> {
    let mut text = String::new();
    let mut buffer = [0; 4_096];
    loop {
        let count = stream.read(&mut buffer).ok()?;
        if count == 0 {
            return None;
        }
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
    }
}

/// A token as the API tells it; `rest` goes on after its last field.
pub fn token(name: &str, rest: &str) -> String {
    format!(
        r#"{{"token_id":"{TOKEN_ID}","name":"{name}","scopes":["orders:read","orders:write"],"created_at":"2027-01-14T08:00:00Z",
        "created_by":"socket:root(0)","expires_at":"2027-02-13T08:00:00Z","revoked_at":null,"last_used_at":null{rest}}}"#
    )
}

/// A refusal; `rest` goes on after its last field.
pub fn problem(status: u16, code: &str, rest: &str) -> Answer {
    Answer::problem(
        status,
        &format!(
            r#"{{"type":"urn:authd:problem:{code}","title":"T","status":{status},"detail":"the detail","error":"{code}"{rest}}}"#
        ),
    )
}
