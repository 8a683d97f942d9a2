//! The client's side of Flume's Thrift service: one connection, one call under way.
//!
//! The protocol has no room for the names of events: what is sent again is stored again. After an error the connection is of
//! no further use, as nobody knows where it stands in the stream of messages; after a refusal it is as good as before.

use std::io;
use std::time::Duration;

use millstream_core::{Batch, Error, EventRef, Result};
use millstream_io::wait::within;
use millstream_wire::thrift::{Answer, Encoding, Status, decode_answer, encode_append, encode_append_batch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::transport::{Reading, Wrapping, Writing, address};

/// Whom to call, and how long to wait.
#[derive(Debug, Clone)]
pub struct ThriftSettings {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// For the connection and its TLS.
    pub connect_timeout: Duration,
    /// For sending a call, and then for its answer.
    pub request_timeout: Duration,
    /// TLS; the service knows no compression.
    pub wrapping: Wrapping<TlsConnector>,
    /// What the server uses too.
    pub encoding: Encoding,
}

/// A connection to a server.
pub struct ThriftClient {
    address: String,
    encoding: Encoding,
    request_timeout: Duration,
    reading: Reading,
    writing: Writing,
    /// Of the last call.
    sequence: i32,
}

/// An answer is a few dozen bytes; an exception may have a text.
const MOST_ANSWER_BYTES: usize = 1 << 20;
/// How long a goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

// === impl ThriftSettings ===

impl ThriftSettings {
    /// `host:port`.
    pub fn address(&self) -> String {
        address(&self.host, self.port)
    }
}

// === impl ThriftClient ===

impl ThriftClient {
    /// Connects.
    ///
    /// # Errors
    /// `Net`.
    pub async fn connect(settings: &ThriftSettings) -> Result<Self> {
        let address = settings.address();
        let connected = settings.wrapping.connect(&settings.host, settings.port, settings.connect_timeout).await;
        let (reading, writing) = connected.map_err(|error| Error::net("connect", &address, error))?;
        let (encoding, request_timeout) = (settings.encoding, settings.request_timeout);
        Ok(Self { address, encoding, request_timeout, reading, writing, sequence: 0 })
    }

    /// Sends one event by `append`.
    ///
    /// # Errors
    /// `Net`, when the time is up too; `Corrupt`.
    ///
    /// # Cancel safety
    /// None: drop the connection too.
    pub async fn append(&mut self, event: EventRef<'_>) -> Result<Answer> {
        self.sequence = self.sequence.wrapping_add(1);
        self.call(encode_append(self.encoding, self.sequence, event)).await
    }

    /// Sends events by `appendBatch`.
    ///
    /// # Errors
    /// As [`Self::append`].
    ///
    /// # Cancel safety
    /// As [`Self::append`].
    pub async fn append_batch(&mut self, batches: &[Batch]) -> Result<Answer> {
        self.sequence = self.sequence.wrapping_add(1);
        self.call(encode_append_batch(self.encoding, self.sequence, batches)).await
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        // The server may be gone, and sees the end of the connection anyway.
        let _ = timeout(CLOSE_TIMEOUT, self.writing.shutdown()).await;
    }

    async fn call(&mut self, message: Vec<u8>) -> Result<Answer> {
        let limit = self.request_timeout;
        // Apart: the time that writing takes, or that this process is stopped meanwhile, is not the server's.
        let written = in_time(limit, self.write(&message)).await;
        written.map_err(|error| Error::net("write", &self.address, error))?;
        let frame = in_time(limit, self.read()).await;
        let frame = frame.map_err(|error| Error::net("answer from", &self.address, error))?;
        let answer = decode_answer(self.encoding, &frame)?;
        if answer.sequence != self.sequence {
            let problem = format!("expected the answer to call {}, got that to {}", self.sequence, answer.sequence);
            return Err(Error::corrupt(&self.address, problem));
        }
        Ok(answer)
    }

    async fn write(&mut self, message: &[u8]) -> io::Result<()> {
        self.writing.write_all(message).await?;
        self.writing.flush().await
    }

    /// Reads the frame that answers a message.
    async fn read(&mut self) -> io::Result<Vec<u8>> {
        let len = self.reading.read_u32().await? as usize;
        if len > MOST_ANSWER_BYTES {
            let problem =
                format!("an answer of {len} bytes, expected at most {MOST_ANSWER_BYTES}; is it a thrift source?");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        let mut frame = vec![0; len];
        self.reading.read_exact(&mut frame).await?;
        Ok(frame)
    }
}

async fn in_time<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    within(limit, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// What an answer other than OK says, for `address`.
///
/// # Errors
/// `Net`: the events are not stored.
pub fn accepted(answer: Answer, address: &str) -> Result<()> {
    let refused = match answer.outcome {
        Ok(Status::Ok) => return Ok(()),
        Ok(Status::Failed) => "the peer answered FAILED: its channel is full or broken".to_owned(),
        Ok(other) => format!("the peer answered {other:?}"),
        Err(text) => format!("the peer answered: {text}"),
    };
    Err(Error::net("deliver to", address, io::Error::other(refused)))
}
