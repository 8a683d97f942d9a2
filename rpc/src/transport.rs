//! The bytes of a connection: TCP, TLS and zlib, in the order that the peer has.
//!
//! Flume up to 1.9 compresses inside of TLS, Flume 1.10 and 1.11 outside of it. A server sees from the first byte which of
//! the two its client does; a client does what 1.9 does.
//!
//! # Layout
//! Compression is one zlib stream (RFC 1950) each way for the life of the connection, flushed after every write.

use std::io;
use std::time::Duration;

use async_compression::Level;
use async_compression::tokio::bufread::ZlibDecoder;
use async_compression::tokio::write::ZlibEncoder;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, join, split};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What lies around the bytes of a connection; `T` makes its TLS.
#[derive(Clone)]
pub struct Wrapping<T> {
    /// TLS, where it is wanted.
    pub tls: Option<T>,
    /// Compression (`compression-type = deflate`) and its level, 0 to 9.
    pub deflate: Option<u32>,
}

/// The reading half.
pub(crate) type Reading = Box<dyn AsyncRead + Send + Unpin>;
/// The writing half.
pub(crate) type Writing = Box<dyn AsyncWrite + Send + Unpin>;

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Duplex for S {}

// === impl Wrapping ===

impl<T> Default for Wrapping<T> {
    fn default() -> Self {
        Self { tls: None, deflate: None }
    }
}

impl<T> std::fmt::Debug for Wrapping<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wrapping").field("tls", &self.tls.is_some()).field("deflate", &self.deflate).finish()
    }
}

impl Wrapping<TlsAcceptor> {
    /// Unwraps what a client sends, once its first bytes are there.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<(Reading, Writing)> {
        let Some(tls) = &self.tls else {
            return Ok(self.compressed(stream));
        };
        if self.deflate.is_none() {
            return Ok(halves(in_time(tls.accept(stream)).await?));
        }
        let mut first = [0];
        in_time(stream.peek(&mut first)).await?;
        match first {
            [TLS_HANDSHAKE] => Ok(self.compressed(in_time(tls.accept(stream)).await?)),
            _ => {
                let (reading, writing) = self.compressed(stream);
                Ok(halves(in_time(tls.accept(join(reading, writing))).await?))
            }
        }
    }
}

impl Wrapping<TlsConnector> {
    /// Connects to a server within that time, and wraps what goes to it.
    pub(crate) async fn connect(&self, host: &str, port: u16, within: Duration) -> io::Result<(Reading, Writing)> {
        let connecting = async {
            let stream = TcpStream::connect((host, port)).await?;
            // Calls must not wait for each other; a socket that cannot be told so still works.
            let _ = stream.set_nodelay(true);
            self.wrap(stream, host).await
        };
        timeout(within, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn wrap(&self, stream: TcpStream, host: &str) -> io::Result<(Reading, Writing)> {
        let Some(tls) = &self.tls else {
            return Ok(self.compressed(stream));
        };
        // The name is sent where it is one; it is not checked.
        let name = ServerName::try_from(host.to_owned()).or_else(|_| ServerName::try_from("unnamed"));
        let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connected = tls.connect(name, stream).await;
        Ok(self.compressed(connected.map_err(|error| hinted(&error, ONE_SIDED_TLS))?))
    }
}

/// `host:port`; an IPv6 address in brackets.
pub(crate) fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The error, and what may be wrong.
pub(crate) fn hinted(error: &io::Error, hint: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{error}; {hint}"))
}

impl<T> Wrapping<T> {
    fn compressed(&self, stream: impl Duplex) -> (Reading, Writing) {
        let (reading, writing) = halves(stream);
        let Some(level) = self.deflate else { return (reading, writing) };
        let level = Level::Precise(i32::try_from(level).unwrap_or(DEFAULT_LEVEL));
        let reading = ZlibDecoder::new(BufReader::with_capacity(INFLATE_BYTES, reading));
        (Box::new(reading), Box::new(ZlibEncoder::with_quality(writing, level)))
    }
}

fn halves(stream: impl Duplex) -> (Reading, Writing) {
    let (reading, writing) = split(stream);
    (Box::new(reading), Box::new(writing))
}

/// What may be wrong where a handshake fails.
const ONE_SIDED_TLS: &str =
    "has the server ssl = true, and is its certificate in the truststore, unless trust-all-certs = true?";
/// A client that does not go on with its handshake is not waited for.
async fn in_time<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(HANDSHAKE_TIMEOUT, step).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// First byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// As Java's.
const DEFAULT_LEVEL: i32 = 6;
/// Compressed bytes read at once.
const INFLATE_BYTES: usize = 8 << 10;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
