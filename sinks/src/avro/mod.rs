//! Sends events by Avro RPC: to a Flume agent's avro source, to a stream that listens, to ours.
//!
//! # Delivery
//! A take is committed once the peer answered OK; a peer of ours has many under way at once, a foreign one has one. When the answer is lost the events are sent again: one of ours knows them by
//! their names and stores nothing twice, a foreign peer gets them twice. With `ack = none` events are sent and not waited
//! for; what was refused or was under way when a connection broke is counted as `EventWriteFail` and told.
//!
//! # Source
//! `org.apache.flume.sink.AvroSink`, `org.apache.flume.api.NettyAvroRpcClient` (Flume 1.11). Different on purpose: the connection is
//! kept when a batch is refused; with TLS and compression together the order is that of Flume 1.9, compression inside.

mod sending;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use millstream_core::options::joined;
use millstream_core::{
    Batch, BuiltSink, Error, Fut, Kind, OptionSpec, Options, Result, Sink, SinkContext, SinkSpec, optional, required,
};
use millstream_io::tls;
use millstream_rpc::{ClientSettings, Wrapping, introduce};
use millstream_wire::avro_event;
use millstream_wire::avro_rpc::Metadata;
use millstream_wire::names::Names;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::Instrument;

use sending::Sending;

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

/// Sends.
#[derive(Debug)]
struct AvroSink {
    address: String,
    sending: Option<Sending>,
    calls: mpsc::UnboundedSender<Outgoing>,
    most_open: Arc<AtomicUsize>,
    task: JoinSet<Result<()>>,
}

/// A call to be made.
struct Outgoing {
    meta: Metadata,
    params: Bytes,
    events: u64,
    done: oneshot::Sender<Result<()>>,
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
        let address = format!("{host}:{port}");
        let settings = ClientSettings {
            host,
            port,
            connect_timeout: time_out("connect-timeout")?,
            request_timeout: time_out("request-timeout")?,
            wrapping: Wrapping { tls: tls::connector(options)?, deflate },
            protocol: avro_event::protocol(),
        };
        let reset = options.seconds("reset-connection-interval")?;
        let (calls, queue) = mpsc::unbounded_channel();
        let most_open = Arc::new(AtomicUsize::new(1));
        let sending = Sending {
            settings,
            address: address.clone(),
            reset_after: (!reset.is_zero()).then_some(reset),
            waits: options.text("ack")?.eq_ignore_ascii_case("stored"),
            queue,
            most_open: Arc::clone(&most_open),
            connection: None,
            cx: None,
        };
        Ok(Self { address, sending: Some(sending), calls, most_open, task: JoinSet::new() })
    }
}

impl Sink for AvroSink {
    fn deliver(&mut self, batches: Arc<[Batch]>) -> Fut<'static, Result<()>> {
        let events: u64 = batches.iter().map(|batch| batch.len() as u64).sum();
        if events == 0 {
            return Box::pin(std::future::ready(Ok(())));
        }
        if let Some(sending) = self.sending.take() {
            self.task.spawn(sending.run().in_current_span());
        }
        let (done, outcome) = oneshot::channel();
        let params = avro_event::encode_append_batch(&batches);
        // Without a task that sends, `done` is dropped, which the outcome tells.
        let _ = self.calls.send(Outgoing { meta: meta(&batches), params, events, done });
        let what = Arc::from(format!("avro sink to {}", self.address));
        Box::pin(async move { outcome.await.unwrap_or(Err(Error::Stopped { what })) })
    }

    fn most_open(&self) -> usize {
        self.most_open.load(Ordering::Relaxed)
    }

    fn start(&mut self, cx: SinkContext) {
        if let Some(sending) = &mut self.sending {
            sending.cx = Some(cx);
        }
    }

    fn close(&mut self) -> Fut<'static, Result<()>> {
        // Without senders the task ends once everything is answered.
        self.calls = mpsc::unbounded_channel().0;
        let mut task = std::mem::take(&mut self.task);
        Box::pin(async move {
            while let Some(ended) = task.join_next().await {
                ended.unwrap_or(Ok(()))?;
            }
            Ok(())
        })
    }
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
