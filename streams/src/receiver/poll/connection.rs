//! One connection to a Spark sink: asks, receives, acknowledges.
//!
//! Our own sink takes several questions at once and says so in its first answer. A foreign one works off the calls of a
//! connection one after the other, and a question to an empty channel blocks it: an ack behind such a question would
//! come too late, and the batch twice. So a foreign sink is asked only when nothing is left to be acknowledged.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use millstream_core::{Error, MetricName, Result, Room};
use millstream_wire::EventLimits;
use millstream_wire::avro_rpc::{ClientConnection, Metadata, Outcome, Response};
use millstream_wire::names::{Names, Peer};
use millstream_wire::netty::{Frame, FrameDecoder, encode_frame};
use millstream_wire::spark_sink::{self, Call, EventBatch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::{Committed, ReceiverContext, Verdict};

/// A connection on which hands were shaken.
pub(super) struct Connection {
    address: String,
    stream: TcpStream,
    pipelined: bool,
    rpc: ClientConnection,
    frames: FrameDecoder,
    chunk: BytesMut,
    /// The last one used.
    serial: u32,
}

/// A connection at work.
struct Exchange<'a> {
    cx: &'a ReceiverContext,
    address: &'a str,
    pipelined: bool,
    most_polls: usize,
    max_batch_size: u32,
    rpc: ClientConnection,
    serial: u32,
    requests: mpsc::UnboundedSender<Vec<Bytes>>,
    /// Questions that are open, by serial, each with the room for its answer.
    polls: HashMap<u32, Room>,
    /// Acks and nacks that the sink did not answer yet.
    unanswered: u32,
    /// Batches in the job's hands, in the order of arrival.
    verdicts: VecDeque<(String, Verdict)>,
    /// Until when not to ask, after an error batch.
    paused: Option<Instant>,
    /// Whether the last answer was an error batch.
    refused: bool,
    stopping: bool,
}

// === impl Connection ===

impl Connection {
    /// Connects and shakes hands, by a nack of no batch, which every sink answers at once.
    ///
    /// # Errors
    /// `Net`, `Corrupt`.
    pub(super) async fn open(host: &str, port: u16) -> Result<Self> {
        let address = format!("{host}:{port}");
        let connected = TcpStream::connect((host, port)).await;
        let stream = connected.map_err(|error| Error::net("connect", &address, error))?;
        // Acks must not wait for each other; a socket that cannot be told so still works.
        let _ = stream.set_nodelay(true);
        let mut connection = Self {
            address,
            stream,
            pipelined: false,
            rpc: ClientConnection::new(spark_sink::protocol()),
            frames: FrameDecoder::default(),
            chunk: BytesMut::new(),
            serial: 1,
        };
        let call = Call::Nack { sequence_number: String::new() };
        let mut parts = connection.rpc.call(request_meta(), call.message(), call.encode_params())?;
        loop {
            let request = encode_frame(connection.serial, parts).concat();
            let written = connection.stream.write_all(&request).await;
            written.map_err(|error| Error::net("write", &connection.address, error))?;
            match connection.first_answer().await? {
                Outcome::Answered(Response { meta, .. }) => {
                    connection.pipelined = Peer::from_meta(&meta).is_some_and(|peer| peer.pipelined);
                    return Ok(connection);
                }
                Outcome::Resend(again) => parts = again,
            }
            connection.serial += 1;
        }
    }

    async fn first_answer(&mut self) -> Result<Outcome> {
        loop {
            if let Some(frame) = self.frames.next_frame()? {
                return Ok(self.rpc.response(frame.payload)?);
            }
            read_chunk(&mut self.stream, &mut self.chunk, &mut self.frames, &self.address).await?;
        }
    }

    /// Whether the sink takes several questions at once.
    pub(super) fn is_pipelined(&self) -> bool {
        self.pipelined
    }

