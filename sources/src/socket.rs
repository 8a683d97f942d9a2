//! Peers that connect: accepting them, and what they may cost.
//!
//! # Memory
//! A peer costs nothing while it says nothing. What it has begun to say and not ended is held, as far as its protocol lets
//! a message grow; all peers of a source together hold at most [`MEMORY_BYTES`] beyond a small share for each. Slow ones
//! are disconnected as [`millstream_io::memory`] says, and so are those beyond [`MOST_PEERS`].

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::BytesMut;
use millstream_core::{Batch, Error, MetricName, SourceContext};
use millstream_io::{Memory, Share};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// Held by unfinished messages of all peers of a source.
pub(crate) const MEMORY_BYTES: usize = 64 << 20;
/// Held by each peer without being counted.
pub(crate) const SHARE_BYTES: usize = 16 << 10;
/// Peers at a time.
const MOST_PEERS: usize = 10_000;
/// Read at once.
const READ_BYTES: usize = 64 << 10;
/// Until the next try to accept, when the system refuses.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A peer that asks for TLS has so long to say how.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// For the last word to a peer.
const GOODBYE_WAIT: Duration = Duration::from_secs(1);
/// What is under way at a stop may take so long.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// Counts a connection for as long as it lives.
struct Open(SourceContext);

/// What a peer said and what was not taken out yet.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) bytes: BytesMut,
    share: Share,
}

