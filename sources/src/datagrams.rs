//! Datagrams: received many at a time, delivered until a channel takes them.
//!
//! Nobody can be told to wait, so what comes faster than channels take it is lost in the system's own buffer.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use millstream_core::{Batch, Error, MetricName, Result, SourceContext};
use tokio::net::UdpSocket;

use crate::window::{Progress, Window, together};

/// What came together.
#[derive(Debug)]
pub(crate) struct Datagrams {
    pub(crate) bytes: Bytes,
    /// Each one's place in `bytes`, and who sent it.
    pub(crate) each: Vec<(Range<usize>, SocketAddr)>,
}

/// Receives them for a source.
#[derive(Debug)]
pub(crate) struct Receiver {
    socket: UdpSocket,
    window: Window,
}

/// Largest payload that UDP has.
const MOST_BYTES: usize = 65_535;
/// Most datagrams taken together, and about how many bytes.
const TOGETHER: usize = 1000;
const TOGETHER_BYTES: usize = 256 << 10;
/// Longest wait before a refused batch is offered again.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Binds a UDP port.
///
/// # Errors
/// `Net`.
pub(crate) async fn bind(host: &str, port: u16) -> Result<UdpSocket> {
    let bound = UdpSocket::bind((host, port)).await;
    bound.map_err(|error| Error::net("bind", format_args!("{host}:{port} (UDP)"), error))
}

// === impl Receiver ===

impl Receiver {
    pub(crate) fn new(socket: UdpSocket) -> Self {
        Self { socket, window: Window::of_events(MAX_BACKOFF) }
    }

    /// What came together next; `None` when the source was asked to stop.
    ///
    /// # Errors
    /// Those of the socket, and of channels that no retry can help.
    pub(crate) async fn next(&mut self, cx: &SourceContext) -> Result<Option<Datagrams>> {
        let mut stop = cx.stop.clone();
        loop {
            if stop.is_stopped() {
                return Ok(None);
            }
            let datagrams = take(&self.socket, together(cx, TOGETHER))?;
            if !datagrams.each.is_empty() {
                return Ok(Some(datagrams));
            }
            // Told when there is time for it.
            if self.window.settle(cx).await? == Progress::Stopped {
                return Ok(None);
            }
            tokio::select! {
                biased;
                () = stop.stopped() => return Ok(None),
                ready = self.socket.readable() => ready.map_err(|error| Error::net("receive", "UDP socket", error))?,
            }
        }
    }

    /// Offers events until a channel takes them.
    ///
    /// # Errors
    /// Of channels that no retry can help.
    pub(crate) async fn deliver(&mut self, cx: &SourceContext, events: Batch) -> Result<Progress> {
        let lost = events.len();
        let progress = self.window.deliver(cx, events).await?;
        if progress == Progress::Stopped {
            cx.status.count(MetricName::ChannelWriteFail, 1);
            tracing::warn!(events = lost, "lost at the stop: no channel took them");
        }
        Ok(progress)
    }

    /// Waits for what is under way.
    ///
    /// # Errors
    /// Of channels that no retry can help.
    pub(crate) async fn finish(mut self, cx: &SourceContext) -> Result<()> {
        self.window.settle(cx).await.map(drop)
    }
}

/// What is there, at most so many.
fn take(socket: &UdpSocket, most: usize) -> Result<Datagrams> {
    let (mut bytes, mut each) = (Vec::<u8>::new(), Vec::new());
    while each.len() < most && bytes.len() < TOGETHER_BYTES {
        let start = bytes.len();
        bytes.reserve(MOST_BYTES);
        match socket.try_recv_buf_from(&mut bytes) {
            Ok((read, peer)) => each.push((start..start + read, peer)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::net("receive", "UDP socket", error)),
        }
    }
    bytes.shrink_to_fit();
    Ok(Datagrams { bytes: bytes.into(), each })
}
