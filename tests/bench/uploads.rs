//! Uploads into a directory, beside a bare hyper server that writes the same bodies into files, which it syncs and renames
//! likewise; and the memory that many uploads take at the same time.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use tokio::task::spawn_blocking;

use crate::people::PASSWORD;
use crate::plan::Plan;
use crate::report::{Report, Row};
use crate::servers::Server;
use crate::{cores, load, seed, wire};

/// A file of an upload, in bytes, and the connections of a round.
const SIZE: usize = 8 << 20;
const CALLERS: usize = 4;
/// What is written at once, as authd does.
const PART: usize = 8 << 20;
/// Uploads at the same time, and the size of each; people whose they are.
const MANY: usize = 50;
const MANY_SIZE: usize = 10 << 20;
const PEOPLE: usize = 12;

/// Writes every body into a file of DIR, until it is ended.
#[derive(Clone, Debug, clap::Args)]
pub struct BareUpload {
    #[arg(long)]
    pub listen: SocketAddr,
    #[arg(long)]
    pub dir: PathBuf,
}

/// The runtime is authd's: multi-threaded, as many workers as cores it may use.
pub fn run(bare: &BareUpload) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(bare.listen, bare.dir.as_path().into()))
}

async fn serve(listen: SocketAddr, dir: Arc<Path>) -> Result<()> {
    let listener = tokio::net::TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let count = Arc::new(AtomicU64::new(0));
    loop {
        let (stream, _) = listener.accept().await?;
        let (dir, count) = (dir.clone(), count.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| store(request, dir.clone(), count.fetch_add(1, Ordering::Relaxed)));
            // A client that goes away is no fault of the server's.
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

async fn store(request: Request<Incoming>, dir: Arc<Path>, number: u64) -> Result<Response<Full<Bytes>>> {
    // Whoever waits for the start asks with GET.
    if request.method() == Method::POST {
        let (beside, path) = (dir.join(format!("{number}.part")), dir.join(number.to_string()));
        let mut file = File::create_new(&beside)?;
        let mut body = request.into_body();
        let mut part = Vec::with_capacity(PART);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if part.len() + data.len() > PART {
                (file, part) = spawn_blocking(move || write(file, part)).await??;
            }
            part.extend_from_slice(&data);
        }
        spawn_blocking(move || -> Result<()> {
            let (file, _) = write(file, part)?;
            file.sync_all()?;
            fs::rename(beside, path)?;
            Ok(File::open(dir)?.sync_all()?)
        })
        .await??;
    }
    Ok(Response::new(Full::new(Bytes::new())))
}

fn write(mut file: File, mut part: Vec<u8>) -> Result<(File, Vec<u8>)> {
    file.write_all(&part)?;
    part.clear();
    Ok((file, part))
}

pub fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    eprintln!("uploads");
    let data_dir = plan.dir.join("uploads");
    let toml = "[files]\nquota = 1000000000000\nwait_seconds = 120\n";
    let authd = Server::authd_with(toml, &plan.authd, &data_dir, plan.cores.server)?;
    let tokens = (0..PEOPLE).map(|number| sign_in(&authd, number)).collect::<Result<Vec<_>>>()?;
    let raw_dir = plan.dir.join("raw");
    let [mut limit, mut own] = [const { (Vec::new(), Vec::new()) }; 2];
    for _ in 0..plan.rounds {
        fs::create_dir_all(&raw_dir)?;
        let bare = Server::bare_upload(&raw_dir, &plan.dir, plan.cores.server)?;
        keep(&mut limit, &round(&bare, plan, &tokens[0])?);
        drop(bare);
        fs::remove_dir_all(&raw_dir)?;
        keep(&mut own, &round(&authd, plan, &tokens[0])?);
    }
    let what = format!("{} uploads of 8 MiB over {CALLERS} connections", plan.uploads);
    let row = Row::beside(&format!("CPU per MiB, {what} (limit: raw copy through hyper)"), "µs", limit.0, own.0);
    report.rows.push(row);
    report.rows.push(Row::beside(&format!("throughput, {what} (the same)"), "MiB/s", limit.1, own.1));

    let body: Arc<[u8]> = body(MANY_SIZE).into();
    cores::on(plan.cores.generator, || {
        thread::scope(|scope| {
            let all: Vec<_> = (0..MANY.min(plan.uploads))
                .map(|number| (body.clone(), &tokens[number % PEOPLE]))
                .map(|(body, token)| scope.spawn(move || send(authd.addr, token, &body)))
                .collect();
            all.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow!("a thread panicked"))?)
        })
    })?;
    let peak = cores::peak(authd.pid())?;
    let row = Row::alone(&format!("most RSS, {MANY} uploads of 10 MiB at the same time"), "MiB", vec![peak]);
    report.rows.push(row.at_most(256.0));
    authd.stop()
}

