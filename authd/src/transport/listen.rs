//! Sockets: binding, bounded accepting, detection of HTTP/2, draining at shutdown.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream, unix};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutWriter;
use tracing::{debug, info, warn};

use super::config::{Admin, Config};
use super::http::{Connection, Http};
use super::peer;
use crate::log::caused;

/// The start of every HTTP/2 connection, and of no HTTP/1 request (RFC 9113 §3.4). It is read completely before hyper
/// starts, since hyper's own wait for it has no deadline.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const MAX_HEADER_BYTES: usize = 16 << 10;
const MAX_STREAMS: u32 = 128;
/// The interval of pings to a silent HTTP/2 peer, and the time limit of its answer.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(10);
/// How long a peer may take to read written data. hyper has deadlines only for reading, and a client that sends
/// requests but never reads would hold its connection for ever.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after an accept that failed for lack of descriptors; an immediate retry would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The daemon's bound sockets.
#[derive(Debug)]
pub struct Listeners {
    pub public: TcpListener,
    pub admin: UnixListener,
}

impl Listeners {
    /// Binds both; the error says which one failed and what to do.
    pub async fn bind(config: &Config, admin: &Admin) -> anyhow::Result<Self> {
        use anyhow::Context;
        let addr = config.addr;
        let public = TcpListener::bind(addr)
            .await
            .with_context(|| format!("cannot listen on {addr}: choose another address with SERVER_ADDR"))?;
        let path = &admin.socket;
        let admin = bind_admin(admin).await.with_context(|| {
            format!("cannot create the admin socket {}: choose another path with AUTHD_ADMIN_SOCKET", path.display())
        })?;
        Ok(Self { public, admin })
    }
}

/// Binds the admin socket. A socket file without a listener is replaced; a live one is not.
async fn bind_admin(config: &Admin) -> io::Result<UnixListener> {
    let path = &config.socket;
    let dir = path.parent().unwrap_or(Path::new("/"));
    if !dir.exists() {
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, Permissions::from_mode(0o755))?;
    }
    match UnixStream::connect(path).await {
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another authd is listening there")),
        // A file of another type refuses connections too, and must not be removed.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && is_socket(path) => fs::remove_file(path)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    // The peer's credentials determine its permissions; without configured peers, no other user may connect.
    let mode = if config.peers.is_empty() { 0o600 } else { 0o666 };
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(listener)
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// Serves until `stop` resolves, then waits for requests under way, up to the configured time.
pub async fn serve(listeners: Listeners, http: Arc<Http>, stop: impl Future<Output = ()>) {
    let drain = Duration::from_secs(http.config.drain_seconds);
    let graceful = GracefulShutdown::new();
    let public = accept(&http, &graceful, || listeners.public.accept(), serve_public);
    let admin = accept(&http, &graceful, || listeners.admin.accept(), serve_admin);
    tokio::select! {
        () = public => {}
        () = admin => {}
        () = stop => {}
    }
    // No more connections are accepted; the socket file is removed, so that clients notice at once.
    let _ = fs::remove_file(&http.admin.socket);
    drop(listeners);
    info!("draining");
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        warn!("some requests did not end within {} s and are aborted", drain.as_secs());
    }
}

