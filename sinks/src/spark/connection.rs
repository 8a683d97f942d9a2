//! One peer of the sink: reads its calls, answers each when ready.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use millstream_core::{Error, MetricName, Result, StopToken, Take};
use millstream_io::Share;
use millstream_io::wait::within;
use millstream_wire::WireError;
use millstream_wire::avro_rpc::{Incoming, Metadata, Request, Responder, ServerConnection, UnknownClient};
use millstream_wire::names::{NAMES, Names, Peer, accepts_names};
use millstream_wire::netty::{FrameDecoder, FrameLimits, encode_frame};
use millstream_wire::spark_sink::{self, Call};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Shared;
use super::takes::Owner;

/// State of one connection.
struct Connection {
    id: u64,
    sink: Arc<Shared>,
    rpc: ServerConnection,
    frames: FrameDecoder,
    /// For the call that is not whole.
    share: Share,
    /// Bytes of it, at most.
    unfinished: usize,
    /// Frames to write. Bounded, so that a peer that does not read is not read from either.
    replies: mpsc::Sender<Vec<Bytes>>,
    /// Calls for batches, each until its batch is on the way; foreign ones until it is answered for.
    polls: JoinSet<()>,
}

/// One call for a batch.
struct Poll {
    serial: u32,
    responder: Responder,
    n: i32,
    /// One of ours: its batches have no time-out.
    own: bool,
    accepts_names: bool,
}

/// Serves a peer until it leaves or the sink stops.
pub(super) async fn serve(stream: TcpStream, peer: SocketAddr, sink: Arc<Shared>, id: u64) {
    sink.count(MetricName::ConnectionCreatedCount, 1);
    tracing::debug!(%peer, "connected");
    let ended = run(stream, &sink, id).await;
    sink.count(MetricName::ConnectionClosedCount, 1);
    match ended {
        Ok(()) => tracing::debug!(%peer, "disconnected"),
        Err(error) => {
            tracing::warn!(%error, %peer, "connection ended");
            sink.count(MetricName::ConnectionFailedCount, 1);
            sink.cx.status.failed(&error);
        }
    }
}

async fn run(stream: TcpStream, sink: &Arc<Shared>, id: u64) -> Result<()> {
    // Answers must not wait for each other; a socket that cannot be told so still works.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let (replies, queue) = mpsc::channel(QUEUED_REPLIES);
    let owner = Owner { takes: &sink.takes, connection: id };
    let mut connection = Connection {
        id,
        sink: Arc::clone(sink),
        rpc: ServerConnection::new(spark_sink::protocol(), UnknownClient::Accept),
        frames: FrameDecoder::new(REQUEST_LIMITS),
        share: sink.memory.share(Some(PATIENCE)),
        unfinished: 0,
        replies,
        polls: JoinSet::new(),
    };
    let mut writing = pin!(write_replies(writer, queue));
    let (ended, may_write) = tokio::select! {
        ended = connection.read_calls(reader) => (ended, true),
        ended = &mut writing => (ended, false),
        () = time_is_up(sink.cx.stop.clone()) => (Ok(()), true),
    };
    // First whoever could still open a take, then the takes.
    connection.polls.shutdown().await;
    drop(connection);
    drop(owner);
    if may_write {
        // What was answered last, such as the refusals of a sink that stops. The peer may be gone.
        let _ = timeout(FLUSH_TIMEOUT, writing).await;
    }
    ended
}

// === impl Connection ===

