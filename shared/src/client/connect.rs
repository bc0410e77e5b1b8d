//! Connections to a daemon, of any kind.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tower_service::Service;

use super::Endpoint;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to a unix socket or to a host, with TLS where the URL says https.
#[derive(Clone)]
pub(super) enum Connector {
    Socket(PathBuf),
    Plain(HttpConnector),
    Tls(HttpsConnector<HttpConnector>),
    /// TLS cannot be set up on this machine; said when it is needed.
    Broken(String),
}

impl Connector {
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_nodelay(true);
        match endpoint {
            Endpoint::Socket(path) => Self::Socket(path.clone()),
            Endpoint::Url(uri) if uri.scheme_str() == Some("http") => Self::Plain(tcp),
            Endpoint::Url(_) => {
                // Named here, not taken from the process: a service may have installed another one, or none.
                let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
                match HttpsConnectorBuilder::new().with_provider_and_native_roots(provider) {
                    Ok(builder) => Self::Tls(builder.https_only().enable_http1().wrap_connector(tcp)),
                    Err(error) => Self::Broken(format!("no certificate authorities on this machine: {error}")),
                }
            }
        }
    }

    async fn open_socket(path: &Path) -> std::io::Result<Stream> {
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await??;
        Ok(Stream(Box::new(TokioIo::new(stream))))
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match self {
            Self::Plain(host) => host.poll_ready(context).map_err(Into::into),
            Self::Tls(host) => host.poll_ready(context),
            Self::Socket(_) | Self::Broken(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self {
            Self::Socket(path) => {
                let path = path.clone();
                Box::pin(async move { Ok(Self::open_socket(&path).await?) })
            }
            Self::Plain(host) => {
                let connecting = host.call(uri);
                Box::pin(async move { Ok(Stream(Box::new(connecting.await?))) })
            }
            Self::Tls(host) => {
                let connecting = host.call(uri);
                Box::pin(async move { Ok(Stream(Box::new(connecting.await?))) })
            }
            Self::Broken(detail) => {
                let detail = detail.clone();
                Box::pin(async move { Err(detail.into()) })
            }
        }
    }
}

/// What a connection of either kind can do.
trait Duplex: Read + Write + Send + Unpin {}
impl<T: Read + Write + Send + Unpin> Duplex for T {}

pub(super) struct Stream(Box<dyn Duplex>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
