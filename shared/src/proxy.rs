//! Outgoing connections by way of a proxy, which the environment names by curl's rules: `https_proxy`, `http_proxy` (in
//! lower case only, since a CGI server sets `HTTP_PROXY` from a header), `all_proxy` and `no_proxy`, each but `http_proxy`
//! also in upper case. No host is exempt by itself, not even this machine.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::PROXY_AUTHORIZATION;
use http::{Request, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long a proxy may take to reach the server.
const TUNNEL_TIMEOUT: Duration = Duration::from_secs(10);
/// The port of a proxy whose URL names none, as in curl.
const DEFAULT_PORT: u16 = 1080;
/// Stands for a proxy whose URL cannot be used.
const UNUSABLE: &str = "unusable.invalid";

/// The proxies of the environment.
#[derive(Clone, Debug)]
pub struct Proxies {
    matcher: Arc<Matcher>,
    /// The first variable with a URL that is none of a proxy.
    fault: Option<String>,
}

impl Proxies {
    /// Those of this process' environment.
    pub fn from_env() -> Self {
        Self::new(|name| std::env::var(name).ok())
    }

    fn new(variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut fault = None;
        // As with curl, an empty variable is not set.
        let set =
            |name: &'static str| variable(name).filter(|value| !value.trim().is_empty()).map(|value| (name, value));
        let mut proxy = |names: &[&'static str]| {
            let (name, url) = names.iter().find_map(|&name| set(name))?;
            if is_usable(&url) {
                return Some(url);
            }
            fault.get_or_insert_with(|| {
                format!("the variable {name} does not name a proxy: http://HOST:PORT or socks5h://HOST:PORT")
            });
            Some(UNUSABLE.to_owned())
        };
        let (http, https) = (proxy(&["http_proxy"]), proxy(&["https_proxy", "HTTPS_PROXY"]));
        let all = proxy(&["all_proxy", "ALL_PROXY"]);
        let no = ["no_proxy", "NO_PROXY"].into_iter().find_map(set).map(|(_, value)| value);
        let matcher = Matcher::builder()
            .http(http.unwrap_or_default())
            .https(https.unwrap_or_default())
            .all(all.unwrap_or_default())
            .no(no.unwrap_or_default().to_ascii_lowercase())
            .build();
        Self { matcher: Arc::new(matcher), fault }
    }

    /// The proxy to this URL, if there is one. What is sent to this machine unencrypted never leaves it: curl would take the
    /// proxy there too.
    fn find(&self, uri: &Uri) -> Option<Intercept> {
        if uri.scheme_str() == Some("http") && uri.host().is_some_and(crate::url::is_loopback) {
            return None;
        }
        // Names are compared without regard to case and to the dot of a fully qualified one.
        let host = uri.host()?.to_ascii_lowercase();
        let asked = format!("{}://{}/", uri.scheme_str()?, host.trim_end_matches('.'));
        self.matcher.intercept(&asked.parse().ok()?)
    }

    /// Adds the credentials for the proxy to a request that is sent to it unencrypted. To an encrypted server, they are sent
    /// when the connection is made.
    pub fn authorize<B>(&self, request: &mut Request<B>) {
        if request.uri().scheme_str() == Some("http")
            && let Some(proxy) = self.find(request.uri())
            && let Some(credentials) = proxy.basic_auth()
        {
            request.headers_mut().insert(PROXY_AUTHORIZATION, credentials.clone());
        }
    }
}

/// Whether a variable names a proxy of a kind that can be used.
fn is_usable(url: &str) -> bool {
    let proxies = Matcher::builder().all(url).build();
    let proxy = proxies.intercept(&Uri::from_static("http://host.invalid/"));
    proxy.is_some_and(|proxy| {
        matches!(proxy.uri().scheme_str(), Some("http" | "socks5" | "socks5h")) && has_good_port(proxy.uri())
    })
}

/// Whether the port of a URL is a number, if it has one.
fn has_good_port(uri: &Uri) -> bool {
    uri.authority().is_some_and(|authority| {
        let address = authority.as_str().rsplit('@').next().unwrap_or_default();
        authority.port_u16().is_some() || address.len() == authority.host().len()
    })
}

/// Connects directly or by way of a proxy.
#[derive(Clone, Debug)]
pub struct ProxyConnector {
    tcp: HttpConnector,
    proxies: Proxies,
}

impl ProxyConnector {
    pub fn new(tcp: HttpConnector, proxies: Proxies) -> Self {
        Self { tcp, proxies }
    }
}

impl Service<Uri> for ProxyConnector {
    type Response = ProxyStream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<ProxyStream, BoxError>> + Send>>;

    /// Always ready, as the resolver below is.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (mut tcp, proxy, fault) = (self.tcp.clone(), self.proxies.find(&uri), self.proxies.fault.clone());
        Box::pin(async move {
            let Some(proxy) = proxy else {
                return Ok(ProxyStream { io: tcp.call(uri).await?, is_forwarded: false });
            };
            if proxy.uri().host() == Some(UNUSABLE) {
                return Err(fault.unwrap_or_default().into());
            }
            let address = with_port(proxy.uri())?;
            let shown = address.authority().map(ToString::to_string).unwrap_or_default();
            let connecting = async {
                match (address.scheme_str(), uri.scheme_str()) {
                    (Some("http"), Some("http")) => Ok(tcp.call(address).await?),
                    (Some("http"), _) => {
                        let mut tunnel = Tunnel::new(address, tcp);
                        if let Some(credentials) = proxy.basic_auth() {
                            tunnel = tunnel.with_auth(credentials.clone());
                        }
                        Ok::<_, BoxError>(tunnel.call(uri.clone()).await?)
                    }
                    (scheme, _) => {
                        let mut socks = SocksV5::new(address.clone(), tcp).local_dns(scheme == Some("socks5"));
                        if let Some((user, password)) = proxy.raw_auth() {
                            socks = socks.with_auth(user.to_owned(), password.to_owned());
                        }
                        Ok(socks.call(uri.clone()).await?)
                    }
                }
            };
            let is_forwarded = proxy.uri().scheme_str() == Some("http") && uri.scheme_str() == Some("http");
            match tokio::time::timeout(TUNNEL_TIMEOUT, connecting).await {
                Ok(Ok(io)) => Ok(ProxyStream { io, is_forwarded }),
                Ok(Err(error)) => Err(format!("the proxy {shown}: {}", causes(error.as_ref())).into()),
                Err(_) => Err(format!("the proxy {shown} did not connect within 10 s").into()),
            }
        })
    }
}

