//! Finds the daemon by `--server`, `--socket`, `AUTHCTL_SERVER` or `AUTHD_ADMIN_SOCKET`, else by the paths where authd
//! creates its admin socket, skipping dead ones, else by the last `authctl login`; that comes first for what only a person
//! with a session can do. Chooses the credentials to send.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::client::{Client, Endpoint};
use shared::paths;
use shared::secret::Secret;
use tokio::net::UnixStream;

use crate::Io;
use crate::args::Global;
use crate::error::Error;
use crate::session_store;

/// The daemon is on the same machine; the kernel answers at once unless the queue of connections is full.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The credentials of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// None sent: on a socket the kernel identifies the caller.
    Peer,
    /// None, over HTTP.
    None,
    /// A token from the environment.
    Token,
    /// The session of `authctl login`.
    Session,
}

/// A client of the daemon from the arguments, the environment or the default paths, and its credentials.
/// `needs_session`: on a socket the command would be refused.
pub(crate) async fn connect(
    global: &Global,
    needs_session: bool,
    io: &mut Io<'_>,
) -> Result<(Client, Credentials), Error> {
    let (endpoint, is_named) = choose(global, needs_session || global.user.is_some(), io).await?;
    if let Endpoint::Socket(_) = endpoint {
        if global.user.is_some() {
            let detail = "--as is for sessions of authctl login: name the server with --server URL. On the admin socket the \
                          kernel identifies you";
            return Err(Error::Usage(detail.to_owned()));
        }
        // On a socket the kernel identifies the caller; a token for a server is not sent there.
        let client = Client::new(endpoint).with_timeout(Duration::from_secs(global.timeout));
        return Ok((client, Credentials::Peer));
    }
    // A token of the environment may be meant for another server than the one of the last sign-in.
    let token = if is_named && global.user.is_none() { token(io)? } else { None };
    let (token, credentials) = if let Some(token) = token {
        (token, Credentials::Token)
    } else if let Some(token) = session_token(&endpoint, global.user.as_deref(), io)? {
        (token, Credentials::Session)
    } else {
        return Ok((over_http(endpoint, global), Credentials::None));
    };
    check_private(&endpoint, global, "the token")?;
    Ok((over_http(endpoint, global).with_bearer(token), credentials))
}

/// A client of the server at which a session begins or ends; it sends no credentials.
pub(crate) fn without_session(global: &Global, io: &Io<'_>) -> Result<Client, Error> {
    let remembered = || if global.socket.is_some() { None } else { remembered_server(io) };
    let endpoint = named_server(global, io)?.or_else(remembered).ok_or_else(|| {
        Error::Usage(
            "a session is for HTTP: name the server with --server URL, or in AUTHCTL_SERVER. On the admin socket the \
            kernel identifies you"
                .to_owned(),
        )
    })?;
    check_private(&endpoint, global, "the password")?;
    Ok(over_http(endpoint, global))
}

fn over_http(endpoint: Endpoint, global: &Global) -> Client {
    // The only place with TLS; an error means that a provider is already installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Client::new(endpoint).with_timeout(Duration::from_secs(global.timeout))
}

fn check_private(endpoint: &Endpoint, global: &Global, what: &str) -> Result<(), Error> {
    if global.insecure || endpoint.is_private() {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{endpoint} is http on another machine: {what} would be sent unencrypted. Use https, or --insecure"
    )))
}

/// The server that the arguments name, else the environment; a socket in the arguments comes before the environment.
fn named_server(global: &Global, io: &Io<'_>) -> Result<Option<Endpoint>, Error> {
    if global.server.is_some() || global.socket.is_some() {
        return Ok(global.server.clone());
    }
    let server = variable(io, "AUTHCTL_SERVER").map(|server| Endpoint::url(&server)).transpose();
    server.map_err(|error| Error::Usage(format!("AUTHCTL_SERVER: {error}")))
}

/// The server of the last `authctl login`.
fn remembered_server(io: &Io<'_>) -> Option<Endpoint> {
    let last = session_store::Folder::find(io)?.last()?;
    Endpoint::url(&last.server).ok()
}

