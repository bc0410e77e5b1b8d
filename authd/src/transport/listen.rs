//! Sockets: binding them, accepting within bounds, telling HTTP/2 from HTTP/1, draining at the end.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, info, warn};

use super::config::{Admin, Config};
use super::http::{Connection, Http};
use super::peer;
use super::write_timeout::WriteTimeout;

/// What no HTTP/1 request begins with, and every HTTP/2 connection does (RFC 9113 §3.4). It is waited for whole, since
/// hyper's own wait for it has no deadline.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const MAX_HEADER_BYTES: usize = 16 << 10;
const MAX_STREAMS: u32 = 128;
/// How often a silent HTTP/2 peer is asked whether it lives, and how long it may take to say so.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(10);
/// Pause after an accept that failed for want of descriptors: trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The daemon's sockets, bound.
#[derive(Debug)]
pub struct Listeners {
    pub public: TcpListener,
    pub admin: UnixListener,
}

impl Listeners {
    /// Binds both, or says which one could not be bound and what to do.
    pub async fn bind(config: &Config, admin: &Admin) -> anyhow::Result<Self> {
        use anyhow::Context;
        let addr = config.addr;
        let public = TcpListener::bind(addr)
            .await
            .with_context(|| format!("cannot listen on {addr}: choose another address by SERVER_ADDR"))?;
        let path = &admin.socket;
        let admin = bind_admin(admin).await.with_context(|| {
            format!("cannot make the admin socket {}: choose another path by AUTHD_ADMIN_SOCKET", path.display())
        })?;
        Ok(Self { public, admin })
    }

    pub fn public_addr(&self) -> io::Result<SocketAddr> {
        self.public.local_addr()
    }
}

/// A socket file that nobody listens on any more is replaced; a living one is not.
async fn bind_admin(config: &Admin) -> io::Result<UnixListener> {
    let path = &config.socket;
    let dir = path.parent().unwrap_or(Path::new("/"));
    if !dir.exists() {
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, Permissions::from_mode(0o755))?;
    }
    match UnixStream::connect(path).await {
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another authd is listening there")),
        // A file of another kind refuses connections too, and is not ours to remove.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && is_socket(path) => fs::remove_file(path)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    // Who may do what is decided by the peer's credentials; where nobody else may do anything, nobody else connects.
    let mode = if config.peers.is_empty() { 0o600 } else { 0o666 };
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(listener)
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// Serves until `stop` resolves, then lets requests under way end, within the time that the configuration gives.
pub async fn serve(listeners: Listeners, http: Arc<Http>, stop: impl Future<Output = ()>) {
    let config = &http.config;
    let drain = Duration::from_secs(config.drain_seconds);
    let server = Server {
        public: Arc::new(Semaphore::new(config.max_connections)),
        admin: Arc::new(Semaphore::new(config.max_connections)),
        graceful: GracefulShutdown::new(),
        http,
    };
    tokio::select! {
        () = server.accept_public(&listeners.public) => {}
        () = server.accept_admin(&listeners.admin) => {}
        () = stop => {}
    }
    // From here on nobody can connect; the socket file goes, so that clients learn at once.
    let _ = fs::remove_file(&server.http.admin.socket);
    drop(listeners);
    info!("draining");
    if tokio::time::timeout(drain, server.graceful.shutdown()).await.is_err() {
        warn!("some requests did not end within {} s and are cut off", drain.as_secs());
    }
}

struct Server {
    public: Arc<Semaphore>,
    admin: Arc<Semaphore>,
    graceful: GracefulShutdown,
    http: Arc<Http>,
}

impl Server {
    /// At the connection cap nothing is accepted: new clients wait in the kernel's bounded queue.
    async fn accept_public(&self, listener: &TcpListener) {
        loop {
            let Ok(permit) = self.public.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let (http, watcher) = (self.http.clone(), self.graceful.watcher());
                    tokio::spawn(async move {
                        let _ = stream.set_nodelay(true);
                        serve_public(stream, peer, http, watcher, permit).await;
                    });
                }
                Err(error) => refused(&error).await,
            }
        }
    }

    async fn accept_admin(&self, listener: &UnixListener) {
        loop {
            let Ok(permit) = self.admin.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (http, watcher) = (self.http.clone(), self.graceful.watcher());
                    tokio::spawn(serve_admin(stream, http, watcher, permit));
                }
                Err(error) => refused(&error).await,
            }
        }
    }
}

