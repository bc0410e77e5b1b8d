//! The connection to the mail server, encrypted before lettre sees it.
//!
//! STARTTLS is done here, since lettre's keeps what the server sent in plain text after its answer, and reads it as answers
//! to what is sent encrypted: somebody between could put them there (RFC 3207 §6, CVE-2011-0411 the other way round). Here
//! nothing is read beyond that answer, so such text goes to the TLS handshake, which fails.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use hyper_rustls::ConfigBuilderExt;
use lettre::transport::smtp::client::AsyncTokioStream;
use lettre::transport::smtp::extension::ClientId;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::config::{Security, Server};

/// Maximum length of an answer before TLS, in bytes.
const MAX_ANSWER: usize = 8 << 10;

/// The greeting after STARTTLS, where the server has none and lettre expects one.
const GREETING: &[u8] = b"220 TLS\r\n";

/// What TLS needs. The certificates of this machine are read at the first use, so that a daemon that sends no mail stays
/// small.
#[derive(Default)]
pub(super) struct Tls(OnceLock<TlsConnector>);

impl Tls {
    fn connector(&self) -> Result<TlsConnector> {
        if let Some(connector) = self.0.get() {
            return Ok(connector.clone());
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = builder.map_err(Error::other)?.with_native_roots()?.with_no_client_auth();
        Ok(self.0.get_or_init(|| TlsConnector::from(Arc::new(config))).clone())
    }

    /// Connects, with TLS as the settings say. The caller limits the time.
    pub(super) async fn connect(&self, server: &Server, hello: &ClientId) -> Result<Box<dyn AsyncTokioStream>> {
        let mut tcp = TcpStream::connect((server.host.as_str(), server.port)).await?;
        tcp.set_nodelay(true)?;
        let greeting = match server.security {
            Security::None => return Ok(Box::new(tcp)),
            Security::Tls => &[],
            Security::StartTls => {
                start_tls(&mut tcp, hello).await?;
                GREETING
            }
        };
        let name = ServerName::try_from(server.host.clone()).map_err(Error::other)?;
        let tls = self.connector()?.connect(name, tcp).await;
        let inner = tls.map_err(|error| Error::new(error.kind(), format!("TLS: {error}")))?;
        Ok(Box::new(Encrypted { greeting, inner }))
    }
}

async fn start_tls(tcp: &mut TcpStream, hello: &ClientId) -> Result<()> {
    answer(tcp, "220").await?;
    tcp.write_all(format!("EHLO {hello}\r\n").as_bytes()).await?;
    let extensions = answer(tcp, "250").await?;
    if !extensions.lines().any(|line| line.get(4..).is_some_and(|word| word.eq_ignore_ascii_case("STARTTLS"))) {
        let fault = "the mail server offers no STARTTLS: use smtps://, or ?tls=none to send in plain text";
        return Err(Error::other(fault));
    }
    tcp.write_all(b"STARTTLS\r\n").await?;
    answer(tcp, "220").await?;
    Ok(())
}

/// Reads an answer with this code, byte by byte: what follows it is not ours.
async fn answer(tcp: &mut TcpStream, code: &str) -> Result<String> {
    let mut text = String::new();
    let mut start = 0;
    while text.len() < MAX_ANSWER {
        let byte = tcp.read_u8().await?;
        text.push(char::from(byte));
        if byte != b'\n' {
            continue;
        }
        let line = &text[start..];
        if !line.starts_with(code) {
            return Err(Error::other(format!("the mail server answers {line}")));
        }
        if !line[code.len()..].starts_with('-') {
            return Ok(text);
        }
        start = text.len();
    }
    Err(Error::new(ErrorKind::InvalidData, "the mail server's answer is too long"))
}

/// A connection with TLS, after a greeting.
#[derive(Debug)]
struct Encrypted {
    greeting: &'static [u8],
    inner: TlsStream<TcpStream>,
}

impl AsyncTokioStream for Encrypted {
    fn peer_addr(&self) -> Result<SocketAddr> {
        self.inner.get_ref().0.peer_addr()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        if self.greeting.is_empty() {
            return Pin::new(&mut self.inner).poll_read(context, buf);
        }
        let (now, later) = self.greeting.split_at(self.greeting.len().min(buf.remaining()));
        buf.put_slice(now);
        self.greeting = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
