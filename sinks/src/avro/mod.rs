//! Sends events by Avro RPC: to a Flume agent's avro source, to a stream that listens, to ours.
//!
//! # Delivery
//! A take is committed once the peer answered OK. When the answer is lost the events are sent again: one of ours knows them by
//! their names and stores nothing twice, a foreign peer gets them twice. With `ack = none` events are sent and not waited
//! for; what was refused or was under way when a connection broke is counted as `EventWriteFail` and told.
//!
//! # Source
//! `org.apache.flume.sink.AvroSink`, `org.apache.flume.api.NettyAvroRpcClient` (Flume 1.11). Different on purpose: the connection is
//! kept when a batch is refused; with TLS and compression together the order is that of Flume 1.9, compression inside.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::options::joined;
use millstream_core::{
    Batch, BuiltSink, Error, Fut, Kind, MetricName, OptionSpec, Options, Result, Sink, SinkContext, SinkSpec, optional,
    required,
};
use millstream_io::tls;
use millstream_rpc::{Client, ClientSettings, Wrapping, introduce};
use millstream_wire::avro_event::{self, APPEND_BATCH, Status};
use millstream_wire::avro_rpc::{Metadata, Response};
use millstream_wire::names::Names;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// The declaration.
pub static SPEC: SinkSpec = SinkSpec {
    name: "avro",
    aliases: &["org.apache.flume.sink.AvroSink"],
    summary: "Sends events to an avro source, or to a stream that listens.",
    options: &OPTIONS,
    build: |options| {
        let batch_size = options.int("batch-size")?;
        Ok(BuiltSink::Push { sink: Box::new(AvroSink::from_options(options)?), batch_size })
    },
};

const OWN: [OptionSpec; 10] = [
    required("hostname", Kind::Host, "Host name or address of the peer."),
    required("port", Kind::Port, "Port of the peer."),
    optional("batch-size", Kind::Int(1, u32::MAX as i64), "100", "Most events of one call."),
    optional("connect-timeout", Kind::Millis, "20000", "For the connection and its TLS; below 1000 it is the default."),
    optional("request-timeout", Kind::Millis, "20000", "For an answer; below 1000 it is the default."),
    optional(
        "reset-connection-interval",
        Kind::Seconds,
        "0",
        "After so long the connection is made anew, for peers behind a load balancer; 0 for never.",
    ),
    optional("compression-type", Kind::Choice(&["none", "deflate"]), "none", "What the peer must use too."),
    optional("compression-level", Kind::Int(0, 9), "6", "0 to 9, from none to most."),
    optional(
        "ack",
        Kind::Choice(&["stored", "none"]),
        "stored",
        "stored: a take is done when the peer answered; none: when it is sent, and what is lost is counted.",
    ),
    optional("maxIoWorkers", Kind::Int(0, i64::MAX), "0", "No effect: a connection costs no thread, as in Flume 1.10."),
];
const OPTIONS: [OptionSpec; OWN.len() + tls::CLIENT_OPTIONS.len()] = joined(&[&OWN, &tls::CLIENT_OPTIONS]);

/// Flume replaces shorter ones.
const LEAST_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);
/// Calls that may be under way with `ack = none`.
const MOST_UNANSWERED: usize = 32;

/// Whether the peer stored the events, or why not.
type Verdict = Result<(), String>;

/// Sends.
#[derive(Debug)]
struct AvroSink {
    sending: Arc<Mutex<Sending>>,
}

#[derive(Debug)]
struct Sending {
    settings: ClientSettings,
    address: String,
    reset_after: Option<Duration>,
    waits: bool,
    connection: Option<Connection>,
    cx: Option<SinkContext>,
}

#[derive(Debug)]
struct Connection {
    client: Client,
    since: Instant,
    /// Events of the calls that are not answered, oldest first.
    unanswered: VecDeque<u64>,
}

// === impl AvroSink ===

impl AvroSink {
    fn from_options(options: &Options) -> Result<Self> {
        let host = options.text("hostname")?.to_owned();
        let port = options.int("port")?;
        let deflate = options.text("compression-type")?.eq_ignore_ascii_case("deflate");
        let deflate = if deflate { Some(options.int("compression-level")?) } else { None };
        let time_out = |key: &str| -> Result<Duration> {
            let given = options.millis(key)?;
            Ok(if given < LEAST_TIMEOUT { DEFAULT_TIMEOUT } else { given })
        };
        let reset = options.seconds("reset-connection-interval")?;
        let sending = Sending {
            address: format!("{host}:{port}"),
            settings: ClientSettings {
                host,
                port,
                connect_timeout: time_out("connect-timeout")?,
                request_timeout: time_out("request-timeout")?,
                wrapping: Wrapping { tls: tls::connector(options)?, deflate },
                protocol: avro_event::protocol(),
            },
            reset_after: (!reset.is_zero()).then_some(reset),
            waits: options.text("ack")?.eq_ignore_ascii_case("stored"),
            connection: None,
            cx: None,
        };
        Ok(Self { sending: Arc::new(Mutex::new(sending)) })
    }
}