    /// Polls until the job stops and everything in its hands is answered for.
    ///
    /// # Errors
    /// `Net` or `Corrupt` when the connection ended otherwise: what it held goes back to the channel, and comes again.
    pub(super) async fn exchange(self, cx: &ReceiverContext, most_polls: usize, max_batch_size: u32) -> Result<()> {
        let Self { address, stream, pipelined, rpc, mut frames, mut chunk, serial } = self;
        let (mut reader, writer) = stream.into_split();
        let (requests, queue) = mpsc::unbounded_channel();
        let mut exchange = Exchange {
            cx,
            address: &address,
            pipelined,
            most_polls,
            max_batch_size,
            rpc,
            serial,
            requests,
            polls: HashMap::new(),
            unanswered: 0,
            verdicts: VecDeque::new(),
            paused: None,
            refused: false,
            stopping: false,
        };
        let mut writing = pin!(write_requests(writer, queue, &address));
        let ended = tokio::select! {
            ended = exchange.run(&mut reader, &mut frames, &mut chunk) => ended,
            ended = &mut writing => return ended,
        };
        drop(exchange);
        // Acks on their way, even where something wrong was received.
        let _ = timeout(FLUSH_TIMEOUT, writing).await;
        ended
    }
}

// === impl Exchange ===

impl Exchange<'_> {
    async fn run(&mut self, reader: &mut OwnedReadHalf, frames: &mut FrameDecoder, chunk: &mut BytesMut) -> Result<()> {
        let (inbox, mut stop) = (&self.cx.inbox, self.cx.stop.clone());
        let mut reserving: Option<Pin<Box<dyn Future<Output = Room> + Send + '_>>> = None;
        let mut last_moment = None;
        loop {
            if self.stopping {
                reserving = None;
                if self.verdicts.is_empty() && self.unanswered == 0 {
                    return Ok(());
                }
                if self.verdicts.is_empty() {
                    last_moment.get_or_insert_with(|| Instant::now() + STOP_TIMEOUT);
                }
            } else if reserving.is_none() && self.may_poll() {
                reserving = Some(Box::pin(inbox.reserve(RESERVED_BYTES)));
            }
            tokio::select! {
                read = read_chunk(reader, chunk, frames, self.address) => {
                    read?;
                    while let Some(frame) = frames.next_frame()? {
                        self.receive(frame)?;
                    }
                }
                room = ready(&mut reserving) => {
                    reserving = None;
                    // A job that has ended would refuse every answer, as fast as they come.
                    if !inbox.is_closed() {
                        self.poll(room)?;
                    }
                }
                verdict = next_verdict(&mut self.verdicts) => {
                    if let Some((sequence_number, _)) = self.verdicts.pop_front() {
                        self.answer(sequence_number, verdict.is_some())?;
                    }
                }
                () = until(self.paused) => self.paused = None,
                () = stop.stopped(), if !self.stopping => self.stopping = true,
                () = until(last_moment) => return Ok(()),
            }
        }
    }

    fn may_poll(&self) -> bool {
        let free = match self.pipelined {
            true => self.polls.len() < self.most_polls,
            false => self.polls.is_empty() && self.verdicts.is_empty(),
        };
        free && self.paused.is_none() && !self.cx.inbox.is_closed()
    }

    fn poll(&mut self, room: Room) -> Result<()> {
        let n = i32::try_from(self.max_batch_size).unwrap_or(i32::MAX);
        let serial = self.call(Call::GetEventBatch { n })?;
        self.polls.insert(serial, room);
        Ok(())
    }

    /// Says whether a batch is safe. Several such calls may be on their way.
    fn answer(&mut self, sequence_number: String, committed: bool) -> Result<()> {
        self.unanswered += 1;
        match committed {
            true => self.call(Call::Ack { sequence_number })?,
            false => self.call(Call::Nack { sequence_number })?,
        };
        Ok(())
    }

    fn call(&mut self, call: Call) -> Result<u32> {
        self.serial = self.serial.wrapping_add(1);
        let parts = self.rpc.call(request_meta(), call.message(), call.encode_params())?;
        // Without a writer the connection has ended: its select sees that.
        let _ = self.requests.send(encode_frame(self.serial, parts));
        Ok(self.serial)
    }

    fn receive(&mut self, frame: Frame) -> Result<()> {
        let Outcome::Answered(Response { meta, result }) = self.rpc.response(frame.payload)? else {
            return Err(Error::corrupt(self.address, "a second handshake"));
        };
        let Some(room) = self.polls.remove(&frame.serial) else {
            self.unanswered = self.unanswered.saturating_sub(1);
            if let Err(problem) = result {
                tracing::debug!(problem, address = self.address, "ack or nack failed");
            }
            return Ok(());
        };
        let EventBatch { error_msg, sequence_number, events } = match result {
            Ok(datum) => spark_sink::decode_event_batch(&datum, &EventLimits::default())?,
            Err(problem) => {
                self.pause(&problem);
                return Ok(());
            }
        };
        if !error_msg.is_empty() {
            self.pause(&error_msg);
            return Ok(());
        }
        self.refused = false;
        if events.is_empty() || self.stopping {
            // Nothing to wait for; or nobody is left who would take it.
            return self.answer(sequence_number, events.is_empty());
        }
        self.cx.status.count(MetricName::EventReceivedCount, events.len() as u64);
        let (events, low_water) = match Names::from_meta(&meta)? {
            Some(names) => (names.name(events)?, names.low_water),
            None => (events, Vec::new()),
        };
        let verdict = self.cx.inbox.push(vec![events], &low_water, room);
        self.verdicts.push_back((sequence_number, verdict));
        Ok(())
    }

    /// Asks no more for a moment. An error batch is neither acked nor nacked.
    fn pause(&mut self, problem: &str) {
        self.paused = Some(Instant::now() + ERROR_PAUSE);
        if !std::mem::replace(&mut self.refused, true) {
            tracing::warn!(problem, address = self.address, "the sink gave no batch, will ask again");
        }
    }
}

