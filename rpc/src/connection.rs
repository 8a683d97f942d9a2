//! One connection of a server: reads calls, has them executed, writes the answers in order.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use millstream_core::{Error, Fut, Result, StopToken};
use millstream_io::Share;
use millstream_wire::avro_rpc::{Incoming, Request, Responder, ServerConnection, UnknownClient};
use millstream_wire::netty::{Frame, FrameDecoder, FrameLimits, encode_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::buffers::Buffers;
use crate::server::{Call, Pending, Reply, Service, Shared};
use crate::transport::{Reading, Writing};

/// Steps in which a connection takes memory from what all share; the first is its own.
const UNIT_BYTES: usize = 64 << 10;

struct Connection<'a, S> {
    shared: &'a Shared<S>,
    peer: SocketAddr,
    rpc: ServerConnection,
    intake: Intake,
    executing: Option<(u32, Responder, Fut<'static, Pending>)>,
    /// In the order of the calls.
    answers: VecDeque<Answer>,
    replies: mpsc::Sender<Vec<Bytes>>,
}

/// What was read and is not executed.
struct Intake {
    frames: FrameDecoder,
    /// Bytes read since the last whole frame.
    unfinished: usize,
    /// For those beyond the first unit.
    share: Share,
    chunk: BytesMut,
    chunk_bytes: usize,
}

enum Answer {
    Ready(Vec<Bytes>),
    Waiting(u32, Responder, Pending),
}

/// Serves a peer until it leaves or the server stops.
pub(crate) async fn run<S: Service>(stream: TcpStream, peer: SocketAddr, shared: &Shared<S>) -> Result<()> {
    // Answers must not wait for each other; a socket that cannot be told so still works.
    let _ = stream.set_nodelay(true);
    let mut stop = shared.stop.clone();
    let (mut reading, writing) = tokio::select! {
        accepted = shared.wrapping.accept(stream) => {
            accepted.map_err(|error| Error::net("handshake with", peer, error))?
        }
        () = stop.stopped() => return Ok(()),
    };
    let (replies, queue) = mpsc::channel(QUEUED_REPLIES);
    let mut connection = Connection {
        shared,
        peer,
        rpc: ServerConnection::new(shared.service.protocol(), UnknownClient::Accept),
        intake: Intake::new(shared.limits.frame, shared.memory.share(Some(shared.limits.stall))),
        executing: None,
        answers: VecDeque::new(),
        replies,
    };
    let mut writing = pin!(write(writing, queue, peer));
    let (ended, may_write) = tokio::select! {
        ended = connection.exchange(&mut reading) => (ended, true),
        ended = &mut writing => (ended, false),
        () = time_is_up(shared.stop.clone(), shared.limits.stop) => (Ok(()), true),
    };
    drop(connection);
    if may_write {
        // The peer may be gone.
        let _ = timeout(FLUSH_TIMEOUT, writing).await;
    }
    ended
}

// === impl Connection ===

impl<S: Service> Connection<'_, S> {
    async fn exchange(&mut self, reading: &mut Reading) -> Result<()> {
        let mut stop = self.shared.stop.clone();
        let (mut stopping, mut ended) = (false, false);
        loop {
            let may_execute = self.executing.is_none() && self.answers.len() < MAX_OPEN;
            if may_execute && let Some(frame) = self.intake.frames.next_frame()? {
                self.intake.unfinished = 0;
                self.intake.share.finish();
                self.begin(frame)?;
                continue;
            }
            if self.executing.is_none() {
                self.intake.let_go();
                if (stopping || ended) && self.answers.is_empty() {
                    return Ok(());
                }
            }
            let may_read = may_execute && !stopping && !ended;
            if !may_read {
                // The peer is not to blame.
                self.intake.share.finish();
            }
            tokio::select! {
                read = self.intake.read(reading, self.peer), if may_read => {
                    ended = read? == 0;
                    if ended && !self.intake.frames.is_between_frames() {
                        let problem = format!("connection ended in the middle of a frame, after {} bytes", self.intake.unfinished);
                        return Err(Error::corrupt(self.peer, problem));
                    }
                }
                pending = executed(&mut self.executing) => {
                    if let Some((serial, responder, _)) = self.executing.take() {
                        self.answers.push_back(Answer::Waiting(serial, responder, pending));
                    }
                }
                frame = next_answer(&mut self.answers) => {
                    self.answers.pop_front();
                    // Without a writer the connection is ending: its select sees that.
                    let _ = self.replies.send(frame).await;
                }
                () = stop.stopped(), if !stopping => stopping = true,
            }
        }
    }

    fn begin(&mut self, frame: Frame) -> Result<()> {
        let Frame { serial, payload } = frame;
        match self.rpc.request(payload)? {
            Incoming::Answer(parts) => self.answers.push_back(Answer::Ready(encode_frame(serial, parts))),
            Incoming::Call(Request { meta, message, params, responder }) => {
                let call = Call { meta, message, params, peer: self.peer };
                let execution = Arc::clone(&self.shared.service).execute(call);
                self.executing = Some((serial, responder, execution));
            }
        }
        Ok(())
    }
}