/// Serves the connections of one listener. At its limit no connection is accepted: new clients wait in the kernel's
/// bounded queue.
async fn accept<IO, Peer, Next, Serving>(
    http: &Arc<Http>,
    graceful: &GracefulShutdown,
    next: impl Fn() -> Next,
    serve: impl Fn(IO, Peer, Arc<Http>, Watcher) -> Serving,
) where
    Next: Future<Output = io::Result<(IO, Peer)>>,
    Serving: Future<Output = ()> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(http.config.max_connections));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match next().await {
            Ok((io, peer)) => {
                let serving = serve(io, peer, http.clone(), graceful.watcher());
                tokio::spawn(async move {
                    serving.await;
                    drop(slot);
                });
            }
            Err(error) => {
                caused!(None, warn, %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_public(stream: TcpStream, peer: SocketAddr, http: Arc<Http>, watcher: Watcher) {
    let _ = stream.set_nodelay(true);
    let first_byte = Duration::from_secs(http.config.first_byte_seconds);
    let is_http2 = match tokio::time::timeout(first_byte, speaks_http2(&stream)).await {
        Ok(Ok(is_http2)) => is_http2,
        Ok(Err(error)) => return debug!(%error, "a connection ended before its first request"),
        Err(_) => return debug!("a silent connection was closed"),
    };
    let (io, connection) = (bounded(stream), Connection::Public(peer.ip()));
    if is_http2 {
        counted(&http, serve_http2(io, connection, &http, watcher)).await;
    } else {
        counted(&http, serve_http1(io, connection, &http, watcher)).await;
    }
}

/// Peeks at the first bytes. hyper-util's own detection was rejected: it has no deadline.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut start = [0; PREFACE.len()];
    let mut seen = 0;
    loop {
        let now = stream.peek(&mut start).await?;
        if now == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if start[..now] != PREFACE[..now] {
            return Ok(false);
        }
        if now == PREFACE.len() {
            return Ok(true);
        }
        // The peer sends slowly: the bytes already received would be readable again at once.
        if now == seen {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        seen = now;
    }
}

async fn serve_admin(stream: UnixStream, _: unix::SocketAddr, http: Arc<Http>, watcher: Watcher) {
    let caller = match stream.peer_cred() {
        Ok(credentials) => peer::caller(credentials.uid(), credentials.gid(), &http.admin.peers),
        Err(error) => return warn!(%error, "the kernel did not return the peer's credentials on the admin socket"),
    };
    let (io, connection) = (bounded(stream), Connection::Admin(caller));
    counted(&http, serve_http1(io, connection, &http, watcher)).await;
}

/// A stream whose writes have a deadline.
type Bounded<IO> = TokioIo<Pin<Box<TimeoutWriter<IO>>>>;

fn bounded<IO: AsyncRead + AsyncWrite>(stream: IO) -> Bounded<IO> {
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(WRITE_TIMEOUT));
    TokioIo::new(Box::pin(stream))
}

/// Counts a connection while it is served.
async fn counted(http: &Http, serving: impl Future<Output = hyper::Result<()>>) {
    http.metrics.connections.inc();
    if let Err(error) = serving.await {
        debug!(%error, "a connection ended early");
    }
    http.metrics.connections.dec();
}

async fn serve_http1<IO: AsyncRead + AsyncWrite + Send + 'static>(
    io: Bounded<IO>,
    connection: Connection,
    http: &Arc<Http>,
    watcher: Watcher,
) -> hyper::Result<()> {
    // hyper's own bound of 100 headers stays: another one would cost a list on the heap for each request. Its timer for
    // heads costs more than that, because it is created and cancelled for each request; `while_used` keeps one timer.
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).max_buf_size(MAX_HEADER_BYTES).pipeline_flush(true);
    let (connection, began) = (Arc::new(connection), AtomicU64::new(0));
    let service = service_fn(|request| {
        began.fetch_add(1, Ordering::Relaxed);
        http.clone().respond(connection.clone(), request)
    });
    while_used(watcher.watch(builder.serve_connection(io, service)), http.config.head_timeout(), &connection, &began)
        .await
}

async fn serve_http2(
    io: Bounded<TcpStream>,
    connection: Connection,
    http: &Arc<Http>,
    watcher: Watcher,
) -> hyper::Result<()> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEADER_BYTES).unwrap_or(u32::MAX))
        .max_frame_size(16 << 10)
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(256 << 10)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    // Answering pings is no reason to hold one of the connections that others wait for.
    let (connection, began) = (Arc::new(connection), AtomicU64::new(0));
    let service = service_fn(|request| {
        began.fetch_add(1, Ordering::Relaxed);
        http.clone().respond(connection.clone(), request)
    });
    while_used(watcher.watch(builder.serve_connection(io, service)), http.config.head_timeout(), &connection, &began)
        .await
}

/// Serves a connection until its end, or until no request was under way and no head arrived for this long, and up to a
/// quarter longer. A request holds the connection until it is answered, a long answer until it is written.
async fn while_used(
    serving: impl Future<Output = hyper::Result<()>>,
    limit: Duration,
    connection: &Arc<Connection>,
    began: &AtomicU64,
) -> hyper::Result<()> {
    let idle = async {
        let (mut seen, mut quarters) = (0, 0);
        while quarters < 4 {
            tokio::time::sleep(limit / 4).await;
            // A request under way may end just after this look: the quarter after it does not count either.
            let is_busy = Arc::strong_count(connection) > 1;
            let now = if is_busy { u64::MAX } else { began.load(Ordering::Relaxed) };
            (seen, quarters) = (now, if is_busy || now != seen { 0 } else { quarters + 1 });
        }
    };
    tokio::select! {
        biased;
        served = serving => served,
        () = idle => {
            debug!("an idle connection was closed");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_without_requests_and_unwritten_answers() {
        let connection = Arc::new(Connection::Public(std::net::Ipv4Addr::LOCALHOST.into()));
        let (began, limit) = (AtomicU64::new(0), Duration::from_secs(8));
        let served = async |is_busy: bool, seconds: u64| {
            let held = is_busy.then(|| connection.clone());
            let begin = tokio::time::Instant::now();
            let work = async {
                // It asks every seven seconds, or is busy with one answer.
                for _ in 0..seconds / 7 {
                    tokio::time::sleep(Duration::from_secs(7)).await;
                    began.fetch_add(u64::from(!is_busy), Ordering::Relaxed);
                }
                drop(held);
                std::future::pending().await
            };
            while_used(work, limit, &connection, &began).await.unwrap();
            begin.elapsed().as_secs()
        };
        for (is_busy, seconds) in [(false, 0), (false, 70), (true, 70)] {
            let end = served(is_busy, seconds).await;
            assert!((seconds + 8..=seconds + 10).contains(&end), "{seconds}: {end}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_never_reads_is_given_up() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut stream = bounded(ours).into_inner();
        stream.write_all(&[0; 16]).await.unwrap();
        let error = stream.write_all(&[0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
