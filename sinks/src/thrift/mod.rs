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

use std::sync::Arc;
use std::time::Duration;

use millstream_core::options::joined;
use millstream_core::{
    Batch, BuiltSink, Error, Fut, Kind, MetricName, OptionSpec, Options, Result, Sink, SinkContext, SinkSpec, optional,
    required, unset,
};
use millstream_io::tls;
use millstream_rpc::thrift::accepted;
use millstream_rpc::{ThriftClient, ThriftSettings, Wrapping};
use millstream_wire::thrift::{Answer, Encoding};
use tokio::sync::Mutex;
use tokio::time::Instant;

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

const OWN: [OptionSpec; 13] = [
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
    optional("maxConnections", Kind::Int(1, i64::MAX), "5", "No effect: one call at a time, over one connection."),
    unset("client-principal", Kind::Text, "No effect without Kerberos."),
    unset("client-keytab", Kind::Path, "No effect without Kerberos."),
    unset("server-principal", Kind::Text, "No effect without Kerberos."),
];
const OPTIONS: [OptionSpec; OWN.len() + tls::CLIENT_OPTIONS.len()] = joined(&[&OWN, &tls::CLIENT_OPTIONS]);

/// Sends.
struct ThriftSink {
    sending: Arc<Mutex<Sending>>,
}

struct Sending {
    settings: ThriftSettings,
    address: String,
    reset_after: Option<Duration>,
    connection: Option<Connection>,
    cx: Option<SinkContext>,
}

struct Connection {
    client: ThriftClient,
    since: Instant,
}

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
        let settings = ThriftSettings {
            host,
            port,
            connect_timeout: options.millis("connect-timeout")?,
            request_timeout: options.millis("request-timeout")?,
            wrapping: Wrapping { tls: tls::connector(options)?, deflate: None },
            encoding: if is_binary { Encoding::Binary } else { Encoding::Compact },
        };
        let reset_after = (!reset.is_zero()).then_some(reset);
        let sending = Sending { address: settings.address(), settings, reset_after, connection: None, cx: None };
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
        match self.call(batches).await {
            Ok(answer) => accepted(answer, &self.address),
            Err(error) => {
                self.disconnect();
                Err(error)
            }
        }
    }

    async fn call(&mut self, batches: &[Batch]) -> Result<Answer> {
        if self.connection.is_none() {
            self.connect().await?;
        }
        match &mut self.connection {
            Some(connection) => connection.client.append_batch(batches).await,
            None => Err(Error::Stopped { what: "thrift sink".into() }),
        }
    }

    async fn connect(&mut self) -> Result<()> {
        match ThriftClient::connect(&self.settings).await {
            Ok(client) => {
                self.count(MetricName::ConnectionCreatedCount);
                tracing::info!(address = self.address, "connected");
                self.connection = Some(Connection { client, since: Instant::now() });
                Ok(())
            }
            Err(error) => {
                self.count(MetricName::ConnectionFailedCount);
                Err(error)
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
