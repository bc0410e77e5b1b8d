//! A socket that tells the table what it reads and writes, and that closes without losing the last answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::connections::Connection;

/// How much of what a peer is still sending is read and thrown away after a refusal, in bytes, and for how long. A socket
/// that is closed with unread bytes is reset, and the peer may lose the answer.
pub const MAX_DISCARDED: usize = 8 << 20;
pub const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// A counted socket.
pub struct Socket<IO> {
    io: IO,
    connection: Arc<Connection>,
    /// Since the end was sent: the deadline for the peer's end, and the bytes thrown away.
    closing: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<IO> Socket<IO> {
    pub fn new(io: IO, connection: Arc<Connection>) -> Self {
        Self { io, connection, closing: None }
    }

    fn noted<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.connection.wrote(written.is_ready());
        written
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Socket<IO> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.connection.may_read() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(context, buffer))?;
        this.connection.received(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<IO> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(context, bytes);
        this.noted(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(context, bytes);
        this.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    /// Sends the end; if the peer is still sending, waits for its end within the bounds.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.closing.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(context))?;
            if !this.connection.is_unread() {
                return Poll::Ready(Ok(()));
            }
        }
        let (deadline, discarded) =
            this.closing.get_or_insert_with(|| (Box::pin(tokio::time::sleep(DISCARD_TIMEOUT)), 0));
        let mut bytes = [0; 4 << 10];
        while *discarded < MAX_DISCARDED {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut this.io).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => *discarded += buffer.filled().len(),
                Poll::Ready(_) => break,
                Poll::Pending => return deadline.as_mut().poll(context).map(Ok),
            }
        }
        Poll::Ready(Ok(()))
    }
}
