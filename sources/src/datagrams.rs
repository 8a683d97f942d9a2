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

use crate::window::{Progress, Window};

/// What came together.
#[derive(Debug)]
pub(crate) struct Datagrams {
    pub(crate) bytes: Bytes,
    /// Each one's place in `bytes`, and who sent it.
    pub(crate) each: Vec<(Range<usize>, SocketAddr)>,
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

/// Receives until the source is asked to stop; `batch` makes events of what came together.
///
/// # Errors
/// Those of the socket, and of channels that no retry can help.
pub(crate) async fn receive(
    socket: &UdpSocket,
    cx: &SourceContext,
    mut batch: impl FnMut(Datagrams) -> Batch,
) -> Result<()> {
    let mut stop = cx.stop.clone();
    let mut window = Window::of_events(MAX_BACKOFF);
    loop {
        tokio::select! {
            biased;
            () = stop.stopped() => break,
            ready = socket.readable() => ready.map_err(|error| Error::net("receive", "UDP socket", error))?,
        }
        let (datagrams, is_all) = take(socket)?;
        if datagrams.each.is_empty() {
            continue;
        }
        let events = batch(datagrams);
        let lost = events.len();
        if window.deliver(cx, events).await? == Progress::Stopped {
            cx.status.count(MetricName::ChannelWriteFail, 1);
            tracing::warn!(events = lost, "lost at the stop: no channel took them");
            break;
        }
        // Told when there is time for it.
        if is_all && window.settle(cx).await? == Progress::Stopped {
            break;
        }
    }
    window.settle(cx).await.map(drop)
}

/// What is there; whether that is all.
fn take(socket: &UdpSocket) -> Result<(Datagrams, bool)> {
    let (mut bytes, mut each) = (Vec::<u8>::new(), Vec::new());
    let mut is_all = false;
    while each.len() < TOGETHER && bytes.len() < TOGETHER_BYTES {
        let start = bytes.len();
        bytes.reserve(MOST_BYTES);
        match socket.try_recv_buf_from(&mut bytes) {
            Ok((read, peer)) => each.push((start..start + read, peer)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                is_all = true;
                break;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::net("receive", "UDP socket", error)),
        }
    }
    bytes.shrink_to_fit();
    Ok((Datagrams { bytes: bytes.into(), each }, is_all))
}
