//! S3 as other programs serve it, and a line to it that breaks.

use crate::http::Http;
use crate::process::{Process, free_port};
use crate::{TIMEOUT, folder, rig};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tempfile::TempDir;

/// The bucket that each server has.
pub const BUCKET: &str = "uploads";
const KEYS: (&str, &str) = ("AKIDFILES", "files-secret-0123456789");

/// A running server with an empty bucket.
#[derive(Debug)]
pub struct S3 {
    pub port: u16,
    dir: TempDir,
    process: Process,
}

impl S3 {
    /// moto's, which checks no signatures.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn moto() -> Self {
        let (dir, port) = (folder("s3"), free_port());
        let spec = rig::program("moto_server").args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let mut process = spec.env("HOME", dir.path()).start(dir.path().join("log"));
        process.listening(port, TIMEOUT);
        let made = Http::tcp(port).send("PUT", &format!("/{BUCKET}"), None).expect("moto answers");
        assert_eq!(made.status, 200, "{}", made.text());
        Self { port, dir, process }
    }

    /// rclone's, which checks signatures and keeps objects as files.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn rclone() -> Self {
        let (dir, port) = (folder("s3"), free_port());
        std::fs::create_dir_all(dir.path().join("objects").join(BUCKET)).expect("the folder is ours");
        let (key, secret) = KEYS;
        let (addr, auth) = (format!("127.0.0.1:{port}"), format!("{key},{secret}"));
        let spec = rig::program("rclone").args(["serve", "s3", "--addr", &addr, "--auth-key", &auth]);
        let spec = spec.arg(dir.path().join("objects")).env("HOME", dir.path());
        let mut process = spec.start(dir.path().join("log"));
        process.listening(port, TIMEOUT);
        Self { port, dir, process }
    }

    /// The environment of an authd that keeps its files there, through this port.
    pub fn daemon(&self, port: u16) -> Vec<(String, String)> {
        [
            ("S3_BUCKET", BUCKET.to_owned()),
            ("S3_ENDPOINT_URL", format!("http://127.0.0.1:{port}")),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", KEYS.0.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", KEYS.1.to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// The names of the objects in moto's bucket, and the ids of multipart uploads that have not ended.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn stored(&self) -> (Vec<String>, Vec<String>) {
        let list = |path: &str, tag: &str| {
            let answer = Http::tcp(self.port).get(path).expect("moto answers");
            assert_eq!(answer.status, 200, "{}", answer.text());
            let (text, open) = (answer.text(), format!("<{tag}>"));
            let found = text.split(&open).skip(1).filter_map(|rest| rest.split('<').next());
            found.map(str::to_owned).collect()
        };
        (list(&format!("/{BUCKET}?list-type=2"), "Key"), list(&format!("/{BUCKET}?uploads"), "UploadId"))
    }

    /// rclone's folder of the bucket.
    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("objects").join(BUCKET)
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// A line to a port of this machine that breaks when so many bytes have passed towards it, and stays so until it is mended.
#[derive(Debug)]
pub struct Line {
    pub port: u16,
    left: Arc<AtomicI64>,
}

impl Line {
    /// # Panics
    /// When no port is free.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let own = listener.local_addr().expect("it is bound").port();
        let left = Arc::new(AtomicI64::new(i64::MAX));
        let shared = left.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let left = shared.clone();
                if left.load(Ordering::SeqCst) <= 0 {
                    continue;
                }
                std::thread::spawn(move || pass(stream, port, &left));
            }
        });
        Self { port: own, left }
    }

    pub fn break_after(&self, bytes: i64) {
        self.left.store(bytes, Ordering::SeqCst);
    }

    pub fn is_broken(&self) -> bool {
        self.left.load(Ordering::SeqCst) <= 0
    }

    pub fn mend(&self) {
        self.left.store(i64::MAX, Ordering::SeqCst);
    }
}

fn pass(client: TcpStream, port: u16, left: &AtomicI64) -> io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    let (mut back_from, mut back_to) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(Shutdown::Both);
    });
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        let size = i64::try_from(read).unwrap_or(i64::MAX);
        if read == 0 || left.fetch_sub(size, Ordering::SeqCst) <= size {
            client.shutdown(Shutdown::Both)?;
            return server.shutdown(Shutdown::Both);
        }
        to.write_all(&buffer[..read])?;
    }
}