impl Connection {
    async fn read_calls(&mut self, mut reader: OwnedReadHalf) -> Result<()> {
        let mut stop = self.sink.cx.stop.clone();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut stopping = false;
        loop {
            // A sink that stops waits for the answers to what it handed out, and for nothing else.
            if stopping && self.polls.is_empty() && !self.sink.takes.holds(self.id) {
                return Ok(());
            }
            self.hold().await?;
            tokio::select! {
                read = self.share.within(reader.read(&mut chunk)) => {
                    let len = match read {
                        Ok(0) if self.frames.is_between_frames() => return Ok(()),
                        Ok(0) => return Err(Error::net("read", "from peer", std::io::ErrorKind::UnexpectedEof.into())),
                        Ok(len) => len,
                        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
                        Err(error) => return Err(Error::net("read", "from peer", error)),
                    };
                    self.frames.push(Bytes::copy_from_slice(&chunk[..len]));
                    self.unfinished += len;
                    self.share.came(len);
                    while let Some(frame) = self.frames.next_frame()? {
                        self.share.finish();
                        self.unfinished = 0;
                        self.execute(frame.serial, frame.payload).await?;
                    }
                }
                Some(_) = self.polls.join_next() => {}
                () = stop.stopped(), if !stopping => stopping = true,
            }
        }
    }

    /// Makes room for what the unfinished call is.
    async fn hold(&mut self) -> Result<()> {
        if self.frames.is_between_frames() {
            self.share.rest();
            return Ok(());
        }
        let held = self.share.hold(self.unfinished.saturating_sub(SHARE_BYTES)).await;
        held.map_err(|error| Error::net("read", "from peer", error))
    }

    async fn execute(&mut self, serial: u32, payload: Bytes) -> Result<(), WireError> {
        let Request { meta, message, params, responder } = match self.rpc.request(payload)? {
            Incoming::Call(request) => request,
            Incoming::Answer(parts) => {
                self.send(encode_frame(serial, parts)).await;
                return Ok(());
            }
        };
        let own = Peer::from_meta(&meta).is_some();
        let reply = match Call::decode(&message, &params)? {
            Some(Call::GetEventBatch { n }) => {
                let poll = Poll { serial, responder, n, own, accepts_names: accepts_names(&meta) };
                if self.polls.len() < MAX_POLLS {
                    let (sink, id, replies) = (Arc::clone(&self.sink), self.id, self.replies.clone());
                    self.polls.spawn(async move { poll.answer(&sink, id, &replies).await });
                } else {
                    self.send(poll.refuse(TOO_MANY_POLLS)).await;
                }
                return Ok(());
            }
            Some(Call::Ack { sequence_number }) => {
                if !self.sink.takes.commit(&sequence_number) {
                    tracing::debug!(sequence_number, "ack for a batch that is not handed out");
                }
                responder.ok(&reply_meta(own), [])
            }
            Some(Call::Nack { sequence_number }) => {
                if self.sink.takes.roll_back(&sequence_number) {
                    tracing::info!(sequence_number, "batch refused by the peer, it goes back to the channel");
                }
                responder.ok(&reply_meta(own), [])
            }
            None => responder.error(&reply_meta(own), &format!("unknown message {message:?}")),
        };
        self.send(encode_frame(serial, reply)).await;
        Ok(())
    }

    async fn send(&self, frame: Vec<Bytes>) {
        // Without a writer the connection is ending: its select sees that.
        let _ = self.replies.send(frame).await;
    }
}

// === impl Poll ===

impl Poll {
    /// Waits for events and hands them out.
    async fn answer(self, sink: &Shared, connection: u64, replies: &mpsc::Sender<Vec<Bytes>>) {
        let mut stop = sink.cx.stop.clone();
        let taken = tokio::select! {
            biased;
            () = stop.stopped() => Err(STOPPED.to_owned()),
            taken = self.take(sink) => taken,
        };
        let (take, _permit) = match taken {
            Ok(taken) => taken,
            Err(problem) => {
                let _ = replies.send(self.refuse(&problem)).await;
                return;
            }
        };
        let (sequence_number, events, own) = (sink.takes.next_sequence_number(), take.events(), self.own);
        let frame = self.hand_out(&sequence_number, &take);
        sink.count(MetricName::EventDrainAttemptCount, events as u64);
        sink.cx.status.see(take.batches());
        let answered = sink.takes.insert(sequence_number.clone(), take, connection);
        let until_answered = async {
            if replies.send(frame).await.is_ok() && !own {
                // An error, always: the sender is dropped with the take.
                let _ = answered.await;
            }
        };
        if own {
            until_answered.await;
        } else if within(sink.timeout, until_answered).await.is_err() && sink.takes.roll_back(&sequence_number) {
            tracing::warn!(sequence_number, events, "batch was not answered for in time, it goes back to the channel");
        }
    }

