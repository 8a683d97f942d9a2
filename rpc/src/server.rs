//! The server's side: accepts peers and has their calls executed.
//!
//! # Order
//! The calls of a connection are executed in the order in which they came, and answered in that order; several may be
//! open.
//!
//! # Memory
//! Whatever peers claim or send, all connections together keep at most [`ServerLimits::memory_bytes`] of unfinished frames
//! beyond a small share for each. A peer that does not go on with a frame is disconnected, and when the memory is used up the
//! one whose frame costs most: see [`millstream_io::memory`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_core::{Error, Fut, Result, StopToken};
use millstream_io::Memory;
use millstream_wire::avro_rpc::{Metadata, Protocol};
use millstream_wire::netty::FrameLimits;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::connection;
use crate::transport::Wrapping;

/// Executes calls.
pub trait Service: Send + Sync + 'static {
    /// What is spoken, for the handshake.
    fn protocol(&self) -> Arc<Protocol>;

    /// Executes a call. The next one of the same connection is read after this resolved: what is waited for here holds up
    /// the peer. The answer itself may take longer; meanwhile further calls are executed.
    fn execute(self: Arc<Self>, call: Call) -> Fut<'static, Pending>;

    /// Whether a peer may connect at all; it may take a look-up to know that.
    fn admits(&self, _peer: SocketAddr) -> Fut<'_, bool> {
        Box::pin(std::future::ready(true))
    }

    /// A peer connected.
    fn opened(&self, _peer: SocketAddr) {}

    /// A connection ended, well or not.
    fn closed(&self, _peer: SocketAddr, _outcome: &Result<()>) {}
}

/// One call.
#[derive(Debug)]
pub struct Call {
    /// Call metadata.
    pub meta: Metadata,
    /// Name of the message, as sent.
    pub message: String,
    /// The parameters, undecoded.
    pub params: Bytes,
    /// Who calls.
    pub peer: SocketAddr,
}

/// An answer to come.
pub struct Pending(pub(crate) Fut<'static, Reply>);

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// Call metadata.
    pub meta: Metadata,
    /// The encoded answer, or an error's text, which Java's clients throw.
    pub result: Result<Bytes, String>,
}

/// What peers may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// Of one frame.
    pub frame: FrameLimits,
    /// Bytes of unfinished frames and of calls that wait for their execution, over all connections. Default 256 MiB.
    pub memory_bytes: usize,
    /// A small frame has so long to come, one that holds memory less. Default 60 s.
    pub stall: Duration,
    /// How long a server that stops waits for the calls under way. Default 2 s.
    pub stop: Duration,
}

/// A listening server.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    wrapping: Wrapping<TlsAcceptor>,
    limits: ServerLimits,
}

/// What the connections of a server share.
pub(crate) struct Shared<S> {
    pub(crate) service: Arc<S>,
    pub(crate) wrapping: Wrapping<TlsAcceptor>,
    pub(crate) limits: ServerLimits,
    pub(crate) memory: Memory,
    pub(crate) stop: StopToken,
}

// === impl Pending ===

impl Pending {
    /// What resolves to the answer.
    pub fn new(answer: impl Future<Output = Reply> + Send + 'static) -> Self {
        Self(Box::pin(answer))
    }

    /// An answer that is known already.
    pub fn ready(reply: Reply) -> Self {
        Self::new(std::future::ready(reply))
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

// === impl Reply ===

impl Reply {
    /// An answer without metadata.
    pub fn ok(datum: Bytes) -> Self {
        Self { meta: Metadata::new(), result: Ok(datum) }
    }

    /// An answer in which a peer of ours is told that so are we; a foreign one hears nothing of it.
    pub fn to_peer(own: bool, result: Result<Bytes, String>) -> Self {
        let mut meta = Metadata::new();
        if own {
            crate::introduce(&mut meta, false);
        }
        Self { meta, result }
    }

    /// An error without metadata.
    pub fn error(text: impl Into<String>) -> Self {
        Self { meta: Metadata::new(), result: Err(text.into()) }
    }
}

// === impl ServerLimits ===

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            frame: FrameLimits::default(),
            memory_bytes: 256 << 20,
            stall: Duration::from_secs(60),
            stop: Duration::from_secs(2),
        }
    }
}

// === impl Server ===

impl Server {
    /// Serves on a socket that listens already.
    pub fn new(listener: TcpListener, wrapping: Wrapping<TlsAcceptor>, limits: ServerLimits) -> Self {
        Self { listener, wrapping, limits }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// `Net` when the socket cannot name its address.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().map_err(|error| Error::net("listen", "socket", error))
    }

    /// Serves until asked to stop; then no further call is read, and those under way are answered, within [`ServerLimits::stop`].
    pub async fn serve<S: Service>(self, service: Arc<S>, stop: StopToken) {
        let memory = Memory::new(self.limits.memory_bytes);
        let Self { listener, wrapping, limits } = self;
        let mut stopping = stop.clone();
        let shared = Arc::new(Shared { service, wrapping, limits, memory, stop });
        let (mut connections, mut refused) = (JoinSet::new(), false);
        loop {
            tokio::select! {
                () = stopping.stopped() => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        refused = false;
                        connections.spawn(attend(stream, peer, Arc::clone(&shared)));
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
        while connections.join_next().await.is_some() {}
    }
}

async fn attend<S: Service>(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared<S>>) {
    if !shared.service.admits(peer).await {
        // Closed without a word.
        tracing::info!(%peer, "not admitted");
        return;
    }
    shared.service.opened(peer);
    tracing::debug!(%peer, "connected");
    let outcome = connection::run(stream, peer, &shared).await;
    shared.service.closed(peer, &outcome);
    match outcome {
        Ok(()) => tracing::debug!(%peer, "disconnected"),
        Err(error) => tracing::warn!(%error, %peer, "connection ended"),
    }
}

/// Until the next try to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
