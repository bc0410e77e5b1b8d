//! The pooled client of HTTP and HTTPS, without limits of time and size, which each user sets.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use shared::proxy::{Proxies, ProxyConnector};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

type Pool = Client<HttpsConnector<ProxyConnector>, Full<Bytes>>;

/// Pooled connections. The certificates of this machine are read at the first use, so that a daemon that needs none
/// stays small.
#[derive(Debug, Default)]
pub struct Https(OnceLock<(Pool, Proxies)>);

impl Https {
    /// Sends a request, by way of a proxy if the environment names one.
    pub fn request(&self, mut request: Request<Full<Bytes>>) -> ResponseFuture {
        let (pool, proxies) = self.0.get_or_init(|| {
            let proxies = Proxies::from_env();
            let mut tcp = HttpConnector::new();
            tcp.enforce_http(false);
            tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            let builder = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider).unwrap_or_else(|error| {
                tracing::warn!(%error, "no certificates of authorities on this machine: nobody can be reached over https; install ca-certificates");
                HttpsConnectorBuilder::new().with_tls_config(without_roots())
            });
            let connector = builder.https_or_http().enable_http1().enable_http2().wrap_connector(ProxyConnector::new(tcp, proxies.clone()));
            let pool = Client::builder(TokioExecutor::new())
                .pool_idle_timeout(Duration::from_secs(30))
                .pool_max_idle_per_host(4)
                .pool_timer(TokioTimer::new())
                .build(connector);
            (pool, proxies)
        });
        proxies.authorize(&mut request);
        pool.request(request)
    }
}

/// Trusts no authority: every https connection fails, plain ones on loopback still work.
fn without_roots() -> rustls::ClientConfig {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}
