//! Recognises a pooler, such as PgBouncer, between authd and PostgreSQL.
//!
//! A pooler in transaction mode may give each transaction another session of the server. Then settings and prepared
//! statements of a session are shared with other programs: `SET` does not last, and a name may even execute another
//! daemon's statement. Behind a pooler authd therefore uses unnamed statements and `SET LOCAL` alone. To do so always was
//! rejected: without a pooler, a named statement is parsed and planned only once.
//!
//! The sign is the process number that the start-up of a connection tells, for requests to cancel: a pooler tells one
//! of its own, not that of the session that answers. It cannot be read from the driver directly, but from a request
//! to cancel (PostgreSQL's manual, "Message Formats", `CancelRequest`), which is written to memory and never sent.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, Error, SimpleQueryMessage};

/// The bytes of a `CancelRequest`: length, code, process number, secret.
const CANCEL_REQUEST: usize = 16;

/// Whether a connection of this process has met a pooler. It stays: hosts of one URL may differ.
#[derive(Debug, Default)]
pub(super) struct Pooler(AtomicBool);

impl Pooler {
    pub(super) fn is_met(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set_met(&self) {
        if !self.0.swap(true, Ordering::Relaxed) {
            tracing::info!("a pooler is between authd and PostgreSQL: statements are prepared for one use");
        }
    }
}

/// Whether a new connection goes through a pooler, in any of its modes.
pub(super) async fn is_pooled(client: &Client) -> Result<bool, Error> {
    let answer = client.simple_query("SELECT pg_backend_pid()").await?;
    let answering = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
        _ => None,
    });
    let told = process_number(client).await;
    Ok(told.is_none() || told != answering)
}

/// The process number that the start-up of the connection told.
async fn process_number(client: &Client) -> Option<i32> {
    let (mut here, there) = tokio::io::duplex(64);
    // The answer to a request for TLS, if the connection requires that.
    here.write_all(b"S").await.ok()?;
    client.cancel_token().cancel_query_raw(there, Unencrypted).await.ok()?;
    let mut written = Vec::new();
    here.read_to_end(&mut written).await.ok()?;
    let request = written.last_chunk::<CANCEL_REQUEST>()?;
    Some(i32::from_be_bytes(request[8..12].try_into().ok()?))
}

/// "TLS" that leaves a stream in memory as it is.
struct Unencrypted;

struct Memory(DuplexStream);

impl TlsConnect<DuplexStream> for Unencrypted {
    type Stream = Memory;
    type Error = io::Error;
    type Future = Ready<io::Result<Memory>>;

    fn connect(self, stream: DuplexStream) -> Self::Future {
        ready(Ok(Memory(stream)))
    }
}

impl TlsStream for Memory {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Memory {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Memory {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