/// The daemon, and whether the arguments or the environment name it.
async fn choose(global: &Global, needs_session: bool, io: &mut Io<'_>) -> Result<(Endpoint, bool), Error> {
    if let Some(server) = named_server(global, io)? {
        return Ok((server, true));
    }
    let named = global.socket.clone().or_else(|| variable(io, "AUTHD_ADMIN_SOCKET").map(PathBuf::from));
    if let Some(path) = named {
        return Ok((find_socket(vec![path], io).await?, true));
    }
    let remembered = remembered_server(io);
    if let (true, Some(server)) = (needs_session, &remembered) {
        return Ok((server.clone(), false));
    }
    match (find_socket(paths::admin_socket_candidates(), io).await, remembered) {
        (Err(Error::NoSocket(_)), Some(server)) => Ok((server, false)),
        (socket, _) => Ok((socket?, false)),
    }
}

/// The admin socket that commands use which name no server, in spite of a session.
pub(crate) async fn usable_socket() -> Option<PathBuf> {
    for path in paths::admin_socket_candidates() {
        if probe(&path).await.is_ok() {
            return Some(path);
        }
    }
    None
}

/// The first that answers. A socket that this user may not open is skipped with a note on stderr, because the next
/// one may belong to another daemon than the user expects.
async fn find_socket(candidates: Vec<PathBuf>, io: &mut Io<'_>) -> Result<Endpoint, Error> {
    let mut tried: Vec<(PathBuf, io::Error)> = Vec::new();
    for path in candidates {
        let Err(error) = probe(&path).await else {
            for (closed, _) in tried.iter().filter(|(_, error)| error.kind() == io::ErrorKind::PermissionDenied) {
                writeln!(io.err, "note: you may not open {}; using {}", closed.display(), path.display())?;
            }
            return Ok(Endpoint::Socket(path));
        };
        tried.push((path, error));
    }
    Err(Error::NoSocket(tried))
}

async fn probe(path: &Path) -> io::Result<()> {
    let connected = tokio::time::timeout(PROBE_TIMEOUT, UnixStream::connect(path)).await?;
    let is_other_file = || std::fs::metadata(path).is_ok_and(|metadata| !metadata.file_type().is_socket());
    connected.map(drop).map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused if is_other_file() => io::Error::other("this is a file, not a socket"),
        _ => error,
    })
}

/// The token of the environment, or of the file that it names: read by the same rule, so that a line end is no part of
/// it, and an empty one is none.
fn token(io: &Io<'_>) -> Result<Option<Secret>, Error> {
    let Some((name, value)) = token_variable(io) else { return Ok(None) };
    if !name.ends_with("_FILE") {
        return Ok(Secret::read(&value));
    }
    let text = std::fs::read_to_string(&value)
        .map_err(|error| Error::Usage(format!("{name}: cannot read {value}: {error}")))?;
    Ok(Secret::read(&text))
}

/// The variable with the token, and its value: the operator's own token before the daemon's.
pub(crate) fn token_variable(io: &Io<'_>) -> Option<(&'static str, String)> {
    let names = ["AUTHCTL_TOKEN", "AUTHCTL_TOKEN_FILE", "ADMIN_TOKEN", "ADMIN_TOKEN_FILE"];
    names.into_iter().find_map(|name| Some((name, variable(io, name)?)))
}

/// The token of the session that `authctl login` started there, of this user or of the last one.
fn session_token(endpoint: &Endpoint, user: Option<&str>, io: &Io<'_>) -> Result<Option<Secret>, Error> {
    let Some(folder) = session_store::Folder::find(io) else { return Ok(None) };
    folder.session(&session_store::name(endpoint), user)?.map_or(Ok(None), |session| session.token())
}

/// Set and not empty.
fn variable(io: &Io<'_>, name: &str) -> Option<String> {
    (io.env)(name).filter(|value| !value.trim().is_empty())
}