impl Sink for AvroSink {
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
            let mut sending = sending.lock().await;
            let settled = sending.settle(0).await;
            match settled {
                Ok(()) => sending.disconnect().await,
                Err(_) => sending.lose_connection(),
            }
            settled
        })
    }
}

// === impl Sending ===

impl Sending {
    async fn deliver(&mut self, batches: &[Batch]) -> Result<()> {
        let events: u64 = batches.iter().map(|batch| batch.len() as u64).sum();
        if events == 0 {
            return Ok(());
        }
        match self.send(batches, events).await {
            Ok(Ok(())) => Ok(()),
            // The connection is as good as before.
            Ok(Err(refusal)) => Err(self.refused(refusal)),
            Err(error) => {
                self.lose_connection();
                Err(error)
            }
        }
    }

    /// Sends a call; gives what the peer says to it, where that is waited for.
    async fn send(&mut self, batches: &[Batch], events: u64) -> Result<Verdict> {
        if self.is_due() {
            self.settle(0).await?;
            self.disconnect().await;
        }
        self.connect().await?;
        self.settle(MOST_UNANSWERED - 1).await?;
        let Some(Connection { client, unanswered, .. }) = &mut self.connection else { return Ok(Ok(())) };
        client.send(meta(batches), APPEND_BATCH, avro_event::encode_append_batch(batches)).await?;
        unanswered.push_back(events);
        if self.waits { self.answer().await } else { Ok(Ok(())) }
    }

    /// What the peer says to the oldest call that it did not answer.
    async fn answer(&mut self) -> Result<Verdict> {
        let Some(Connection { client, unanswered, .. }) = &mut self.connection else { return Ok(Ok(())) };
        let response = client.answer().await?;
        unanswered.pop_front();
        judge(response)
    }

    /// With `ack = none`: hears what is answered already, and waits until at most `most` calls are not; none at all as long as
    /// hands are not shaken.
    async fn settle(&mut self, most: usize) -> Result<()> {
        while let Some(Connection { client, unanswered, .. }) = &self.connection
            && let Some(&events) = unanswered.front()
        {
            let must_wait = unanswered.len() > most || !client.is_established();
            let verdict = match must_wait {
                true => self.answer().await?,
                false => match timeout(Duration::ZERO, self.answer()).await {
                    Ok(verdict) => verdict?,
                    Err(_) => return Ok(()),
                },
            };
            if let Err(refusal) = verdict {
                self.lost(events, &self.refused(refusal));
            }
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<()> {
        if self.connection.is_some() {
            return Ok(());
        }
        let connected = Client::connect(&self.settings).await;
        let counter = match connected {
            Ok(_) => MetricName::ConnectionCreatedCount,
            Err(_) => MetricName::ConnectionFailedCount,
        };
        self.count(counter, 1);
        let client = connected?;
        tracing::info!(address = self.address, "connected");
        self.connection = Some(Connection { client, since: Instant::now(), unanswered: VecDeque::new() });
        Ok(())
    }

    /// Whether the connection is to be made anew.
    fn is_due(&self) -> bool {
        let age = self.connection.as_ref().map(|connection| connection.since.elapsed());
        age.zip(self.reset_after).is_some_and(|(age, reset_after)| age >= reset_after)
    }

    /// What was under way without being waited for is neither known to be stored nor sent again.
    fn lose_connection(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        self.count(MetricName::ConnectionClosedCount, 1);
        let events: u64 = connection.unanswered.iter().sum();
        if events > 0 && !self.waits {
            self.lost(events, &Error::net("answer from", &self.address, std::io::ErrorKind::NotConnected.into()));
        }
    }

    async fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.count(MetricName::ConnectionClosedCount, 1);
            connection.client.close().await;
        }
    }

    fn refused(&self, refusal: String) -> Error {
        Error::net("deliver to", &self.address, std::io::Error::other(refusal))
    }

    fn lost(&self, events: u64, error: &Error) {
        self.count(MetricName::EventWriteFail, events);
        tracing::warn!(%error, events, "events were sent without waiting and may be lost (ack = none)");
    }

    fn count(&self, name: MetricName, by: u64) {
        if let Some(cx) = &self.cx {
            cx.status.count(name, by);
        }
    }
}

/// What the peer's answer means.
fn judge(response: Response) -> Result<Verdict> {
    let datum = match response.result {
        Ok(datum) => datum,
        Err(problem) => return Ok(Err(format!("the peer answered: {problem}"))),
    };
    Ok(match Status::decode(&datum)? {
        Status::Ok => Ok(()),
        Status::Failed => Err("the peer answered FAILED: its channel is full or broken".to_owned()),
        Status::Unknown => Err("the peer answered UNKNOWN".to_owned()),
    })
}

/// Who we are, and what the events are called.
fn meta(batches: &[Batch]) -> Metadata {
    let mut meta = Metadata::new();
    introduce(&mut meta, false);
    if let Some(names) = Names::of(batches) {
        let low_water = batches.iter().flat_map(|batch| batch.low_water()).copied().collect();
        Names { low_water, ..names }.insert_into(&mut meta);
    }
    meta
}
