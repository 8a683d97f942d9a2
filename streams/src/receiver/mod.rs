//! Where events come into a job.
//!
//! A receiver hands blocks to the [`Inbox`] of its stream, under the byte budget of the whole job, and learns the
//! [`Verdict`] on each: only then may it acknowledge its peer.

mod log;
pub(crate) mod names;
pub mod poll;
pub mod push;
mod storage;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use millstream_core::{Batch, ComponentStatus, Fut, Result, Room, RoomKeeper, StopToken};
use millstream_io::Disk;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use names::SeenNames;
pub use storage::{Ack, StorageLevel};

/// Receives events for one input stream, from when the job starts until it is asked to end.
pub trait Receiver: Send {
    /// Runs until `cx.stop`. An error ends it; it is started again after its reaction's pause.
    fn run(&mut self, cx: ReceiverContext) -> Fut<'_, Result<()>>;

    /// Bytes that may arrive at once beyond those for which room was reserved: the job sets them aside in its budget.
    fn unreserved_bytes(&self) -> u64 {
        0
    }
}

/// What a receiver works with.
#[derive(Clone)]
pub struct ReceiverContext {
    /// Where its blocks go.
    pub inbox: Arc<Inbox>,
    /// Its counters and state.
    pub status: Arc<ComponentStatus>,
    /// When to end.
    pub stop: StopToken,
    /// Its own directory below the job's, made by who needs it.
    pub directory: Arc<Path>,
    /// What is under that directory.
    pub disk: Arc<dyn Disk>,
}

impl std::fmt::Debug for ReceiverContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiverContext").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// What became of a block. Dropped unresolved, it failed.
pub type Verdict = oneshot::Receiver<Committed>;

/// The batch that holds the block is in the commit log: its events may be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed;

/// Events that arrived together and are acknowledged together.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) batches: Vec<Batch>,
    pub(crate) done: oneshot::Sender<Committed>,
    /// Counts against the job's budget until the block is committed.
    pub(crate) _room: Room,
}

/// Where the receivers of one input stream put their blocks.
#[derive(Debug)]
pub struct Inbox {
    intake: Arc<Intake>,
    /// Number of the input stream.
    stream: usize,
}

/// Blocks that wait for the next batch, of all input streams of a job.
///
/// One lock for all: an event may come again on another stream (an agent that fails over), and a batch that acknowledges
/// it there must also hold it where it came first.
#[derive(Debug)]
pub(crate) struct Intake {
    budget: Arc<RoomKeeper>,
    state: Mutex<IntakeState>,
    /// Told when a block came.
    arrived: Notify,
}

#[derive(Debug)]
struct IntakeState {
    seen: SeenNames,
    /// Per input stream, in order of arrival.
    waiting: Vec<VecDeque<Block>>,
    /// The job has ended: blocks are not kept, their verdict is bad.
    closed: bool,
}

// === impl Inbox ===

impl Inbox {
    /// Waits for room in the job's budget. A receiver asks before it asks its peer, so that what arrives always fits.
    ///
    /// # Cancel safety
    /// Dropped, the place in the line is given up.
    pub async fn reserve(&self, bytes: u64) -> Room {
        self.intake.budget.ask(0, bytes).await
    }

    /// Whether the job has ended: whatever comes gets a bad verdict.
    pub(crate) fn is_closed(&self) -> bool {
        self.intake.state.lock().closed
    }

    /// Room for what exists already, beyond the budget if need be.
    pub(crate) fn seize(&self, bytes: u64) -> Room {
        self.intake.budget.seize(0, bytes)
    }

    /// Hands over a block received into `room`. Events that are committed or pending already are trimmed; the verdict
    /// on them comes with the one on the rest. `low_water`: see [`millstream_core::Take::low_water`].
    pub fn push(&self, batches: Vec<Batch>, low_water: &[(u128, u64)], room: Room) -> Verdict {
        let (done, verdict) = oneshot::channel();
        let mut state = self.intake.state.lock();
        let fresh: Vec<Batch> = batches.iter().map(|batch| state.seen.admit(batch)).collect();
        state.seen.collapse(low_water);
        let fresh: Vec<Batch> = fresh.into_iter().filter(|batch| !batch.is_empty()).map(|b| b.compact()).collect();
        let bytes = fresh.iter().map(Batch::retained_bytes).sum();
        let room = room.resize(bytes);
        if state.closed {
            return verdict;
        }
        state.waiting[self.stream].push_back(Block { batches: fresh, done, _room: room });
        drop(state);
        self.intake.arrived.notify_one();
        // A test that asks for a failure here gets none: the block is in the inbox.
        let _ = millstream_io::failpoint::hit("receiver.block-received");
        verdict
    }
}

// === impl Intake ===

impl Intake {
    /// For `streams` input streams.
    pub(crate) fn new(budget: Arc<RoomKeeper>, seen: SeenNames, streams: usize) -> Arc<Self> {
        let waiting = (0..streams).map(|_| VecDeque::new()).collect();
        Arc::new(Self {
            budget,
            state: Mutex::new(IntakeState { seen, waiting, closed: false }),
            arrived: Notify::new(),
        })
    }

    /// The inbox of input stream `stream`, counted from 0.
    pub(crate) fn inbox(self: &Arc<Self>, stream: usize) -> Arc<Inbox> {
        Arc::new(Inbox { intake: Arc::clone(self), stream })
    }

    /// How many input streams there are.
    pub(crate) fn streams(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Takes every waiting block, per input stream.
    pub(crate) fn drain(&self) -> Vec<Vec<Block>> {
        self.state.lock().waiting.iter_mut().map(|blocks| blocks.drain(..).collect()).collect()
    }

    /// Gives back what waits, and from now on whatever comes.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.waiting.iter_mut().for_each(VecDeque::clear);
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().waiting.iter().all(VecDeque::is_empty)
    }

    /// Resolves when a block has come since the last time.
    ///
    /// # Cancel safety
    /// Dropped, the next call resolves at once.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Looks at, or changes, what was seen.
    pub(crate) fn with_seen<R>(&self, f: impl FnOnce(&mut SeenNames) -> R) -> R {
        f(&mut self.state.lock().seen)
    }
}
