//! Listens for Flume agents whose avro sinks send to this job: `FlumeUtils.createStream`.
//!
//! # Delivery
//! With [`Ack::Commit`] OK is answered once the job committed the events: the agent's channel is the store. With
//! [`Ack::Stored`] once they are at the [`StorageLevel`]; those on disk outlive the job, and are computed after a restart
//! before anything new. An agent of ours that sends again what was stored is known by the names of its events; from a
//! foreign one they come twice.
//!
//! While the job's memory is spent nothing is executed and no answer is given: a job that is slower than its agent slows
//! the agent.
//!
//! # Source
//! `org.apache.spark.streaming.flume.{FlumeReceiver, FlumeInputDStream}` (Spark 2.4.7). Different on purpose: OK means
//! stored or committed, where Spark's means received.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::{Batch, Fut, MetricName, Result, Room};
use millstream_io::listen::listen;
use millstream_rpc::{Call, Pending, Reply, Server, ServerLimits, Service, Wrapping};
use millstream_wire::EventLimits;
use millstream_wire::avro_event::{self, Status};
use millstream_wire::avro_rpc::Protocol;
use millstream_wire::names::Peer;
use millstream_wire::netty::FrameLimits;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::log::{ReceiverLog, Stored};
use super::{Ack, Receiver, ReceiverContext, StorageLevel, Verdict};

/// Listens on one address; any number of agents may send to it.
#[derive(Debug, Clone)]
pub struct PushReceiver {
    /// Address to listen on.
    pub host: String,
    /// Port; 0 for any free one, which the log names.
    pub port: u16,
    /// Whether the agents compress (`compression-type = deflate`).
    pub decompress: bool,
    /// When an agent hears OK.
    pub ack: Ack,
    /// Where events are kept that are answered for before they are committed.
    pub storage_level: StorageLevel,
}

/// Hands the events of every call to the job.
struct Receiving {
    cx: ReceiverContext,
    ack: Ack,
    log: Option<Arc<ReceiverLog>>,
    /// What is stored and waits for its batch.
    uncommitted: mpsc::UnboundedSender<(Stored, Verdict)>,
}

// === impl PushReceiver ===

impl PushReceiver {
    /// Listens on this address, with [`Ack::Auto`] and Spark's storage level, uncompressed.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        let (ack, storage_level) = (Ack::default(), StorageLevel::default());
        Self { host: host.into(), port, decompress: false, ack, storage_level }
    }

    async fn serve_on(&self, listener: TcpListener, cx: ReceiverContext) -> Result<()> {
        let log = self.open_log(&cx)?;
        let (uncommitted, committing) = mpsc::unbounded_channel();
        let receiving = Receiving { cx: cx.clone(), ack: self.ack, log: log.clone(), uncommitted };
        receiving.receive_again().await?;
        // The answers' compression, as in Spark.
        let wrapping = Wrapping { tls: None, deflate: self.decompress.then_some(6) };
        let server = Server::new(listener, wrapping, LIMITS);
        tracing::info!(address = %server.address()?, "listens for avro sinks");
        cx.status.ready();
        let serving = server.serve(Arc::new(receiving), cx.stop.clone());
        // Ends when the job has said what became of everything that is stored, or will not say it any more.
        tokio::join!(serving, release(committing, log));
        Ok(())
    }

    fn open_log(&self, cx: &ReceiverContext) -> Result<Option<Arc<ReceiverLog>>> {
        if self.ack == Ack::Commit {
            return Ok(None);
        }
        if !self.storage_level.use_disk() {
            tracing::warn!(
                receiver = %cx.status.name, storage_level = self.storage_level.name(),
                "events that are answered for and not committed are lost with the process; choose a level with disk, or ack = commit"
            );
            return Ok(None);
        }
        Ok(Some(Arc::new(ReceiverLog::open(&cx.disk, &cx.directory, &cx.status.name)?)))
    }
}

impl Receiver for PushReceiver {
    fn unreserved_bytes(&self) -> u64 {
        UNRESERVED_BYTES
    }

    fn run(&mut self, cx: ReceiverContext) -> Fut<'_, Result<()>> {
        Box::pin(async move {
            let listener = listen(&self.host, self.port).await?;
            self.serve_on(listener, cx).await
        })
    }
}

// === impl Receiving ===