// === impl Intake ===

impl Intake {
    fn new(limits: FrameLimits, share: Share) -> Self {
        Self {
            frames: FrameDecoder::new(limits),
            unfinished: 0,
            share,
            chunk: BytesMut::new(),
            chunk_bytes: LEAST_CHUNK_BYTES,
        }
    }

    /// Reads what there is into the decoder, once there is memory for it; 0 at the end.
    ///
    /// # Cancel safety
    /// Dropped, nothing was read.
    async fn read(&mut self, reading: &mut Reading, peer: SocketAddr) -> Result<usize> {
        if !self.frames.is_between_frames() {
            let held = self.share.hold(shared(self.unfinished)).await;
            held.map_err(|error| Error::net("read", peer, error))?;
        }
        self.chunk.reserve(self.chunk_bytes);
        let room = self.chunk.capacity().min(self.chunk_bytes);
        let mut reading = reading.take(room as u64);
        let len = match self.share.within(reading.read_buf(&mut self.chunk)).await {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && self.frames.is_between_frames() => 0,
            // Java's peers leave without saying goodbye to TLS.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && self.frames.is_between_frames() => 0,
            Err(error) => return Err(Error::net("read", peer, error)),
        };
        self.unfinished += len;
        self.share.came(len);
        // Else the next read waits for it.
        self.share.hold_at_once(shared(self.unfinished));
        // A batch may stay a slice of what is pushed: a small one must not keep a large buffer.
        if len * 2 > self.chunk_bytes {
            self.frames.push(self.chunk.split().freeze());
        } else {
            self.frames.push(Bytes::copy_from_slice(&self.chunk));
            self.chunk.clear();
        }
        // An idle peer costs little, a busy one few reads.
        if len == room {
            self.chunk_bytes = (self.chunk_bytes * 2).min(MOST_CHUNK_BYTES);
        } else if len < self.chunk_bytes / 4 {
            self.chunk_bytes = (self.chunk_bytes / 2).max(LEAST_CHUNK_BYTES);
        }
        Ok(len)
    }

    /// Nothing waits to be executed: gives back what the unfinished frame does not need, or the next read does.
    fn let_go(&mut self) {
        if self.frames.is_between_frames() {
            self.share.rest();
        }
    }
}

/// What `bytes` of an unfinished frame take of the shared memory.
fn shared(bytes: usize) -> usize {
    bytes / UNIT_BYTES * UNIT_BYTES
}

async fn executed(executing: &mut Option<(u32, Responder, Fut<'static, Pending>)>) -> Pending {
    match executing {
        Some((_, _, execution)) => execution.await,
        None => std::future::pending().await,
    }
}

/// The first answer once it is there, as a frame; it stays where it is.
async fn next_answer(answers: &mut VecDeque<Answer>) -> Vec<Bytes> {
    let Some(first) = answers.front_mut() else { return std::future::pending().await };
    if let Answer::Waiting(_, _, pending) = first {
        let Reply { meta, result } = pending.0.as_mut().await;
        let waiting = std::mem::replace(first, Answer::Ready(Vec::new()));
        if let Answer::Waiting(serial, responder, _) = waiting {
            let parts = match result {
                Ok(datum) => responder.ok(&meta, [datum]),
                Err(text) => responder.error(&meta, &text),
            };
            *first = Answer::Ready(encode_frame(serial, parts));
        }
    }
    match first {
        Answer::Ready(frame) => std::mem::take(frame),
        Answer::Waiting(..) => Vec::new(),
    }
}

async fn write(mut writing: Writing, mut queue: mpsc::Receiver<Vec<Bytes>>, peer: SocketAddr) -> Result<()> {
    let mut buffers = Buffers::default();
    while let Some(frame) = queue.recv().await {
        buffers.extend(frame);
        while let Ok(frame) = queue.try_recv() {
            buffers.extend(frame);
        }
        let written = async {
            writing.write_all_buf(&mut buffers).await?;
            writing.flush().await
        };
        written.await.map_err(|error| Error::net("write", peer, error))?;
    }
    // Says goodbye where the transport has a word for it; the peer may be gone.
    let _ = writing.shutdown().await;
    Ok(())
}

/// Resolves when a server that stops waits no longer.
async fn time_is_up(mut stop: StopToken, limit: Duration) {
    stop.stopped().await;
    sleep(limit).await;
}

/// Most calls that are executed and not answered on one connection.
const MAX_OPEN: usize = 1024;
/// Answers that wait for the socket.
const QUEUED_REPLIES: usize = 16;
const LEAST_CHUNK_BYTES: usize = 4 << 10;
const MOST_CHUNK_BYTES: usize = 256 << 10;
/// How long the last answers may take to leave.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);
