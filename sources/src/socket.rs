//! Peers that connect: accepting them, and what they may cost.
//!
//! # Memory
//! A peer costs nothing while it says nothing. What it has begun to say and not ended is held, as far as its protocol lets
//! a message grow; all peers of a source together hold at most [`MEMORY_BYTES`] beyond a small share for each. One that
//! would exceed that is disconnected, and so is one beyond [`MOST_PEERS`].

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use millstream_core::{Batch, Error, MetricName, SourceContext};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// Held by unfinished messages of all peers of a source.
pub(crate) const MEMORY_BYTES: usize = 64 << 20;
/// Held by each peer without being counted.
const SHARE_BYTES: usize = 16 << 10;
/// Peers at a time.
const MOST_PEERS: usize = 10_000;
/// Read at once.
const READ_BYTES: usize = 64 << 10;
/// Until the next try to accept, when the system refuses.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A peer that asks for TLS has so long to say how.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// What is under way at a stop may take so long.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// Counts a connection for as long as it lives.
struct Open(SourceContext);

/// The memory that the peers of a source share.
#[derive(Debug, Clone)]
pub(crate) struct Memory(Arc<Semaphore>);

/// What a peer said and what was not taken out yet.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) bytes: BytesMut,
    memory: Memory,
    held: Option<OwnedSemaphorePermit>,
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

// === impl Memory ===

impl Memory {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes)))
    }
}

// === impl Inbox ===

impl Inbox {
    pub(crate) fn new(memory: Memory) -> Self {
        Self { bytes: BytesMut::new(), memory, held: None }
    }

    /// Reads what has come, at least one byte; 0 at the end.
    ///
    /// # Errors
    /// Those of the connection, and when all peers together hold too much.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub(crate) async fn fill(&mut self, reader: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        if self.bytes.is_empty() {
            // Nothing is held while nothing comes.
            (self.bytes, self.held) = (BytesMut::new(), None);
        }
        let beyond = self.bytes.len().saturating_sub(SHARE_BYTES);
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if beyond > held {
            // Room for as much again, so that a long message asks seldom.
            let wanted = (2 * beyond - held).min(MEMORY_BYTES) as u32;
            let Ok(more) = Arc::clone(&self.memory.0).try_acquire_many_owned(wanted) else {
                let text = "all peers together hold too many bytes of unfinished messages";
                return Err(io::Error::new(io::ErrorKind::QuotaExceeded, text));
            };
            match &mut self.held {
                Some(held) => held.merge(more),
                None => self.held = Some(more),
            }
        }
        read_some(reader, &mut self.bytes).await
    }

    /// Takes the first bytes out; what is held besides is counted again at the next [`Self::fill`].
    pub(crate) fn take(&mut self, bytes: usize) -> BytesMut {
        let taken = self.bytes.split_to(bytes);
        if self.bytes.len() <= SHARE_BYTES {
            self.held = None;
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
        let mut inbox = Inbox::new(Memory::new(MEMORY_BYTES));
        peer.write_all(b"one\ntw").await.unwrap();
        assert_eq!(inbox.fill(&mut stream).await.unwrap(), 6);
        assert!(inbox.bytes.capacity() < 256);
        assert_eq!(inbox.take(4), "one\n");
        assert_eq!(inbox.bytes, "tw");
        drop(peer);
        assert_eq!(inbox.fill(&mut stream).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn peers_that_hold_too_much_together_are_refused_and_room_comes_back() {
        let memory = Memory::new(200_000);
        let (mut inboxes, mut problem) = (Vec::new(), None);
        while problem.is_none() {
            let mut inbox = Inbox::new(memory.clone());
            for _ in 0..4 {
                problem = inbox.fill(&mut &[b'x'; READ_BYTES][..]).await.err().or(problem);
            }
            inboxes.push(inbox);
        }
        assert_eq!(problem.unwrap().kind(), io::ErrorKind::QuotaExceeded);
        let held: usize = inboxes.iter().map(|inbox| inbox.bytes.len()).sum();
        assert!(held <= 200_000 + inboxes.len() * (SHARE_BYTES + READ_BYTES), "{held}");
        let mut other = Inbox::new(memory);
        inboxes.clear();
        for _ in 0..2 {
            other.fill(&mut &[b'x'; READ_BYTES][..]).await.unwrap();
        }
    }
}