impl Receiving {
    /// Hands the job what earlier runs stored.
    async fn receive_again(&self) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let mut left = log.left();
        let mut events = 0;
        while let Some((batch, stored)) = left.next()? {
            events += batch.len();
            let room = self.cx.inbox.reserve(batch.retained_bytes()).await;
            // No marks: until all of it is read nothing may be forgotten.
            let verdict = self.cx.inbox.push(vec![batch], &[], room);
            // Received until the server has ended.
            let _ = self.uncommitted.send((stored, verdict));
        }
        if events > 0 {
            tracing::info!(receiver = %self.cx.status.name, events, "stored by an earlier run, received again");
        }
        Ok(())
    }

    async fn receive(self: Arc<Self>, call: Call) -> Pending {
        let peer = Peer::from_meta(&call.meta);
        let own = peer.is_some();
        let batch = match avro_event::decode_call(&call.meta, &call.message, &call.params, &EventLimits::default()) {
            Ok(Some(batch)) => batch,
            Ok(None) => return Pending::ready(Reply::to_peer(own, Err(format!("unknown message {:?}", call.message)))),
            Err(error) => {
                self.count(MetricName::EventReadFail, 1);
                tracing::warn!(%error, peer = %call.peer, "a call cannot be read");
                return Pending::ready(Reply::to_peer(own, Err(error.to_string())));
            }
        };
        let room = self.cx.inbox.reserve(batch.retained_bytes()).await;
        self.count(MetricName::EventReceivedCount, batch.len() as u64);
        let commit = match self.ack {
            Ack::Auto => own,
            Ack::Commit => true,
            Ack::Stored => false,
        };
        match (commit, &self.log) {
            (true, _) => {
                let marks = batch.low_water().to_vec();
                let verdict = self.cx.inbox.push(vec![batch], &marks, room);
                Pending::new(async move { answer(own, verdict.await.is_ok()) })
            }
            (false, Some(log)) => {
                let (batch, ticket) = log.append(batch);
                Pending::new(async move {
                    match ticket.await {
                        Ok(stored) => self.has_stored(batch, stored, room),
                        Err(error) => {
                            tracing::warn!(%error, peer = %call.peer, "events refused, the agent will send them again");
                            self.cx.status.failed(&error);
                            return answer(own, false);
                        }
                    }
                    answer(own, true)
                })
            }
            (false, None) => {
                drop(self.cx.inbox.push(vec![batch], &[], room));
                Pending::ready(answer(own, true))
            }
        }
    }

    /// On the disk, the events go to the job. Marks of the sender are not handed on: a record may yet come again from here.
    fn has_stored(&self, batch: Batch, stored: Stored, room: Room) {
        let marks = self.log.as_ref().map_or(Vec::new(), |log| log.marks());
        let verdict = self.cx.inbox.push(vec![batch], &marks, room);
        let _ = self.uncommitted.send((stored, verdict));
    }

    fn count(&self, name: MetricName, by: u64) {
        self.cx.status.count(name, by);
    }
}

impl Service for Receiving {
    fn protocol(&self) -> Arc<Protocol> {
        avro_event::protocol()
    }

    fn execute(self: Arc<Self>, call: Call) -> Fut<'static, Pending> {
        Box::pin(self.receive(call))
    }

    fn opened(&self, _peer: SocketAddr) {
        self.count(MetricName::ConnectionCreatedCount, 1);
        self.count(MetricName::OpenConnectionCount, 1);
    }

    fn closed(&self, _peer: SocketAddr, outcome: &Result<()>) {
        self.count(MetricName::ConnectionClosedCount, 1);
        self.cx.status.counters().lower(MetricName::OpenConnectionCount, 1);
        if let Err(error) = outcome {
            self.count(MetricName::GenericProcessingFail, 1);
            self.cx.status.failed(error);
        }
    }
}

/// Lets go of records once their batches are committed.
async fn release(mut committing: mpsc::UnboundedReceiver<(Stored, Verdict)>, log: Option<Arc<ReceiverLog>>) {
    while let Some((stored, verdict)) = committing.recv().await {
        // A bad verdict comes from a job that ends: the next run receives it again.
        if verdict.await.is_ok()
            && let Some(log) = &log
        {
            log.release(stored);
        }
    }
}

fn answer(own: bool, well: bool) -> Reply {
    let status = if well { Status::Ok } else { Status::Failed };
    Reply::to_peer(own, Ok(status.encode()))
}

/// A frame is in memory before room is reserved for it: so much of the job's memory is set aside.
const UNRESERVED_BYTES: u64 = 4 << 20;
/// Frames of agents are a few hundred KB. A job that stops answers what it commits last, however long its interval is.
const LIMITS: ServerLimits = ServerLimits {
    frame: FrameLimits { max_frame_bytes: 32 << 20, max_buffers: 1 << 16 },
    memory_bytes: 32 << 20,
    stall: Duration::from_secs(60),
    stop: Duration::from_secs(3600),
};
