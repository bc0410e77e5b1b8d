//! A small HTTP/1.1 client: one connection a request, over TCP or a unix socket. It shares no code with the client that
//! the programs under test use, so the two cannot share a mistake.

use serde_json::Value;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
enum Target {
    Tcp(u16),
    /// From this address of the machine's own.
    From(Ipv4Addr, u16),
    Unix(PathBuf),
}

/// Where to ask, and the headers of every request.
#[derive(Clone, Debug)]
pub struct Http {
    target: Target,
    host: String,
    headers: Vec<(String, String)>,
    timeout: Duration,
    hang_up: Option<Arc<AtomicBool>>,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Http {
    pub fn tcp(port: u16) -> Self {
        let host = format!("127.0.0.1:{port}");
        Self { target: Target::Tcp(port), host, headers: Vec::new(), timeout: Duration::from_secs(30), hang_up: None }
    }

    /// From another loopback address, as another machine would ask.
    #[must_use]
    pub fn from(mut self, address: Ipv4Addr) -> Self {
        if let Target::Tcp(port) = self.target {
            self.target = Target::From(address, port);
        }
        self
    }

    pub fn unix(path: impl AsRef<Path>) -> Self {
        let target = Target::Unix(path.as_ref().into());
        Self { target, host: "localhost".into(), headers: Vec::new(), timeout: Duration::from_secs(30), hang_up: None }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.headers.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }

    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = host.into();
        self
    }

    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// A client over TCP that closes its connection as soon as this is set, unless it was answered before.
    #[must_use]
    pub fn hang_up_when(mut self, flag: Arc<AtomicBool>) -> Self {
        self.hang_up = Some(flag);
        self
    }

    /// Sends a request and reads the whole answer.
    pub fn send(&self, method: &str, path: &str, body: Option<(&str, &[u8])>) -> io::Result<Response> {
        use std::fmt::Write as _;
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.host);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if let Some((kind, bytes)) = body {
            let _ = write!(head, "content-type: {kind}\r\ncontent-length: {}\r\n", bytes.len());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body.map_or(&[], |(_, b)| b));
        self.raw(&bytes)
    }

    /// Sends exactly these bytes and reads what comes back: for requests that no client would make.
    pub fn raw(&self, bytes: &[u8]) -> io::Result<Response> {
        match &self.target {
            Target::Tcp(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port))?;
                stream.set_read_timeout(Some(self.timeout))?;
                stream.set_write_timeout(Some(self.timeout))?;
                match &self.hang_up {
                    None => exchange(stream, bytes),
                    Some(flag) => {
                        stream.set_read_timeout(Some(Duration::from_millis(50)))?;
                        exchange(Impatient { stream, flag, until: Instant::now() + self.timeout }, bytes)
                    }
                }
            }
            Target::From(address, port) => {
                let stream = connect_from(*address, *port)?;
                stream.set_read_timeout(Some(self.timeout))?;
                stream.set_write_timeout(Some(self.timeout))?;
                exchange(stream, bytes)
            }
            Target::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(self.timeout))?;
                stream.set_write_timeout(Some(self.timeout))?;
                exchange(stream, bytes)
            }
        }
    }

    pub fn get(&self, path: &str) -> io::Result<Response> {
        self.send("GET", path, None)
    }

    /// POST of JSON.
    pub fn post(&self, path: &str, body: &Value) -> io::Result<Response> {
        self.send("POST", path, Some(("application/json", body.to_string().as_bytes())))
    }

    /// POST of a form, as it would be typed behind curl's `-d`.
    pub fn form(&self, path: &str, body: &str) -> io::Result<Response> {
        self.send("POST", path, Some(("application/x-www-form-urlencoded", body.as_bytes())))
    }
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.text()))
    }

    /// The body as JSON of an answer with this status.
    ///
    /// # Panics
    /// When the status is another, or the body no JSON.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }
}

/// A connection that is given up when the flag is set.
struct Impatient<'a> {
    stream: TcpStream,
    flag: &'a AtomicBool,
    until: Instant,
}

impl Read for Impatient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.flag.load(Ordering::Relaxed) || Instant::now() > self.until {
                        return Err(error);
                    }
                }
                read => return read,
            }
        }
    }
}

impl Write for Impatient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Connects from an address of the machine.
pub fn connect_from(address: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddrV4::new(address, 0))?;
    connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    Ok(socket.into())
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn exchange(mut stream: impl Read + Write, bytes: &[u8]) -> io::Result<Response> {
    // A server may answer and close before it has read everything: its answer still counts.
    let sent = stream.write_all(bytes);
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        sent?;
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer"));
    }
    let status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| broken(&line))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(broken("the head ended early"));
        }
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        let (name, value) = text.split_once(':').ok_or_else(|| broken(text))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let find = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let body = if bytes.starts_with(b"HEAD ") {
        Vec::new()
    } else if find("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
        read_chunks(&mut reader)?
    } else if let Some(length) = find("content-length") {
        let mut body = vec![0; length.parse().map_err(|_| broken(length))?];
        reader.read_exact(&mut body)?;
        body
    } else {
        let mut body = Vec::new();
        if status != 204 && status != 304 {
            reader.read_to_end(&mut body)?;
        }
        body
    };
    Ok(Response { status, headers, body })
}

fn read_chunks(reader: &mut impl io::BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = line.trim().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(|_| broken(&line))?;
        let start = body.len();
        body.resize(start + size, 0);
        reader.read_exact(&mut body[start..])?;
        line.clear();
        reader.read_line(&mut line)?;
        if size == 0 {
            return Ok(body);
        }
    }
}