// === helpers ===

fn request_meta() -> Metadata {
    let mut meta = Metadata::new();
    let version = concat!("millstream/", env!("CARGO_PKG_VERSION")).to_owned();
    Peer { version, pipelined: true }.insert_into(&mut meta, true);
    meta
}

/// Reads what there is into the decoder.
///
/// # Cancel safety
/// Dropped, nothing was read.
async fn read_chunk(
    reader: &mut (impl AsyncReadExt + Unpin),
    chunk: &mut BytesMut,
    frames: &mut FrameDecoder,
    address: &str,
) -> Result<()> {
    chunk.reserve(CHUNK_BYTES);
    let len = reader.read_buf(chunk).await.map_err(|error| Error::net("read", address, error))?;
    if len == 0 {
        return Err(Error::net("read", address, std::io::ErrorKind::UnexpectedEof.into()));
    }
    if len >= CHUNK_BYTES / 2 {
        frames.push(chunk.split().freeze());
    } else {
        // A batch may stay a slice of what is pushed: a small one must not keep a large buffer.
        frames.push(Bytes::copy_from_slice(chunk));
        chunk.clear();
    }
    Ok(())
}

async fn write_requests(
    mut writer: OwnedWriteHalf,
    mut queue: mpsc::UnboundedReceiver<Vec<Bytes>>,
    address: &str,
) -> Result<()> {
    let mut out = BytesMut::new();
    while let Some(frame) = queue.recv().await {
        let mut next = Some(frame);
        while let Some(frame) = next {
            frame.iter().for_each(|buffer| out.extend_from_slice(buffer));
            next = queue.try_recv().ok();
        }
        writer.write_all_buf(&mut out).await.map_err(|error| Error::net("write", address, error))?;
    }
    Ok(())
}

/// The verdict on the first batch, `None` for a bad one; the batch stays where it is.
async fn next_verdict(verdicts: &mut VecDeque<(String, Verdict)>) -> Option<Committed> {
    match verdicts.front_mut() {
        Some((_, verdict)) => verdict.await.ok(),
        None => std::future::pending().await,
    }
}

async fn ready<T>(future: &mut Option<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// One answer: the most that our sink puts into one, and what headers and tables add as a rule.
pub(super) const REPLY_BYTES: u64 = (2 << 20) + (256 << 10);
/// Room for a question. The inbox corrects it once the answer is there.
pub(super) const RESERVED_BYTES: u64 = 64 << 10;
const CHUNK_BYTES: usize = 64 << 10;
/// After an error batch. Spark asks again at once, and fills the log.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// How long a receiver that stops waits until the sink has heard its last acks.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);
