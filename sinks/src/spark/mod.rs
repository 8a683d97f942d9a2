//! The sink that Spark's polling stream, and ours, takes from.
//!
//! Peers connect, ask for batches, and say for each whether it is safe. A question that finds nothing stays open until
//! a put wakes it. Several may be open on one connection; each is answered when ready, under its serial.
//!
//! # Delivery
//! At least once to foreign peers; to our own the names of the events travel along, and they trim what they had. A batch
//! is committed by its ack. It goes back to the head of the channel by a nack, at once when its connection ends, and for
//! a foreign peer when the time-out passes.
//!
//! # Source
//! `org.apache.spark.streaming.flume.sink.SparkSink` (spark-streaming-flume-sink 2.4.7). See [`wire::spark_sink`].
//!
//! [`wire::spark_sink`]: millstream_wire::spark_sink

mod connection;
mod takes;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::{
    BuiltSink, ChannelRef, Error, Fut, Kind, Limit, MetricName, Options, PullSink, Result, SinkContext, SinkSpec, Take,
    optional, required,
};
use millstream_io::{Memory, holder};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use takes::Takes;

/// The declaration.
pub static SPEC: SinkSpec = SinkSpec {
    name: "spark",
    aliases: &["org.apache.spark.streaming.flume.sink.SparkSink"],
    summary: "Hands batches to Spark's polling stream or ours, which acknowledge them.",
    options: &[
        optional("hostname", Kind::Host, "0.0.0.0", "Address to listen on."),
        required("port", Kind::Int(0, 65535), "Port to listen on; 0 for any free one, which the log names."),
        optional("threads", Kind::Int(1, u16::MAX as i64), "10", "Most batches that foreign peers hold at once."),
        optional(
            "timeout",
            Kind::Seconds,
            "60",
            "After this a batch that a foreign peer did not answer for goes back; our own peers keep theirs while connected.",
        ),
        optional(
            "backoffInterval",
            Kind::Millis,
            "200",
            "Needless, since a put wakes whoever waits; kept for channels whose keep-alive is shorter than this.",
        ),
    ],
    build: |options| Ok(BuiltSink::Pull(Box::new(SparkSink::from_options(options)?))),
};

/// Most bytes of bodies in one answer: what a receiver of ours makes room for before it asks.
pub const REPLY_BYTES: u64 = 2 << 20;

/// Listens and hands out batches.
#[derive(Debug, Clone)]
pub struct SparkSink {
    hostname: String,
    port: u16,
    foreign_batches: usize,
    timeout: Duration,
    backoff: Duration,
}

/// What the connections of one sink share.
struct Shared {
    channel: ChannelRef,
    takes: Takes,
    /// Batches that foreign peers may still get.
    foreign: Arc<Semaphore>,
    /// Of unfinished calls.
    memory: Memory,
    timeout: Duration,
    backoff: Duration,
    cx: SinkContext,
}

// === impl SparkSink ===

impl SparkSink {
    /// The sink that the options describe.
    ///
    /// # Errors
    /// `Config` for a value out of range.
    pub fn from_options(options: &Options) -> Result<Self> {
        Ok(Self {
            hostname: options.text("hostname")?.to_owned(),
            port: options.int("port")?,
            foreign_batches: options.int("threads")?,
            timeout: options.seconds("timeout")?,
            backoff: options.millis("backoffInterval")?,
        })
    }

    /// Names who has the port.
    fn not_bound(&self, error: io::Error) -> Error {
        let address = format!("{}:{}", self.hostname, self.port);
        if error.kind() != io::ErrorKind::AddrInUse {
            return Error::net("bind", address, error);
        }
        let holder = holder::of_port(self.port).map_or(String::new(), |holder| format!(" by {holder}"));
        let text = format!("Address already in use{holder}; stop it, or choose another port");
        Error::net("bind", address, io::Error::new(error.kind(), text))
    }

    /// Serves on a socket that listens already. Otherwise as [`PullSink::serve`].
    ///
    /// # Errors
    /// `Net` when the socket cannot name its address.
    pub async fn serve_on(self, listener: TcpListener, channel: ChannelRef, cx: SinkContext) -> Result<()> {
        let address = listener.local_addr().map_err(|error| Error::net("listen", &self.hostname, error))?;
        tracing::info!(%address, "spark sink listens");
        cx.status.ready();
        let mut stop = cx.stop.clone();
        let (takes, commits) = Takes::new(Arc::clone(&cx.status));
        let mut commits = JoinSet::from_iter([commits]);
        let sink = Arc::new(Shared {
            channel,
            takes,
            foreign: Arc::new(Semaphore::new(self.foreign_batches)),
            memory: Memory::new(MEMORY_BYTES),
            timeout: self.timeout,
            backoff: self.backoff.max(LEAST_BACKOFF),
            cx,
        });
        let mut connections = JoinSet::new();
        let (mut accepted, mut refused) = (0, false);
        loop {
            tokio::select! {
                () = stop.stopped() => break,
                Some(_) = connections.join_next() => {}
                accept = listener.accept() => match accept {
                    Ok((stream, peer)) => {
                        (accepted, refused) = (accepted + 1, false);
                        connections.spawn(connection::serve(stream, peer, Arc::clone(&sink), accepted));
                    }
                    Err(error) => {
                        // Out of descriptors, most likely. Those who are connected go on. Told once: it may last.
                        if !std::mem::replace(&mut refused, true) {
                            tracing::warn!(%error, %address, "accept failed, it is tried again; the limit of open files is `ulimit -n`");
                        }
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
        drop(sink);
        while commits.join_next().await.is_some() {}
        Ok(())
    }
}

impl PullSink for SparkSink {
    fn serve(self: Box<Self>, channel: ChannelRef, cx: SinkContext) -> Fut<'static, Result<()>> {
        Box::pin(async move {
            let listener = TcpListener::bind((self.hostname.as_str(), self.port)).await;
            let bound = listener.map_err(|error| self.not_bound(error))?;
            self.serve_on(bound, channel, cx).await
        })
    }
}

// === impl Shared ===

impl Shared {
    /// The next events, however long it takes until there are some.
    ///
    /// # Cancel safety
    /// That of [`millstream_core::Channel::take`]: what was taken and not returned goes back.
    async fn take(&self, events: usize) -> Result<Take> {
        loop {
            let asked = Instant::now();
            let take = self.channel.take(Limit { events, bytes: REPLY_BYTES }).await?;
            if !take.is_empty() {
                let full = take.events() == events;
                self.count(if full { MetricName::BatchCompleteCount } else { MetricName::BatchUnderflowCount }, 1);
                return Ok(take);
            }
            self.count(MetricName::BatchEmptyCount, 1);
            drop(take.commit());
            // Over already, unless the channel's keep-alive is very short.
            sleep_until(asked + self.backoff).await;
        }
    }

    /// How many events a peer that asks for `n` may get: never more than the channel gives in one transaction.
    fn clamp(&self, n: i32) -> usize {
        let most = usize::try_from(self.channel.transaction_capacity()).unwrap_or(usize::MAX);
        usize::try_from(n).unwrap_or_default().min(most).max(1)
    }

    fn count(&self, name: MetricName, by: u64) {
        self.cx.status.count(name, by);
    }
}

/// Held by the unfinished calls of all peers, beyond a small share for each.
const MEMORY_BYTES: usize = 64 << 20;
/// However short `backoffInterval` is, a channel that never waits does not keep a core busy.
const LEAST_BACKOFF: Duration = Duration::from_millis(10);
/// Until the next try to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
