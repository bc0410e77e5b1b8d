//! A service behind a proxy: answers what it was asked, and remembers it. Or a daemon that answers one status.

use serde_json::{Value, json};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A request as it came in: names of headers in small letters.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a header, empty when it did not come.
    ///
    /// # Panics
    /// When it came twice.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let all = self.all(name);
        assert!(all.len() < 2, "{name}: {all:?}");
        all.first().copied().unwrap_or_default()
    }
}

/// A running server. It ends when it is told to, or with the test process.
#[derive(Debug)]
pub struct Echo {
    port: u16,
    stopping: Arc<AtomicBool>,
    listening: JoinHandle<()>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Echo {
    /// Answers 200 and the request as JSON.
    ///
    /// # Panics
    /// When no port is free.
    pub fn start() -> Self {
        Self::serve(0, 200)
    }

    /// Answers every request with this status, at this port.
    ///
    /// # Panics
    /// When the port stays taken: a child that another test starts has the last listener too, until it executes.
    pub fn instead(port: u16, status: u16) -> Self {
        Self::serve(port, status)
    }

    fn serve(port: u16, status: u16) -> Self {
        let listener =
            crate::until(crate::TIMEOUT, "a free port", || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
        let port = listener.local_addr().expect("it is bound").port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stopping = Arc::new(AtomicBool::new(false));
        let (all, is_over) = (seen.clone(), stopping.clone());
        let listening = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let all = all.clone();
                std::thread::spawn(move || drop(answer(stream, status, &all)));
            }
        });
        Self { port, stopping, listening, seen }
    }

    /// Listens no more: the port is free when this returns.
    ///
    /// # Panics
    /// When its thread has panicked.
    pub fn stop(self) {
        self.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)); // wakes it
        self.listening.join().expect("it only listens");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many requests have arrived.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The request that arrived last.
    ///
    /// # Panics
    /// When none has arrived.
    pub fn last(&self) -> Seen {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.last().cloned().expect("a request has arrived")
    }
}

fn answer(stream: TcpStream, status: u16, all: &Mutex<Vec<Seen>>) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(()); // a proxy that looks whether somebody listens
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }
    let mut words = lines.first().map(String::as_str).unwrap_or_default().split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let pairs = lines.iter().skip(1).filter_map(|line| line.split_once(':'));
    let headers: Vec<_> = pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let told: Value = json!({ "method": method, "target": target, "headers": headers });
    all.lock().unwrap_or_else(PoisonError::into_inner).push(Seen { method, target, headers, body });
    let (told, has_body) = (told.to_string(), told["method"] != "HEAD");
    let head = format!("HTTP/1.1 {status} Answer\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", told.len());
    let mut stream = reader.into_inner();
    stream.write_all(head.as_bytes())?;
    stream.write_all(if has_body { told.as_bytes() } else { &[] })
}