/// Accepts peers until the source is asked to stop; `attend` serves one and ends by itself when asked to stop.
pub(crate) async fn serve<F>(listener: TcpListener, cx: &SourceContext, attend: impl Fn(TcpStream, SocketAddr) -> F)
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let mut stop = cx.stop.clone();
    let (mut peers, mut refused) = (JoinSet::new(), false);
    loop {
        tokio::select! {
            () = stop.stopped() => break,
            Some(ended) = peers.join_next() => told(cx, ended),
            accepted = listener.accept() => match accepted {
                Ok((_, peer)) if peers.len() >= MOST_PEERS => {
                    cx.status.count(MetricName::GenericProcessingFail, 1);
                    tracing::warn!(%peer, most = MOST_PEERS, "too many peers, refused");
                }
                Ok((stream, peer)) => {
                    refused = false;
                    peers.spawn(attended(attend(stream, peer), peer, Open::new(cx)));
                }
                Err(error) => {
                    // Out of descriptors, most likely. Those who are connected go on. Told once: it may last.
                    if !std::mem::replace(&mut refused, true) {
                        tracing::warn!(%error, "accept failed, it is tried again; the limit of open files is `ulimit -n`");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let ended = async {
        while let Some(ended) = peers.join_next().await {
            told(cx, ended);
        }
    };
    if timeout(STOP_WAIT, ended).await.is_err() {
        tracing::warn!(source = %cx.name, "peers are disconnected without an answer");
    }
}

/// A panic ends its connection alone.
fn told(cx: &SourceContext, ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        let error = Error::Panicked { place: format!("source {}", cx.name), message: error.to_string() };
        tracing::error!(%error, "connection ended");
        cx.status.count(MetricName::GenericProcessingFail, 1);
        cx.status.failed(&error);
    }
}

async fn attended(serving: impl Future<Output = Result<(), Error>>, peer: SocketAddr, open: Open) {
    tracing::debug!(%peer, "connected");
    match serving.await {
        Ok(()) => tracing::debug!(%peer, "disconnected"),
        Err(error) => {
            tracing::warn!(%peer, %error, "connection ended");
            open.0.status.count(MetricName::GenericProcessingFail, 1);
            open.0.status.failed(&error);
        }
    }
}

/// A connection, whatever protects it.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Shakes hands with a peer, where the source asks for TLS.
///
/// # Errors
/// When the peer does not speak it, or says nothing.
pub(crate) async fn secured(
    acceptor: Option<&TlsAcceptor>,
    stream: TcpStream,
    peer: SocketAddr,
    cx: &SourceContext,
) -> Result<Box<dyn Stream>, Error> {
    let Some(acceptor) = acceptor else { return Ok(Box::new(stream)) };
    let mut stop = cx.stop.clone();
    let stream = tokio::select! {
        shaken = acceptor.accept(stream) => shaken,
        () = sleep(HANDSHAKE_WAIT) => Err(io::ErrorKind::TimedOut.into()),
        () = stop.stopped() => return Err(Error::Stopped { what: format!("source {}", cx.name).into() }),
    };
    Ok(Box::new(stream.map_err(|error| Error::net("TLS handshake with", peer, error))?))
}

/// Tells a peer that nothing more comes: over TLS, an end without that is one that somebody may have cut off.
pub(crate) async fn say_goodbye(stream: &mut (impl AsyncWrite + Unpin)) {
    // The peer may be gone, or read nothing.
    let _ = timeout(GOODBYE_WAIT, stream.shutdown()).await;
}

/// Hands the events to the channels and waits until every required one has them, or one refused them. Asked to stop, it
/// gives up on room that is not there.
///
/// # Errors
/// Why they are not stored: the peer has to be told.
pub(crate) async fn stored(cx: &SourceContext, batch: &Batch) -> Result<(), Error> {
    let mut stop = cx.stop.clone();
    let delivered = tokio::select! {
        biased;
        delivered = cx.deliver(batch.clone()) => delivered,
        () = stop.stopped() => Err(Error::Stopped { what: format!("source {}", cx.name).into() }),
    };
    let outcome = match delivered {
        Ok(delivery) => delivery.stored().await,
        Err(error) => {
            // What no channel has room for was received, too.
            cx.status.count(MetricName::EventReceivedCount, batch.len() as u64);
            Err(error)
        }
    };
    match &outcome {
        Ok(()) => cx.status.count(MetricName::EventAcceptedCount, batch.len() as u64),
        Err(error) => {
            tracing::warn!(%error, events = batch.len(), "events refused");
            cx.status.failed(error);
        }
    }
    outcome
}

// === impl Open ===

impl Open {
    fn new(cx: &SourceContext) -> Self {
        cx.status.count(MetricName::OpenConnectionCount, 1);
        Self(cx.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.status.counters().lower(MetricName::OpenConnectionCount, 1);
    }
}

// === impl Inbox ===

impl Inbox {
    /// For one peer. With `patience` a small message is waited for so long; without one, for ever.
    pub(crate) fn new(memory: &Memory, patience: Option<Duration>) -> Self {
        Self { bytes: BytesMut::new(), share: memory.share(patience) }
    }

    /// Reads what has come, at least one byte; 0 at the end.
    ///
    /// # Errors
    /// Those of the connection, and when the peer is too slow or holds too much.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub(crate) async fn fill(&mut self, reader: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        if self.bytes.is_empty() {
            // Nothing is held while nothing comes.
            self.bytes = BytesMut::new();
            self.share.rest();
        } else {
            let beyond = self.bytes.len().saturating_sub(SHARE_BYTES);
            // Room for as much again, so that a long message asks seldom.
            let wanted = if beyond > self.share.held() { 2 * beyond } else { beyond };
            self.share.hold(wanted).await?;
        }
        let read = self.share.within(read_some(reader, &mut self.bytes)).await?;
        self.share.came(read);
        Ok(read)
    }

    /// Takes the first bytes out; they are counted until the next [`Self::fill`].
    pub(crate) fn take(&mut self, bytes: usize) -> BytesMut {
        let taken = self.bytes.split_to(bytes);
        self.share.finish();
        if self.bytes.len() <= SHARE_BYTES {
            // The rest must not keep the allocation of what was taken.
            self.bytes = BytesMut::from(&self.bytes[..]);
        }
        taken
    }
}

/// Appends what `reader` has to `bytes`, exactly: room to read into exists only while something is there, so that thousands
/// of silent or slow peers hold nothing.
async fn read_some(reader: &mut (impl AsyncRead + Unpin), bytes: &mut BytesMut) -> io::Result<usize> {
    let chunk = std::future::poll_fn(|cx| {
        let mut chunk = BytesMut::with_capacity(READ_BYTES);
        let polled = pin!(reader.read_buf(&mut chunk)).poll(cx);
        polled.map_ok(|_| chunk)
    });
    let chunk = chunk.await?;
    bytes.extend_from_slice(&chunk);
    Ok(chunk.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use tokio::io::{AsyncWriteExt, duplex};

    #[tokio::test]
    async fn what_comes_is_held_until_it_is_taken_and_no_more_than_that() {
        let (mut peer, mut stream) = duplex(1 << 20);
        let mut inbox = Inbox::new(&Memory::new(MEMORY_BYTES), None);
        peer.write_all(b"one\ntw").await.unwrap();
        assert_eq!(inbox.fill(&mut stream).await.unwrap(), 6);
        assert!(inbox.bytes.capacity() < 256);
        assert_eq!(inbox.take(4), "one\n");
        assert_eq!(inbox.bytes, "tw");
        drop(peer);
        assert_eq!(inbox.fill(&mut stream).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn peers_that_hold_too_much_together_lose_the_costliest_and_small_ones_get_in() {
        let memory = Memory::new(200_000);
        let mut slow = Inbox::new(&memory, None);
        for _ in 0..3 {
            slow.fill(&mut &[b'x'; READ_BYTES][..]).await.unwrap();
        }
        let (_silent, mut stream) = duplex(1);
        let slow = tokio::spawn(async move { slow.fill(&mut stream).await });
        let mut good = Inbox::new(&memory, None);
        for _ in 0..3 {
            good.fill(&mut &[b'x'; READ_BYTES][..]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(slow.await.unwrap().unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
        assert_eq!(good.take(3 * READ_BYTES).len(), 3 * READ_BYTES);
        assert_eq!(good.fill(&mut &b"y"[..]).await.unwrap(), 1);
        assert_eq!(good.share.held(), 0);
    }
}