    /// The events, and for a foreign peer the right to hold them.
    async fn take(&self, sink: &Shared) -> Result<(Take, Option<OwnedSemaphorePermit>), String> {
        let permit = match self.own {
            true => None,
            // Never closed, so this cannot fail.
            false => Arc::clone(&sink.foreign).acquire_owned().await.ok(),
        };
        match sink.take(sink.clamp(self.n)).await {
            Ok(take) => Ok((take, permit)),
            Err(error) => {
                tracing::warn!(%error, "take failed");
                sink.count(MetricName::ChannelReadFail, 1);
                sink.cx.status.failed(&error);
                Err(error.to_string())
            }
        }
    }

    fn hand_out(self, sequence_number: &str, take: &Take) -> Vec<Bytes> {
        let mut meta = reply_meta(self.own);
        if self.accepts_names
            && let Some(names) = Names::of(take.batches())
        {
            meta.insert(NAMES, Names { low_water: take.low_water().to_vec(), ..names }.encode());
        }
        let datum = spark_sink::encode_event_batch(sequence_number, take.batches());
        encode_frame(self.serial, self.responder.ok(&meta, [datum]))
    }

    /// A batch of nothing but a problem, which the peer neither acks nor nacks.
    fn refuse(self, problem: &str) -> Vec<Bytes> {
        let datum = spark_sink::encode_error_batch(problem);
        encode_frame(self.serial, self.responder.ok(&reply_meta(self.own), [datum]))
    }
}

// === writing ===

/// Buffers of several frames, for one vectored write.
#[derive(Default)]
struct Buffers(VecDeque<Bytes>);

impl Buf for Buffers {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |buffer| buffer)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.0);
        filled.map(|(slice, buffer)| *slice = IoSlice::new(buffer)).count()
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(first) = self.0.front_mut() {
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.0.pop_front();
        }
    }
}

async fn write_replies(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<Bytes>>) -> Result<()> {
    let mut buffers = Buffers::default();
    while let Some(frame) = queue.recv().await {
        let mut next = Some(frame);
        while let Some(frame) = next {
            buffers.0.extend(frame.into_iter().filter(|buffer| !buffer.is_empty()));
            next = queue.try_recv().ok();
        }
        writer.write_all_buf(&mut buffers).await.map_err(|error| Error::net("write", "to peer", error))?;
    }
    Ok(())
}

// === helpers ===

fn reply_meta(own: bool) -> Metadata {
    let mut meta = Metadata::new();
    if own {
        let version = concat!("millstream/", env!("CARGO_PKG_VERSION")).to_owned();
        Peer { version, pipelined: true }.insert_into(&mut meta, false);
    }
    meta
}

/// Resolves when a sink that stops waits no longer.
async fn time_is_up(mut stop: StopToken) {
    stop.stopped().await;
    sleep(STOP_TIMEOUT).await;
}

/// Spark's text.
const STOPPED: &str = "Spark sink has been stopped!";
const TOO_MANY_POLLS: &str = "too many calls are open on this connection";
/// Most calls for batches open on one connection: hundreds of times what a receiver needs.
const MAX_POLLS: usize = 1024;
/// Answers that wait for the socket.
const QUEUED_REPLIES: usize = 16;
/// Calls are a few dozen bytes; the first carries the protocol's text, about 2 KB.
const REQUEST_LIMITS: FrameLimits = FrameLimits { max_frame_bytes: 1 << 20, max_buffers: 1 << 10 };
/// A small call has so long to come; one that holds memory less.
const PATIENCE: Duration = Duration::from_secs(60);
/// Held by each peer without being counted.
const SHARE_BYTES: usize = 16 << 10;
const CHUNK_BYTES: usize = 8 << 10;
/// How long a sink that stops waits for the acks of what it handed out.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the last answers may take to leave.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);
