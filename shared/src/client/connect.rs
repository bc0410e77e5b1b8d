//! Connections to a daemon, of any kind.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::rt::{Read, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tower_service::Service;

use super::{BoxError, Endpoint};
use crate::proxy::{Proxies, ProxyConnector};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to a unix socket or to a host, with TLS where the URL says https.
#[derive(Clone)]
pub(super) enum Connector {
    Socket(PathBuf),
    Plain(ProxyConnector),
    Tls(HttpsConnector<ProxyConnector>),
    /// TLS cannot be set up on this machine; the error is returned when TLS is needed.
    Broken(String),
}

impl Connector {
    pub(super) fn new(endpoint: &Endpoint, proxies: &Proxies) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_nodelay(true);
        let tcp = ProxyConnector::new(tcp, proxies.clone());
        match endpoint {
            Endpoint::Socket(path) => Self::Socket(path.clone()),
            Endpoint::Url(uri) if uri.scheme_str() == Some("http") => Self::Plain(tcp),
            Endpoint::Url(_) => {
                // Named here, not taken from the process: a service may have installed another provider, or none.
                let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
                match HttpsConnectorBuilder::new().with_provider_and_native_roots(provider) {
                    Ok(builder) => Self::Tls(builder.https_only().enable_http1().wrap_connector(tcp)),
                    Err(error) => Self::Broken(format!("no certificate authorities on this machine: {error}")),
                }
            }
        }
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Self::Error>> + Send>>;

    /// Always ready: the resolver below runs on threads, and needs no capacity in advance.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            Ok::<Stream, _>(match connector {
                Self::Socket(path) => {
                    let stream = tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await?;
                    Box::new(TokioIo::new(stream?))
                }
                Self::Plain(mut tcp) => Box::new(tcp.call(uri).await?),
                Self::Tls(mut tls) => Box::new(tls.call(uri).await?),
                Self::Broken(detail) => return Err(detail.into()),
            })
        })
    }
}

/// A connection of any kind.
pub(super) type Stream = Box<dyn Duplex>;

/// The traits of a connection.
pub(super) trait Duplex: Read + Write + Connection + Send + Unpin {}
impl<T: Read + Write + Connection + Send + Unpin> Duplex for T {}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.as_ref().connected()
    }
}
