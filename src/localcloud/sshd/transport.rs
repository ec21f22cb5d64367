//! The connection as russh sees it. It is read no faster than the programs read
//! their input, can be ended from outside, and is reset if a fault requires it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::intake::{Gate, Passage};

/// How long programs may leave their input unread before the connection is read
/// nevertheless.
const PATIENCE: Duration = Duration::from_millis(200);

pub(super) struct Transport {
    stream: TcpStream,
    gate: Arc<Gate>,
    /// How many bytes the programs had read when the gate was found full, and a
    /// timer until which they may pause.
    patience: Option<(u64, Pin<Box<Sleep>>)>,
    /// How many bytes are read before the connection is reset.
    until_reset: Option<u64>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Transport {
    pub(super) fn new(
        stream: TcpStream,
        gate: Arc<Gate>,
        until_reset: Option<u64>,
        end: CancellationToken,
    ) -> Self {
        Self {
            stream,
            gate,
            patience: None,
            until_reset,
            ended: Box::pin(end.cancelled_owned()),
        }
    }

    /// Waits until the gate is open.
    fn poll_passage(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let progress = match self.gate.passage(cx.waker()) {
                Passage::Open => {
                    self.patience = None;
                    return Poll::Ready(());
                }
                Passage::Closed => return Poll::Pending,
                Passage::Full { progress } => progress,
            };
            match &mut self.patience {
                Some((then, patience)) if *then == progress => {
                    ready!(patience.as_mut().poll(cx));
                    self.gate.overflow();
                }
                _ => {
                    let sleep = tokio::time::sleep(PATIENCE);
                    self.patience = Some((progress, Box::pin(sleep)));
                }
            }
        }
    }

    /// Counts the bytes that were read. Fails if the connection has to be reset.
    fn spend(&mut self, read: usize) -> io::Result<()> {
        let Some(left) = &mut self.until_reset else {
            return Ok(());
        };
        *left = left.saturating_sub(read as u64);
        if *left > 0 {
            return Ok(());
        }
        // With a linger time of zero, closing sends a RST instead of a FIN.
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))?;
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        ready!(this.poll_passage(cx));
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        let read = buffer.filled().len() - before;
        Poll::Ready(this.spend(read))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
