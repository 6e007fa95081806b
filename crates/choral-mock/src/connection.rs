//! A client's connection that can be broken on purpose.
//!
//! Owns the socket while hyper speaks HTTP over it. Closing it with a pending reset is
//! what makes a client see "connection reset by peer" and not an early end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::record::Log;

/// The part of a connection that its requests know.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) number: u64,
    reset: AtomicBool,
    broken: Notify,
}

impl Connection {
    pub(crate) fn new(number: u64) -> Self {
        Self {
            number,
            reset: AtomicBool::new(false),
            broken: Notify::new(),
        }
    }

    /// Ends the connection with RST.
    pub(crate) fn reset(&self) {
        self.reset.store(true, Ordering::SeqCst);
        self.broken.notify_one();
    }

    /// Ends the connection with FIN.
    pub(crate) fn close(&self) {
        self.broken.notify_one();
    }

    /// Comes back when one of the two was asked for.
    pub(crate) async fn broken(&self) {
        self.broken.notified().await;
    }
}

/// A socket that notes activity, and resets when told so.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) stream: TcpStream,
    pub(crate) connection: Arc<Connection>,
    pub(crate) log: Log,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.connection.reset.load(Ordering::SeqCst) {
            // Without lingering the kernel answers with RST. If it refuses, the client
            // sees an orderly end, and the test that counts on a reset will say so.
            let _ = self.stream.set_zero_linger();
        }
        self.log.disconnected();
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.log.active();
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if matches!(polled, Poll::Ready(Ok(_))) {
            self.log.active();
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
