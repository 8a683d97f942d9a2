//! An output as a replica of the commit log: its own thread, its own cursor, bounded lag.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use millstream_core::{
    BatchId, BatchInfo, BatchStamp, ComponentStatus, Error, Output, Reaction, Result, Room, StageInfo, Staged, State,
    StopToken, Stopper, stop_token,
};
use millstream_io::{Clock, failpoint};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};

use crate::commit::record::Applied;
use crate::engine::Due;
use crate::listener::Listeners;

const LEAST_PAUSE: Duration = Duration::from_millis(50);
const MOST_PAUSE: Duration = Duration::from_secs(2);

/// A committed batch on its way to the outputs.
pub(crate) struct CommittedBatch {
    pub(crate) stamp: BatchStamp,
    /// Per output.
    pub(crate) staged: Vec<Option<Bytes>>,
    /// Counts against the job's budget until every output has it.
    pub(crate) _room: Room,
    /// `None` for a batch of an earlier run.
    pub(crate) completion: Option<Arc<Completion>>,
}

/// Tells the listeners once the driver and every output are done with a batch.
pub(crate) struct Completion {
    holders: AtomicUsize,
    info: Mutex<BatchInfo>,
    began: Duration,
    clock: Arc<dyn Clock>,
    listeners: Listeners,
}

/// One output's place in the job.
pub(crate) struct Start {
    pub(crate) name: String,
    pub(crate) output: Arc<dyn Output>,
    pub(crate) status: Arc<ComponentStatus>,
    /// Up to where it has everything.
    pub(crate) applied: BatchId,
    /// The last batch that brought it anything.
    pub(crate) brought: BatchId,
}

/// All outputs of a job.
pub(crate) struct Replicas {
    replicas: Vec<Replica>,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    give_up: Stopper,
}

struct Replica {
    name: String,
    keeps_no_memory: bool,
    /// `None` once no further batch comes.
    queue: Option<mpsc::UnboundedSender<Arc<CommittedBatch>>>,
    cursor: Arc<Cursor>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Cursor {
    applied: AtomicU64,
    brought: AtomicU64,
}

#[derive(Default)]
struct Shared {
    moved: Notify,
    /// Workers that run.
    running: AtomicUsize,
    failed: Mutex<Option<Error>>,
}

/// What runs on a replica's thread.
struct Worker {
    index: usize,
    output: Arc<dyn Output>,
    status: Arc<ComponentStatus>,
    queue: mpsc::UnboundedReceiver<Arc<CommittedBatch>>,
    cursor: Arc<Cursor>,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    handle: Handle,
    give_up: StopToken,
}

// === impl Replicas ===

impl Replicas {
    pub(crate) fn start(starts: Vec<Start>, clock: Arc<dyn Clock>, handle: &Handle) -> Result<Self> {
        let (give_up, token) = stop_token();
        let shared = Arc::new(Shared::default());
        let mut replicas = Vec::with_capacity(starts.len());
        for (index, start) in starts.into_iter().enumerate() {
            let (sender, queue) = mpsc::unbounded_channel();
            let cursor = Arc::new(Cursor::default());
            cursor.applied.store(start.applied, Ordering::SeqCst);
            cursor.brought.store(start.brought, Ordering::SeqCst);
            let keeps_no_memory = !start.output.remembers();
            let worker = Worker {
                index,
                output: start.output,
                status: start.status,
                queue,
                cursor: Arc::clone(&cursor),
                shared: Arc::clone(&shared),
                clock: Arc::clone(&clock),
                handle: handle.clone(),
                give_up: token.clone(),
            };
            shared.running.fetch_add(1, Ordering::SeqCst);
            let spawned = thread::Builder::new().name(format!("output {}", start.name)).spawn(move || worker.run());
            let thread = spawned.map_err(|error| Error::io("start a thread for output", &start.name, error))?;
            let (name, queue, thread) = (start.name, Some(sender), Some(thread));
            replicas.push(Replica { name, keeps_no_memory, queue, cursor, thread });
        }
        Ok(Self { replicas, clock, shared, give_up })
    }

    /// Gives a committed batch to every output that does not have it.
    pub(crate) fn hand(&self, batch: CommittedBatch) {
        let batch = Arc::new(batch);
        for replica in &self.replicas {
            if let Some(completion) = &batch.completion {
                completion.holders.fetch_add(1, Ordering::SeqCst);
            }
            if let Some(queue) = &replica.queue {
                // A worker that ended has told why: the job is about to end.
                let _ = queue.send(Arc::clone(&batch));
            }
        }
    }

    /// Gives one output what it lacks, before the job's own batches.
    pub(crate) fn hand_to(&self, index: usize, batch: CommittedBatch) {
        if let Some(queue) = &self.replicas[index].queue {
            let _ = queue.send(Arc::new(batch));
        }
    }

    /// Resolves when an output has come further.
    ///
    /// # Errors
    /// That of an output that cannot go on.
    ///
    /// # Cancel safety
    /// Dropped, the next call resolves at once.
    pub(crate) async fn moved(&self) -> Result<()> {
        self.shared.moved.notified().await;
        self.shared.failed.lock().clone().map_or(Ok(()), Err)
    }

    /// How far every output has come; with `true` it has no memory of its own.
    pub(crate) fn cursors(&self) -> Vec<(Applied, bool)> {
        let cursor = |replica: &Replica| {
            let (batch, brought) =
                (replica.cursor.applied.load(Ordering::SeqCst), replica.cursor.brought.load(Ordering::SeqCst));
            (Applied { output: replica.name.clone(), batch, brought }, replica.keeps_no_memory)
        };
        self.replicas.iter().map(cursor).collect()
    }

