//! The client's side of one connection.
//!
//! A peer of ours takes several calls at once; from a foreign one each answer is waited for before the next call. A client
//! that failed is of no further use: connect again.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use millstream_core::{Error, Result};
use millstream_io::wait::{until, within};
use millstream_wire::avro_rpc::{ClientConnection, Metadata, Outcome, Protocol, Response};
use millstream_wire::names::Peer;
use millstream_wire::netty::{FrameDecoder, encode_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use crate::buffers::Buffers;
use crate::transport::{Reading, Wrapping, Writing, address, hinted};

/// Whom to call, and how long to wait.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// For the connection and its TLS.
    pub connect_timeout: Duration,
    /// For sending a call, and then for its answer.
    pub request_timeout: Duration,
    /// TLS and compression.
    pub wrapping: Wrapping<TlsConnector>,
    /// What is spoken.
    pub protocol: Arc<Protocol>,
}

/// A connection to a server.
pub struct Client {
    address: String,
    reading: Reading,
    writing: Writing,
    rpc: ClientConnection,
    frames: FrameDecoder,
    chunk: BytesMut,
    serial: u32,
    /// Calls that are not answered, or whose answer was not asked for, oldest first.
    open: VecDeque<Open>,
    peer: Option<Peer>,
    request_timeout: Duration,
    hint: &'static str,
}

struct Open {
    serial: u32,
    deadline: Instant,
    response: Option<Response>,
}

// === impl Client ===

impl Client {
    /// Connects. Hands are shaken with the first call.
    ///
    /// # Errors
    /// `Net`.
    pub async fn connect(settings: &ClientSettings) -> Result<Self> {
        let address = address(&settings.host, settings.port);
        let connected = settings.wrapping.connect(&settings.host, settings.port, settings.connect_timeout).await;
        let (reading, writing) = connected.map_err(|error| Error::net("connect", &address, error))?;
        Ok(Self {
            address,
            reading,
            writing,
            rpc: ClientConnection::new(Arc::clone(&settings.protocol)),
            frames: FrameDecoder::default(),
            chunk: BytesMut::new(),
            serial: 0,
            open: VecDeque::new(),
            peer: None,
            request_timeout: settings.request_timeout,
            hint: if settings.wrapping.deflate.is_some() { ONE_SIDED_DEFLATE } else { BARE },
        })
    }

    /// The server, where it is one of ours; known from the first answer on.
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// How many calls may be open: one until hands are shaken, and with a foreign server.
    pub fn most_open(&self) -> usize {
        let pipelined = self.rpc.is_established() && self.peer.as_ref().is_some_and(|peer| peer.pipelined);
        if pipelined { MOST_OPEN } else { 1 }
    }

    /// Whether hands are shaken: before, one call may be open.
    pub fn is_established(&self) -> bool {
        self.rpc.is_established()
    }

    /// Calls that are open.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Sends a call. Who calls again must keep to [`Self::most_open`].
    ///
    /// # Errors
    /// `Net`; `Corrupt` when a second call is made before hands are shaken.
    pub async fn send(&mut self, meta: Metadata, message: &str, params: Bytes) -> Result<()> {
        let parts = self.rpc.call(meta, message, params)?;
        let serial = self.write(parts).await?;
        self.open.push_back(Open { serial, deadline: self.deadline(), response: None });
        Ok(())
    }

    /// The answer to the oldest call that is open; without one, none ever comes.
    ///
    /// # Errors
    /// `Net`, when the time is up too; `Corrupt`.
    pub async fn answer(&mut self) -> Result<Response> {
        loop {
            let Some(oldest) = self.open.front_mut() else { return std::future::pending().await };
            if let Some(response) = oldest.response.take() {
                self.open.pop_front();
                return Ok(response);
            }
            let deadline = oldest.deadline;
            let frame = loop {
                if let Some(frame) = self.frames.next_frame()? {
                    break frame;
                }
                let read = until(deadline, self.read()).await;
                read.unwrap_or_else(|_| Err(Error::net("answer from", &self.address, io::ErrorKind::TimedOut.into())))?;
            };
            let outcome = self.rpc.response(frame.payload)?;
            let Some(index) = self.open.iter().position(|open| open.serial == frame.serial) else {
                return Err(Error::corrupt(
                    &self.address,
                    format!("an answer to call {}, which is not open", frame.serial),
                ));
            };
            match outcome {
                Outcome::Answered(response) => {
                    if self.peer.is_none() {
                        self.peer = Peer::from_meta(&response.meta);
                    }
                    self.open[index].response = Some(response);
                }
                Outcome::Resend(parts) => {
                    let serial = self.write(parts).await?;
                    let deadline = self.deadline();
                    let open = &mut self.open[index];
                    (open.serial, open.deadline) = (serial, deadline);
                }
            }
        }
    }

    /// Sends a call and waits for its answer.
    ///
    /// # Errors
    /// As [`Self::send`] and [`Self::answer`].
    pub async fn call(&mut self, meta: Metadata, message: &str, params: Bytes) -> Result<Response> {
        self.send(meta, message, params).await?;
        self.answer().await
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        // The server may be gone, and sees the end of the connection anyway.
        let _ = timeout(CLOSE_TIMEOUT, self.writing.shutdown()).await;
    }

    /// Of an answer to what is written by now. The time that writing takes, or that this process is stopped meanwhile, is not the
    /// server's.
    fn deadline(&self) -> Instant {
        Instant::now() + self.request_timeout
    }

    async fn write(&mut self, parts: Vec<Bytes>) -> Result<u32> {
        self.serial = self.serial.wrapping_add(1);
        let mut buffers = Buffers::default();
        buffers.extend(encode_frame(self.serial, parts));
        let written = async {
            self.writing.write_all_buf(&mut buffers).await?;
            self.writing.flush().await
        };
        let written = within(self.request_timeout, written).await;
        let written = written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        written.map_err(|error| Error::net("write", &self.address, error))?;
        Ok(self.serial)
    }

    async fn read(&mut self) -> Result<()> {
        self.chunk.reserve(CHUNK_BYTES);
        let len = self.reading.read_buf(&mut self.chunk).await;
        let len = len.and_then(|len| if len == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(len) });
        if let Err(error) = len {
            // Before hands are shaken it may well be that the two do not speak of the same thing.
            let error = if self.rpc.is_established() { error } else { hinted(&error, self.hint) };
            return Err(Error::net("read", &self.address, error));
        }
        self.frames.push(self.chunk.split().freeze());
        Ok(())
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("address", &self.address).field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Calls on their way to a peer of ours, which executes as many before it reads no further.
const MOST_OPEN: usize = 1024;
/// Answers are a few bytes.
const CHUNK_BYTES: usize = 4 << 10;
/// What may be wrong where no answer comes to a client with compression, and to one without.
const ONE_SIDED_DEFLATE: &str = "has the source compression-type = deflate too?";
const BARE: &str = "is it an avro source, and without ssl and compression-type if this end has none?";
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