async fn refused(error: &io::Error) {
    warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

async fn serve_public(
    stream: TcpStream,
    peer: SocketAddr,
    http: Arc<Http>,
    watcher: Watcher,
    _permit: OwnedSemaphorePermit,
) {
    let first_byte = Duration::from_secs(http.config.first_byte_seconds);
    let connection = Connection::Public(peer.ip());
    match tokio::time::timeout(first_byte, speaks_http2(&stream)).await {
        Ok(Ok(true)) => serve_http2(WriteTimeout::new(TokioIo::new(stream)), connection, http, watcher).await,
        Ok(Ok(false)) => serve_http1(WriteTimeout::new(TokioIo::new(stream)), connection, http, watcher).await,
        Ok(Err(error)) => debug!(%error, "a connection ended before its first request"),
        Err(_) => debug!("a connection that said nothing was closed"),
    }
}

/// Looks at the first bytes without taking them. hyper-util's own detection was refused: it has no deadline.
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
        // The peer dribbles: what is there already would be readable again at once.
        if now == seen {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        seen = now;
    }
}

async fn serve_admin(stream: UnixStream, http: Arc<Http>, watcher: Watcher, _permit: OwnedSemaphorePermit) {
    let caller = match stream.peer_cred() {
        Ok(credentials) => peer::caller(credentials.uid(), credentials.gid(), &http.admin.peers),
        Err(error) => {
            warn!(%error, "the kernel does not say who is at the admin socket");
            return;
        }
    };
    serve_http1(WriteTimeout::new(TokioIo::new(stream)), Connection::Admin(caller), http, watcher).await;
}

async fn serve_http1<IO>(io: IO, connection: Connection, http: Arc<Http>, watcher: Watcher)
where
    IO: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    http.metrics.connections.inc();
    let (metrics, head_timeout) = (http.metrics.clone(), http.config.head_timeout());
    // hyper's own bound of 100 headers stays: another one would cost a list on the heap for each request.
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(MAX_HEADER_BYTES)
        .pipeline_flush(true);
    let connection = Arc::new(connection);
    let service = service_fn(|request| http.clone().respond(connection.clone(), request));
    if let Err(error) = watcher.watch(builder.serve_connection(io, service)).await {
        debug!(%error, "a connection ended early");
    }
    metrics.connections.dec();
}

async fn serve_http2<IO>(io: IO, connection: Connection, http: Arc<Http>, watcher: Watcher)
where
    IO: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    http.metrics.connections.inc();
    let (metrics, head_timeout) = (http.metrics.clone(), http.config.head_timeout());
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
    let connection = Arc::new(connection);
    let (began, running) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
    let (beginning, counting) = (began.clone(), running.clone());
    let service = service_fn(move |request| {
        beginning.fetch_add(1, Ordering::Relaxed);
        let turn = Turn::begin(&counting);
        let answer = http.clone().respond(connection.clone(), request);
        async move {
            let _turn = turn;
            answer.await
        }
    });
    // Answering pings is no reason to hold one of the connections that others wait for.
    let idle = async {
        let mut seen = 0;
        loop {
            tokio::time::sleep(head_timeout).await;
            let now = began.load(Ordering::Relaxed);
            if now == seen && running.load(Ordering::Relaxed) == 0 {
                return;
            }
            seen = now;
        }
    };
    tokio::select! {
        served = watcher.watch(builder.serve_connection(io, service)) => {
            if let Err(error) = served {
                debug!(%error, "a connection ended early");
            }
        }
        () = idle => debug!("a connection that asked nothing was closed"),
    }
    metrics.connections.dec();
}

/// A request that is being answered, counted even when its client goes away.
struct Turn(Arc<AtomicUsize>);

impl Turn {
    fn begin(running: &Arc<AtomicUsize>) -> Self {
        running.fetch_add(1, Ordering::Relaxed);
        Self(running.clone())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