/// The address of a proxy, with its port.
fn with_port(uri: &Uri) -> Result<Uri, BoxError> {
    let authority = match (uri.port(), uri.host()) {
        (None, Some(host)) => format!("{host}:{DEFAULT_PORT}"),
        _ => uri.authority().map(ToString::to_string).unwrap_or_default(),
    };
    Ok(Uri::builder().scheme(uri.scheme_str().unwrap_or("http")).authority(authority).path_and_query("/").build()?)
}

fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A connection to a server or a proxy.
#[derive(Debug)]
pub struct ProxyStream {
    io: TokioIo<TcpStream>,
    /// The proxy forwards each request, which names its server.
    is_forwarded: bool,
}

impl Connection for ProxyStream {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.is_forwarded)
    }
}

impl Read for ProxyStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for ProxyStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The proxy to a URL, in an environment.
    fn proxy(environment: &[(&str, &str)], url: &str) -> Option<String> {
        let find = |name: &str| environment.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        let proxy = Proxies::new(find).find(&url.parse().unwrap())?;
        Some(with_port(proxy.uri()).unwrap().to_string().trim_end_matches('/').to_owned())
    }

    /// Each line is what curl 7.88 does, but for plain text to this machine.
    #[test]
    fn the_environment_means_what_it_means_to_curl() {
        let p = "http://p:3128";
        for (environment, url, expected) in [
            (&[("https_proxy", p)][..], "https://a.test/", Some(p)),
            (&[("HTTPS_PROXY", p)], "https://a.test/", Some(p)),
            (&[("HTTPS_PROXY", p)], "http://a.test/", None),
            (&[("http_proxy", p)], "http://a.test/", Some(p)),
            (&[("HTTP_PROXY", p)], "http://a.test/", None),
            (&[("http_proxy", p)], "https://a.test/", None),
            (&[("ALL_PROXY", p)], "https://a.test/", Some(p)),
            (&[("all_proxy", p), ("https_proxy", "http://q:1")], "https://a.test/", Some("http://q:1")),
            (&[("https_proxy", ""), ("HTTPS_PROXY", p)], "https://a.test/", Some(p)),
            (&[("https_proxy", "http://q:1"), ("HTTPS_PROXY", p)], "https://a.test/", Some("http://q:1")),
            (&[("https_proxy", "p:3128")], "https://a.test/", Some(p)),
            (&[("https_proxy", "http://p")], "https://a.test/", Some("http://p:1080")),
            (&[("https_proxy", "socks5h://p")], "https://a.test/", Some("socks5h://p:1080")),
            // Loopback is no exception where it is encrypted. In plain text, where curl makes none either, it is.
            (&[("https_proxy", p)], "https://127.0.0.1:8443/", Some(p)),
            (&[("https_proxy", p)], "https://localhost/", Some(p)),
            (&[("http_proxy", p), ("all_proxy", p)], "http://127.0.0.1:8080/", None),
            (&[("http_proxy", p), ("all_proxy", p)], "http://[::1]:8080/", None),
            (&[("http_proxy", p), ("all_proxy", p)], "http://localhost/", None),
            (&[("https_proxy", p), ("NO_PROXY", "localhost,127.0.0.1")], "https://127.0.0.1:8443/", None),
            (&[("https_proxy", p), ("no_proxy", "127.0.0.0/8")], "https://127.0.0.1:8443/", None),
            (&[("https_proxy", p), ("no_proxy", "::1")], "https://[::1]:8443/", None),
            (&[("https_proxy", p), ("no_proxy", "a.test")], "https://b.a.test/", None),
            (&[("https_proxy", p), ("no_proxy", ".a.test")], "https://a.test/", None),
            (&[("https_proxy", p), ("no_proxy", "a.test")], "https://ba.test/", Some(p)),
            (&[("https_proxy", p), ("no_proxy", "A.Test , b.test")], "https://a.TEST./", None),
            (&[("https_proxy", p), ("no_proxy", "*")], "https://a.test/", None),
            (&[("https_proxy", p), ("no_proxy", "b.test"), ("NO_PROXY", "a.test")], "https://a.test/", Some(p)),
        ] {
            assert_eq!(proxy(environment, url).as_deref(), expected, "{environment:?} {url}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_not_taken_for_none() {
        for value in ["ftp://p:21", "https://p:443", "http://", "http://p:port", "not a url", "socks4://p"] {
            let proxies = Proxies::new(|name| (name == "HTTPS_PROXY").then(|| value.to_owned()));
            assert!(proxies.fault.as_ref().is_some_and(|fault| fault.contains("HTTPS_PROXY")), "{value}");
            assert!(proxies.find(&Uri::from_static("https://a.test/")).is_some(), "{value}");
            assert!(proxies.find(&Uri::from_static("http://a.test/")).is_none(), "{value}");
        }
    }

    #[test]
    fn credentials_for_the_proxy_are_sent_to_it_alone() {
        let proxies = Proxies::new(|name| (name == "http_proxy").then(|| "http://me:p%40ss@p:3128".to_owned()));
        let mut request = Request::get("http://a.test/").body(()).unwrap();
        proxies.authorize(&mut request);
        assert_eq!(request.headers()[PROXY_AUTHORIZATION], "Basic bWU6cEBzcw==");
        let mut request = Request::get("https://a.test/").body(()).unwrap();
        proxies.authorize(&mut request);
        assert!(request.headers().is_empty());
    }
}
