//! Finding the daemon: `--server`, `--socket`, `AUTHCTL_SERVER`, `AUTHD_ADMIN_SOCKET`, else the places where authd puts
//! its admin socket, skipping dead ones.

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
use crate::error::{Error, SocketProblem, Tried};

/// A daemon that accepts is on the same machine; its kernel answers at once unless the queue of callers is full.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// A client of the daemon that the arguments, the environment or the machine name.
pub(crate) async fn connect(global: &Global, io: &mut Io<'_>) -> Result<Client, Error> {
    let timeout = Duration::from_secs(global.timeout);
    let endpoint = choose(global, io).await?;
    if let Endpoint::Url(_) = endpoint {
        // The only place with TLS; an error says that a provider is there already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::new(endpoint).with_timeout(timeout);
        return Ok(match token(io)? {
            Some(token) if !global.insecure && !client.endpoint().is_private() => {
                drop(token);
                return Err(Error::Usage(format!(
                    "{} is http on another machine: the token would be readable on the way. Use https, or --insecure",
                    client.endpoint()
                )));
            }
            Some(token) => client.with_bearer(token),
            None => client,
        });
    }
    // The socket's caller is who the kernel says; a token for some server has no business there.
    Ok(Client::new(endpoint).with_timeout(timeout))
}

async fn choose(global: &Global, io: &mut Io<'_>) -> Result<Endpoint, Error> {
    if let Some(server) = &global.server {
        return Ok(server.clone());
    }
    if let Some(path) = &global.socket {
        return find_socket(vec![path.clone()], io).await;
    }
    if let Some(server) = variable(io, "AUTHCTL_SERVER") {
        return Endpoint::url(&server).map_err(|error| Error::Usage(format!("AUTHCTL_SERVER: {error}")));
    }
    let candidates = match variable(io, "AUTHD_ADMIN_SOCKET") {
        Some(path) => vec![PathBuf::from(path)],
        None => paths::admin_socket_candidates(),
    };
    find_socket(candidates, io).await
}

/// The first that answers. One that is alive but closed to this user is passed over aloud, so that nobody talks to
/// another daemon than they think.
async fn find_socket(candidates: Vec<PathBuf>, io: &mut Io<'_>) -> Result<Endpoint, Error> {
    let mut tried = Vec::new();
    for path in candidates {
        match probe(&path).await {
            Ok(()) => {
                for Tried { path: closed, problem } in &tried {
                    if matches!(problem, SocketProblem::NotAllowed) {
                        let (closed, used) = (closed.display(), path.display());
                        writeln!(io.err, "note: {closed} is closed to you; using {used}")?;
                    }
                }
                return Ok(Endpoint::Socket(path));
            }
            Err(problem) => tried.push(Tried { path, problem }),
        }
    }
    Err(Error::NoSocket(tried))
}

async fn probe(path: &Path) -> Result<(), SocketProblem> {
    let connecting = tokio::time::timeout(PROBE_TIMEOUT, UnixStream::connect(path));
    let error = match connecting.await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error,
        Err(elapsed) => elapsed.into(),
    };
    let is_other_file = || std::fs::metadata(path).is_ok_and(|metadata| !metadata.file_type().is_socket());
    Err(match error.kind() {
        io::ErrorKind::NotFound => SocketProblem::Missing,
        io::ErrorKind::PermissionDenied => SocketProblem::NotAllowed,
        io::ErrorKind::ConnectionRefused if is_other_file() => SocketProblem::NotASocket,
        io::ErrorKind::ConnectionRefused => SocketProblem::Dead,
        _ => SocketProblem::Other(error),
    })
}

/// The operator's own token before the daemon's; each also from a file, as secrets are handed to services.
fn token(io: &Io<'_>) -> Result<Option<Secret>, Error> {
    for name in ["AUTHCTL_TOKEN", "ADMIN_TOKEN"] {
        if let Some(token) = variable(io, name) {
            return Ok(Some(token.into()));
        }
        let file_variable = format!("{name}_FILE");
        if let Some(path) = variable(io, &file_variable) {
            let text = std::fs::read_to_string(&path)
                .map_err(|error| Error::Usage(format!("{file_variable}: cannot read {path}: {error}")))?;
            return Ok(Some(text.trim_end().into()));
        }
    }
    Ok(None)
}

/// Set and not empty.
fn variable(io: &Io<'_>, name: &str) -> Option<String> {
    (io.env)(name).filter(|value| !value.is_empty())
}

/// Whether systemd knows authd here, so that it is systemd that should start it.
pub(crate) fn has_unit() -> bool {
    let folders = ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
    Path::new("/run/systemd/system").is_dir()
        && folders.iter().any(|folder| Path::new(folder).join("authd.service").exists())
}
