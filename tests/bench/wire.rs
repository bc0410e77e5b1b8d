//! HTTP/1.1 as bytes: requests made once with holes for what changes, and just enough reading of answers to be sure of
//! them. A client library would cost the generator more than the servers cost.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::ask::Ask;

/// How long any answer may take.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// A request with holes of one length, all filled with the same bytes.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    holes: Vec<usize>,
    ask: Ask,
}

impl Template {
    pub fn new(ask: Ask, host: SocketAddr) -> Self {
        let hole = "?".repeat(ask.subject_len());
        let body = ask.body(&hole);
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {}\r\ncontent-length: {}\r\n{}\r\n",
            ask.path(),
            ask.media(),
            body.len(),
            ask.headers(&hole)
        );
        let text = head + &body;
        let holes = text.match_indices(&hole).map(|(at, _)| at).collect();
        Self { bytes: text.into_bytes(), holes, ask }
    }

    /// The request about subject number `index`.
    pub fn fill(&mut self, index: u64) -> &[u8] {
        let len = self.ask.subject_len();
        if let Some((first, others)) = self.holes.split_first() {
            self.ask.write_subject(index, &mut self.bytes[*first..*first + len]);
            for hole in others {
                self.bytes.copy_within(*first..*first + len, *hole);
            }
        }
        &self.bytes
    }
}

/// Reads answers. Remembers where things were in the last one, since the next is nearly always the same length.
#[derive(Clone, Debug)]
pub struct Reader {
    status: &'static [u8],
    end: Needle,
    length: Needle,
    wanted: Needle,
}

impl Reader {
    pub fn new(ask: Ask) -> Self {
        Self {
            status: ask.status(),
            end: Needle::new(b"\r\n\r\n"),
            length: Needle::new(b"content-length: "),
            wanted: Needle::new(ask.wanted()),
        }
    }

    /// The length of the answer that `bytes` holds whole, or `None` if more must be read; an error if it is not the
    /// one that this question must get.
    pub fn check(&mut self, bytes: &[u8]) -> Result<Option<usize>> {
        let Some(end) = self.end.find(bytes) else { return Ok(None) };
        let (head, rest) = bytes.split_at(end + 4);
        let at = self.length.find(head).context("an answer without content-length")? + 16;
        let digits = head[at..].iter().take_while(|byte| byte.is_ascii_digit());
        let length = digits.fold(0, |length: usize, digit| length * 10 + usize::from(digit - b'0'));
        let Some(body) = rest.get(..length) else { return Ok(None) };
        if !head.starts_with(self.status) || self.wanted.find(body).is_none() {
            bail!("a wrong answer:\n{}{}", String::from_utf8_lossy(head), String::from_utf8_lossy(body));
        }
        Ok(Some(end + 4 + length))
    }
}

#[derive(Clone, Debug)]
struct Needle {
    bytes: &'static [u8],
    last: usize,
}

impl Needle {
    fn new(bytes: &'static [u8]) -> Self {
        Self { bytes, last: 0 }
    }

    fn find(&mut self, hay: &[u8]) -> Option<usize> {
        if !hay.get(self.last..).is_some_and(|hay| hay.starts_with(self.bytes)) {
            self.last = hay.windows(self.bytes.len()).position(|window| window == self.bytes)?;
        }
        Some(self.last)
    }
}

/// One request on a connection of its own: the head of the answer, and its body.
pub fn exchange(addr: SocketAddr, request: &[u8]) -> Result<(String, String)> {
    exchange_within(addr, &[request], TIMEOUT)
}

/// The same in pieces, with an answer that may take so long.
pub fn exchange_within(addr: SocketAddr, request: &[&[u8]], timeout: Duration) -> Result<(String, String)> {
    let mut stream = TcpStream::connect_timeout(&addr, TIMEOUT)?;
    stream.set_read_timeout(Some(timeout))?;
    for piece in request {
        stream.write_all(piece)?;
    }
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).context("a head that is not text")?;
            let length: usize = header(&head, "content-length").context("no content-length")?.parse()?;
            if let Some(body) = bytes.get(end + 4..end + 4 + length) {
                return Ok((head, String::from_utf8(body.to_vec()).context("a body that is not text")?));
            }
        }
        let read = stream.read(&mut chunk)?;
        ensure!(read > 0, "the server closed the connection before it had answered");
        bytes.extend_from_slice(&chunk[..read]);
    }
}

/// A header's value; the name is compared without case.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    headers(head).find_map(|(other, value)| other.eq_ignore_ascii_case(name).then_some(value))
}

pub fn headers(head: &str) -> impl Iterator<Item = (&str, &str)> {
    head.lines().skip(1).filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim()))
}
