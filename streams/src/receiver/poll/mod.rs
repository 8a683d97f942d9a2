//! Takes events from Flume agents whose Spark sink holds them: `FlumeUtils.createPollingStream`.
//!
//! Every address has its own connection, which is made again for as long as the job runs, whichever side starts first.
//! `parallelism` questions are open over all connections. Each reserves a little of the job's budget before it is asked, so that
//! questions to agents which have nothing keep no room from the others; what the answers may bring beyond that is set aside
//! once and for all.
//!
//! # Delivery
//! A batch is acknowledged once the job committed it, and refused when the job says so. A connection that ends gives
//! what it holds back to the agent's channel at once; delivered again by our own sink, events that the job has are
//! trimmed by their names. From a foreign sink they come twice.
//!
//! # Source
//! `org.apache.spark.streaming.flume.{FlumePollingReceiver, FlumeBatchFetcher}` (Spark 2.4.7).

mod connection;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use millstream_core::{Error, Fut, MetricName, Result};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::{Receiver, ReceiverContext};
use connection::Connection;

/// Asks Spark sinks for batches.
#[derive(Debug, Clone)]
pub struct PollReceiver {
    /// Host and port of each agent's sink.
    pub addresses: Vec<(String, u16)>,
    /// Questions open over all connections; each connection has one at least, a foreign one has one at most.
    pub parallelism: usize,
    /// Most events of one batch.
    pub max_batch_size: u32,
}

/// One agent.
struct Agent {
    host: String,
    port: u16,
    polls: usize,
    max_batch_size: u32,
    cx: ReceiverContext,
}

// === impl PollReceiver ===

impl PollReceiver {
    /// Asks these, with Spark's defaults: parallelism 5, at most 1000 events a batch.
    pub fn new(addresses: Vec<(String, u16)>) -> Self {
        Self { addresses, parallelism: 5, max_batch_size: 1000 }
    }

    /// The part of connection `index` in the parallelism.
    fn polls(&self, index: usize) -> usize {
        let connections = self.addresses.len().max(1);
        let rest = usize::from(index < self.parallelism % connections);
        (self.parallelism / connections + rest).max(1)
    }
}

impl Receiver for PollReceiver {
    fn unreserved_bytes(&self) -> u64 {
        let polls: usize = (0..self.addresses.len()).map(|index| self.polls(index)).sum();
        polls as u64 * (connection::REPLY_BYTES - connection::RESERVED_BYTES)
    }

    fn run(&mut self, cx: ReceiverContext) -> Fut<'_, Result<()>> {
        let mut agents = JoinSet::new();
        for (index, (host, port)) in self.addresses.iter().enumerate() {
            let (polls, max_batch_size) = (self.polls(index), self.max_batch_size);
            agents.spawn(Agent { host: host.clone(), port: *port, polls, max_batch_size, cx: cx.clone() }.poll());
        }
        cx.status.ready();
        Box::pin(async move {
            while let Some(ended) = agents.join_next().await {
                ended.map_err(|error| Error::Panicked { place: "poll receiver".into(), message: error.to_string() })?;
            }
            Ok(())
        })
    }
}

// === impl Agent ===

impl Agent {
    /// Polls until the job stops; connects again whenever the connection is lost.
    async fn poll(self) {
        let address: Arc<str> = format!("{}:{}", self.host, self.port).into();
        let mut stop = self.cx.stop.clone();
        let mut pause = LEAST_PAUSE;
        // One line when the agent goes, one when it is back; not one for each attempt, and none for an agent that starts
        // together with the job.
        let mut told = false;
        let mut attempts = 0;
        while !self.cx.stop.is_stopped() {
            let connecting = timeout(CONNECT_TIMEOUT, Connection::open(&self.host, self.port));
            let connected = tokio::select! {
                connected = connecting => connected.unwrap_or_else(|_| {
                    Err(Error::net("connect", &address, std::io::ErrorKind::TimedOut.into()))
                }),
                () = stop.stopped() => return,
            };
            let lost = match connected {
                Ok(connection) => {
                    tracing::info!(%address, pipelined = connection.is_pipelined(), "connected");
                    self.cx.status.count(MetricName::ConnectionCreatedCount, 1);
                    told = false;
                    attempts = 1;
                    let since = Instant::now();
                    let ended = connection.exchange(&self.cx, self.polls, self.max_batch_size).await;
                    // One that ends at once, every time, is no better than none.
                    if since.elapsed() > MOST_PAUSE {
                        pause = LEAST_PAUSE;
                    }
                    ended
                }
                Err(error) => {
                    self.cx.status.count(MetricName::ConnectionFailedCount, 1);
                    Err(error)
                }
            };
            let Err(error) = lost else { return };
            self.cx.status.failed(&error);
            attempts += 1;
            if attempts > 1 && !std::mem::replace(&mut told, true) {
                tracing::warn!(%error, %address, "no connection, will retry");
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(MOST_PAUSE),
                () = stop.stopped() => return,
            }
        }
    }
}

/// For the connection and its first answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two attempts to connect; doubles with each.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
const MOST_PAUSE: Duration = Duration::from_secs(5);
