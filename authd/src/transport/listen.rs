//! Sockets: binding, bounded accepting, detection of HTTP/2, draining at shutdown.

use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::{Resource, Rlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tracing::{debug, info, warn};

use super::config::{Admin, Config};
use super::connections::{Connection, Connections};
use super::http::{Http, Origin};
use super::peer;
use super::socket::Socket;
use crate::log::caused;

/// The start of every HTTP/2 connection, and of no HTTP/1 request (RFC 9113 §3.4). It is read completely before hyper
/// starts, since hyper's own wait for it has no deadline.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest head in bytes: what the usual proxies take.
const MAX_HEAD: usize = 32 << 10;
const MAX_STREAMS: u32 = 32;
/// Files and sockets that are open beside the connections.
const OTHER_FILES: u64 = 256;
/// What a connection is told for which there is no place.
const NO_PLACE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
/// Pause after an accept that failed for lack of descriptors; an immediate retry would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The daemon's bound sockets.
#[derive(Debug)]
pub struct Listeners {
    pub public: TcpListener,
    /// For management, if it has one of its own.
    pub management: Option<TcpListener>,
    pub admin: UnixListener,
}

impl Listeners {
    /// Binds all; the error says which one failed and what to do.
    pub async fn bind(config: &Config, admin: &Admin) -> anyhow::Result<Self> {
        use anyhow::Context;
        let bind = async |addr: SocketAddr, variable: &str| {
            let bound = TcpListener::bind(addr).await;
            bound.with_context(|| format!("cannot listen on {addr}: choose another address with {variable}"))
        };
        let public = bind(config.addr, "SERVER_ADDR").await?;
        let management = match admin.addr {
            Some(addr) => Some(bind(addr, "AUTHD_ADMIN_ADDR").await?),
            None => None,
        };
        let path = &admin.socket;
        let admin = bind_admin(admin).await.with_context(|| {
            format!("cannot create the admin socket {}: choose another path with AUTHD_ADMIN_SOCKET", path.display())
        })?;
        Ok(Self { public, management, admin })
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
    let connections = Connections::new(&http.config, possible_connections(http.config.max_connections), &http.metrics);
    let serving = async {
        let public = accept(
            || listeners.public.accept(),
            |stream, peer: SocketAddr| serve_tcp(stream, Origin::Public(peer.ip()), &connections, &http),
        );
        let management = async {
            let Some(listener) = &listeners.management else { return std::future::pending().await };
            let serve = |stream, peer: SocketAddr| {
                serve_tcp(stream, Origin::Management(peer.ip()), &connections, &http);
            };
            accept(|| listener.accept(), serve).await;
        };
        let admin = accept(|| listeners.admin.accept(), |stream, _| serve_admin(stream, &connections, &http));
        tokio::select! {
            () = public => {}
            () = management => {}
            () = admin => {}
            () = stop => {}
        }
        // No more connections are accepted; the socket file is removed, so that clients notice at once.
        let _ = fs::remove_file(&http.admin.socket);
        drop(listeners);
        info!("draining");
        connections.stop();
        let seconds = http.config.drain_seconds;
        if tokio::time::timeout(Duration::from_secs(seconds), connections.closed()).await.is_err() {
            warn!("some requests did not end within {seconds} s and are aborted");
        }
    };
    tokio::select! {
        () = serving => {}
        () = connections.watch() => {}
    }
}

/// How many connections the system allows, at most this many. The limit of open files is raised as far as it can be.
fn possible_connections(wanted: usize) -> usize {
    let Rlimit { current, maximum } = rustix::process::getrlimit(Resource::Nofile);
    let files = wanted as u64 + OTHER_FILES;
    let Some(current) = current.filter(|current| *current < files) else { return wanted };
    let raised = maximum.map_or(files, |maximum| maximum.min(files));
    let result = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum });
    let files = if result.is_ok() { raised } else { current };
    let possible = usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap_or(wanted).clamp(1, wanted);
    if possible < wanted {
        warn!(
            wanted,
            possible,
            "fewer connections than server.max_connections are possible: raise the limit of open files (ulimit -n)"
        );
    }
    possible
}

/// Passes the connections of one listener on.
async fn accept<IO, Peer, Next>(next: impl Fn() -> Next, serve: impl Fn(IO, Peer))
where
    Next: Future<Output = io::Result<(IO, Peer)>>,
{
    loop {
        match next().await {
            Ok((io, peer)) => serve(io, peer),
            Err(error) => {
                // Whoever opens too many: such lines must not use up those of authd's own parts.
                caused!(Some(Ipv4Addr::UNSPECIFIED.into()), warn, %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn serve_tcp(stream: TcpStream, origin: Origin, connections: &Arc<Connections>, http: &Arc<Http>) {
    let Some(place) = connections.open(origin) else {
        let _ = stream.try_write(NO_PLACE);
        return;
    };
    let http = http.clone();
    tokio::spawn(async move {
        let _ = stream.set_nodelay(true);
        let connection = &place.connection;
        match connection.serve(speaks_http2(&stream), |_| ()).await {
            Some(Ok(true)) => serve_http2(stream, connection, &http).await,
            Some(Ok(false)) => serve_http1(stream, connection, &http).await,
            Some(Err(error)) => debug!(%error, "a connection ended before its first request"),
            None => debug!("a silent connection was closed"),
        }
    });
}

fn serve_admin(stream: UnixStream, connections: &Arc<Connections>, http: &Arc<Http>) {
    let (connections, http) = (connections.clone(), http.clone());
    tokio::spawn(async move {
        let caller = match stream.peer_cred() {
            Ok(credentials) => peer::caller(credentials.uid(), credentials.gid(), &http.admin.peers),
            Err(error) => return warn!(%error, "the kernel did not return the peer's credentials on the admin socket"),
        };
        match connections.open(Origin::Admin(caller)) {
            Some(place) => serve_http1(stream, &place.connection, &http).await,
            None => drop(stream.try_write(NO_PLACE)),
        }
    });
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

async fn serve_http1<IO>(io: IO, connection: &Arc<Connection>, http: &Arc<Http>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // hyper's own bound of 100 headers stays: another one would cost a list on the heap for each request. Its timer for
    // heads costs more than that, because it is created and cancelled for each request; the table has the deadlines.
    let mut builder = http1::Builder::new();
    // A client may close its half after the request, as `nc` does.
    builder.header_read_timeout(None).max_buf_size(MAX_HEAD).half_close(true);
    let service = service_fn(|request| http.clone().respond(connection.clone(), request));
    let serving = builder.serve_connection(TokioIo::new(Socket::new(io, connection.clone())), service);
    ended(connection.serve(serving, http1::Connection::graceful_shutdown).await);
}

async fn serve_http2(io: TcpStream, connection: &Arc<Connection>, http: &Arc<Http>) {
    connection.begin_http2();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .max_frame_size(16 << 10)
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(256 << 10);
    let service = service_fn(|request| http.clone().respond(connection.clone(), request));
    let serving = builder.serve_connection(TokioIo::new(Socket::new(io, connection.clone())), service);
    ended(connection.serve(serving, http2::Connection::graceful_shutdown).await);
}

fn ended(served: Option<hyper::Result<()>>) {
    match served {
        Some(Ok(())) => {}
        Some(Err(error)) => debug!(%error, "a connection ended early"),
        None => debug!("a connection was closed"),
    }
}
