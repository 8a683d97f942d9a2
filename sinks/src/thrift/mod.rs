//! Sends events by Thrift: to the thrift source of an agent, Flume's or ours.
//!
//! One connection, one call under way: the protocol has no room for the names of events, so what is sent again is stored
//! again.
//!
//! # Delivery
//! A take is committed once the peer answered OK. When the answer is lost or refused the events are sent again; a peer that
//! had stored them has them twice. Between our own agents the avro sink is the better one.
//!
//! # Source
//! `org.apache.flume.sink.ThriftSink`, `org.apache.flume.api.ThriftRpcClient` (Flume 1.11). Different on purpose: the
//! connection is kept when a batch is refused.

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::options::joined;
use millstream_core::{
    Batch, BuiltSink, Error, Fut, Kind, MetricName, OptionSpec, Options, Result, Sink, SinkContext, SinkSpec, optional,
    required, unset,
};
use millstream_io::tls;
use millstream_wire::thrift::{Answer, Encoding, Status, decode_answer, encode_append_batch};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// The declaration.
pub static SPEC: SinkSpec = SinkSpec {
    name: "thrift",
    aliases: &["org.apache.flume.sink.ThriftSink"],
    summary: "Sends events to a thrift source.",
    options: &OPTIONS,
    build: |options| {
        let batch_size = options.int("batch-size")?;
        Ok(BuiltSink::Push { sink: Box::new(ThriftSink::from_options(options)?), batch_size })
    },
};

const OWN: [OptionSpec; 12] = [
    required("hostname", Kind::Host, "Host name or address of the peer."),
    required("port", Kind::Port, "Port of the peer."),
    optional("batch-size", Kind::Int(1, u32::MAX as i64), "100", "Most events of one call."),
    optional("connect-timeout", Kind::Millis, "20000", "For the connection and its TLS."),
    optional("request-timeout", Kind::Millis, "20000", "For an answer."),
    optional(
        "reset-connection-interval",
        Kind::Seconds,
        "0",
        "After so long the connection is made anew, for peers behind a load balancer; 0 for never.",
    ),
    unset("connection-reset-interval", Kind::Seconds, "The same, as Flume's guide spells it."),
    optional("protocol", Kind::Choice(&["compact", "binary"]), "compact", "The encoding that the peer must use too."),
    optional("kerberos", Kind::Bool, "false", "Only false is built in."),
    unset("client-principal", Kind::Text, "No effect without Kerberos."),
    unset("client-keytab", Kind::Path, "No effect without Kerberos."),
    unset("server-principal", Kind::Text, "No effect without Kerberos."),
];
const OPTIONS: [OptionSpec; OWN.len() + tls::CLIENT_OPTIONS.len()] = joined(&[&OWN, &tls::CLIENT_OPTIONS]);

/// An answer is a few dozen bytes; an exception may have a text.
const MOST_ANSWER_BYTES: usize = 1 << 20;

/// Sends.
struct ThriftSink {
    sending: Arc<Mutex<Sending>>,
}

struct Sending {
    host: String,
    port: u16,
    address: String,
    encoding: Encoding,
    tls: Option<TlsConnector>,
    connect_timeout: Duration,
    request_timeout: Duration,
    reset_after: Option<Duration>,
    connection: Option<Connection>,
    cx: Option<SinkContext>,
}

struct Connection {
    stream: Box<dyn Stream>,
    since: Instant,
    /// Of the last call.
    sequence: i32,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

// === impl ThriftSink ===

impl ThriftSink {
    fn from_options(options: &Options) -> Result<Self> {
        if options.bool("kerberos")? {
            return Err(options.refuse("kerberos", "true is not built in; use ssl = true between trusted machines"));
        }
        let (host, port) = (options.text("hostname")?.to_owned(), options.int("port")?);
        let is_binary = options.text("protocol")?.eq_ignore_ascii_case("binary");
        let guide_spells = options.find("connection-reset-interval").is_some();
        let reset = if guide_spells { "connection-reset-interval" } else { "reset-connection-interval" };
        let reset = options.seconds(reset)?;
        let sending = Sending {
            address: format!("{host}:{port}"),
            host,
            port,
            encoding: if is_binary { Encoding::Binary } else { Encoding::Compact },
            tls: tls::connector(options)?,
            connect_timeout: options.millis("connect-timeout")?,
            request_timeout: options.millis("request-timeout")?,
            reset_after: (!reset.is_zero()).then_some(reset),
            connection: None,
            cx: None,
        };
        Ok(Self { sending: Arc::new(Mutex::new(sending)) })
    }
}

impl Sink for ThriftSink {
    fn deliver(&mut self, batches: Arc<[Batch]>) -> Fut<'static, Result<()>> {
        let sending = Arc::clone(&self.sending);
        Box::pin(async move { sending.lock().await.deliver(&batches).await })
    }