/// The token of a new person.
fn sign_in(authd: &Server, number: usize) -> Result<String> {
    let person = format!(r#"{{"username":"person{number}","password":"{PASSWORD}"}}"#);
    seed::post(authd, "/users", &person)?;
    let answer: Json = serde_json::from_str(&seed::post(authd, "/auth/login", &person)?)?;
    Ok(answer["token"].as_str().context("an answer without token")?.to_owned())
}

/// CPU in µs per MiB, and MiB per second.
struct Uploaded {
    cpu: f64,
    throughput: f64,
}

fn keep((cpu, throughput): &mut (Vec<f64>, Vec<f64>), uploaded: &Uploaded) {
    cpu.push(uploaded.cpu);
    throughput.push(uploaded.throughput);
}

fn round(server: &Server, plan: &Plan, token: &str) -> Result<Uploaded> {
    let body: Arc<[u8]> = body(SIZE).into();
    let next = AtomicU64::new(0);
    let count = u64::try_from(plan.uploads)?;
    let (begin, before) = (Instant::now(), cores::cpu_time(server.pid())?);
    cores::on(plan.cores.generator, || {
        thread::scope(|scope| {
            let callers = (0..CALLERS).map(|_| {
                scope.spawn(|| -> Result<()> {
                    while next.fetch_add(1, Ordering::Relaxed) < count {
                        send(server.addr, token, &body)?;
                    }
                    Ok(())
                })
            });
            let callers: Vec<_> = callers.collect();
            callers.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow!("a thread panicked"))?)
        })
    })?;
    let (elapsed, cpu) = (begin.elapsed(), cores::cpu_time(server.pid())?.saturating_sub(before));
    let mib = load::count(count) * 8.0;
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    Ok(Uploaded { cpu: micros(cpu) / mib, throughput: mib / elapsed.as_secs_f64() })
}

/// The body of an upload of one PDF of this size, whose bytes are all over the place.
fn body(size: usize) -> Vec<u8> {
    let mut body =
        b"--b\r\nContent-Disposition: form-data; name=\"files\"; filename=\"a.pdf\"\r\n\r\n%PDF-1.7".to_vec();
    let (mut state, end) = (7, body.len() + size - 8);
    while body.len() < end {
        body.extend(crate::token::next(&mut state).to_be_bytes());
    }
    body.truncate(end);
    body.extend(b"\r\n--b--\r\n");
    body
}

/// One upload over a connection of its own.
fn send(addr: SocketAddr, token: &str, body: &[u8]) -> Result<()> {
    let length = body.len();
    let head = format!(
        "POST /upload HTTP/1.1\r\nhost: {addr}\r\ntoken: {token}\r\ncontent-type: multipart/form-data; boundary=b\r\n\
         content-length: {length}\r\n\r\n"
    );
    let (head, answer) = wire::exchange_within(addr, &[head.as_bytes(), body], Duration::from_mins(3))?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{head}\n{answer}");
    Ok(())
}