    /// A view that asks how far the slowest output has come, for use from outside.
    pub(crate) fn slowest(&self) -> impl Fn() -> BatchId + Send + Sync + 'static {
        let cursors: Vec<Arc<Cursor>> = self.replicas.iter().map(|replica| Arc::clone(&replica.cursor)).collect();
        move || cursors.iter().map(|cursor| cursor.applied.load(Ordering::SeqCst)).min().unwrap_or(BatchId::MAX)
    }

    /// Lets the outputs apply what they were given, at most until `deadline` on the monotonic clock, and ends them.
    ///
    /// # Errors
    /// The first error of an output that could not apply everything; the log keeps what it lacks.
    pub(crate) async fn finish(&mut self, deadline: Duration) -> Result<()> {
        self.replicas.iter_mut().for_each(|replica| replica.queue = None);
        while self.shared.running.load(Ordering::SeqCst) > 0 {
            tokio::select! {
                () = self.shared.moved.notified() => {}
                () = self.clock.sleep_until(deadline) => {
                    self.give_up.stop();
                    break;
                }
            }
        }
        for replica in &mut self.replicas {
            if let Some(thread) = replica.thread.take() {
                // The worker catches the panics of the output.
                let _ = thread.join();
            }
        }
        self.shared.failed.lock().clone().map_or(Ok(()), Err)
    }
}

// === impl Worker ===

impl Worker {
    fn run(mut self) {
        self.status.ready();
        while let Some(batch) = self.handle.block_on(self.queue.recv()) {
            if let Err(error) = self.take_over(&batch) {
                tracing::error!(%error, output = %self.output.describe(), "output cannot go on");
                self.status.failed(&error);
                self.status.enter(State::Failed);
                self.shared.failed.lock().get_or_insert(error);
                break;
            }
            if let Some(completion) = &batch.completion {
                completion.release();
            }
            self.shared.moved.notify_one();
        }
        self.shared.running.fetch_sub(1, Ordering::SeqCst);
        self.shared.moved.notify_one();
    }

    fn take_over(&mut self, batch: &CommittedBatch) -> Result<()> {
        let number = batch.stamp.batch;
        if number <= self.cursor.applied.load(Ordering::SeqCst) {
            return Ok(());
        }
        if let Some(bytes) = batch.staged.get(self.index).cloned().flatten() {
            self.apply_until_done(batch.stamp, &Staged { bytes })?;
            self.cursor.brought.store(number, Ordering::SeqCst);
        }
        self.cursor.applied.store(number, Ordering::SeqCst);
        Ok(())
    }

    fn apply_until_done(&mut self, stamp: BatchStamp, staged: &Staged) -> Result<()> {
        let mut pause = LEAST_PAUSE;
        let mut told = false;
        loop {
            let Err(error) = self.apply(stamp, staged) else {
                if told {
                    tracing::info!(output = %self.output.describe(), batch = stamp.batch, "applied after all");
                    self.status.ready();
                }
                return Ok(());
            };
            let Reaction::Retry { after } = error.reaction() else { return Err(error) };
            self.status.failed(&error);
            self.status.enter(State::Retrying);
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(%error, output = %self.output.describe(), batch = stamp.batch, "not applied, will try again");
            }
            let until = self.clock.monotonic() + after.max(pause).min(MOST_PAUSE);
            pause = (pause * 2).min(MOST_PAUSE);
            let mut give_up = self.give_up.clone();
            let given_up = self.handle.block_on(async {
                tokio::select! {
                    () = self.clock.sleep_until(until) => false,
                    () = give_up.stopped() => true,
                }
            });
            if given_up {
                return Err(error);
            }
        }
    }

    fn apply(&self, stamp: BatchStamp, staged: &Staged) -> Result<()> {
        failpoint::hit("output.before-apply")?;
        let applied = catch_unwind(AssertUnwindSafe(|| self.output.apply(stamp, staged)));
        applied.unwrap_or_else(|_| {
            let message = "the output panicked; its text is above".to_owned();
            Err(Error::Panicked { place: self.output.describe(), message })
        })?;
        failpoint::hit("output.applied")
    }
}

// === impl Completion ===

impl Completion {
    /// Held by the driver until [`Self::release`].
    pub(crate) fn new(
        listeners: Listeners,
        clock: Arc<dyn Clock>,
        due: Due,
        began: Duration,
        num_records: u64,
    ) -> Arc<Self> {
        let info = BatchInfo {
            batch: None,
            batch_time: due.time_ms,
            num_records,
            dead_letters: 0,
            stages: Vec::new(),
            scheduling_delay: began.saturating_sub(due.at),
            processing_delay: Duration::ZERO,
        };
        Arc::new(Self { holders: AtomicUsize::new(1), info: Mutex::new(info), began, clock, listeners })
    }

    /// A part of it, or all, was computed, and committed as `batch`.
    pub(crate) fn computed(&self, batch: Option<BatchId>, stages: &[StageInfo]) {
        let mut info = self.info.lock();
        info.batch = batch.or(info.batch);
        if info.stages.is_empty() {
            info.stages = stages.to_vec();
            return;
        }
        for (sum, part) in info.stages.iter_mut().zip(stages) {
            sum.records_in += part.records_in;
            sum.records_out += part.records_out;
        }
    }

    /// One of its events was set aside.
    pub(crate) fn set_aside(&self) {
        self.info.lock().dead_letters += 1;
    }

    /// One holder less; the last one tells the listeners.
    pub(crate) fn release(&self) {
        if self.holders.fetch_sub(1, Ordering::SeqCst) == 1 {
            let mut info = self.info.lock().clone();
            info.processing_delay = self.clock.monotonic().saturating_sub(self.began);
            self.listeners.completed(info);
        }
    }
}