    fn start(&mut self, cx: SinkContext) {
        // Nothing is being delivered yet.
        if let Ok(mut sending) = self.sending.try_lock() {
            sending.cx = Some(cx);
        }
    }

    fn close(&mut self) -> Fut<'static, Result<()>> {
        let sending = Arc::clone(&self.sending);
        Box::pin(async move {
            sending.lock().await.disconnect();
            Ok(())
        })
    }
}

// === impl Sending ===

impl Sending {
    async fn deliver(&mut self, batches: &[Batch]) -> Result<()> {
        if batches.iter().all(Batch::is_empty) {
            return Ok(());
        }
        if self.is_due() {
            self.disconnect();
        }
        let answer = match self.call(batches).await {
            Ok(answer) => answer,
            Err(error) => {
                // Where it stands in the stream of messages nobody knows any more.
                self.disconnect();
                return Err(error);
            }
        };
        let refused = match answer.outcome {
            Ok(Status::Ok) => return Ok(()),
            Ok(Status::Failed) => "the peer answered FAILED: its channel is full or broken".to_owned(),
            Ok(other) => format!("the peer answered {other:?}"),
            Err(text) => format!("the peer answered: {text}"),
        };
        Err(Error::net("deliver to", &self.address, io::Error::other(refused)))
    }

    async fn call(&mut self, batches: &[Batch]) -> Result<Answer> {
        self.connect().await?;
        let (encoding, limit) = (self.encoding, self.request_timeout);
        let Some(connection) = &mut self.connection else {
            return Err(Error::Stopped { what: "thrift sink".into() });
        };
        connection.sequence = connection.sequence.wrapping_add(1);
        let message = encode_append_batch(encoding, connection.sequence, batches);
        let exchanged = timeout(limit, connection.exchange(&message)).await;
        let frame = exchanged.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let frame = frame.map_err(|error| Error::net("answer from", &self.address, error))?;
        let answer = decode_answer(encoding, &frame)?;
        if answer.sequence != connection.sequence {
            let problem =
                format!("expected the answer to call {}, got that to {}", connection.sequence, answer.sequence);
            return Err(Error::corrupt(&self.address, problem));
        }
        Ok(answer)
    }

    async fn connect(&mut self) -> Result<()> {
        if self.connection.is_some() {
            return Ok(());
        }
        let connecting = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            // Calls must not wait; a socket that cannot be told so still works.
            let _ = stream.set_nodelay(true);
            let stream: Box<dyn Stream> = match &self.tls {
                Some(tls) => Box::new(tls.connect(server_name(&self.host)?, stream).await?),
                None => Box::new(stream),
            };
            Ok(stream)
        };
        let connected = timeout(self.connect_timeout, connecting).await;
        let connected: io::Result<_> = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match connected {
            Ok(stream) => {
                self.count(MetricName::ConnectionCreatedCount);
                tracing::info!(address = self.address, "connected");
                self.connection = Some(Connection { stream, since: Instant::now(), sequence: 0 });
                Ok(())
            }
            Err(error) => {
                self.count(MetricName::ConnectionFailedCount);
                Err(Error::net("connect", &self.address, error))
            }
        }
    }

    fn is_due(&self) -> bool {
        let age = self.connection.as_ref().map(|connection| connection.since.elapsed());
        age.zip(self.reset_after).is_some_and(|(age, reset_after)| age >= reset_after)
    }

    fn disconnect(&mut self) {
        if self.connection.take().is_some() {
            self.count(MetricName::ConnectionClosedCount);
        }
    }

    fn count(&self, name: MetricName) {
        if let Some(cx) = &self.cx {
            cx.status.count(name, 1);
        }
    }
}

impl Connection {
    /// Sends a message and reads the frame that answers it.
    async fn exchange(&mut self, message: &[u8]) -> io::Result<Vec<u8>> {
        self.stream.write_all(message).await?;
        self.stream.flush().await?;
        let len = self.stream.read_u32().await? as usize;
        if len > MOST_ANSWER_BYTES {
            let problem =
                format!("an answer of {len} bytes, expected at most {MOST_ANSWER_BYTES}; is it a thrift source?");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        let mut frame = vec![0; len];
        self.stream.read_exact(&mut frame).await?;
        Ok(frame)
    }
}

/// The name is sent where it is one; it is not checked.
fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    let name = ServerName::try_from(host.to_owned()).or_else(|_| ServerName::try_from("unnamed"));
    name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}
