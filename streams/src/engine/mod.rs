//! The driver of a job: one batch after another, each with one commit record.
//!
//! drain → compute → stage → **commit** → states → names → verdicts → outputs. Whatever ends the process before the
//! commit leaves nothing behind; whatever ends it after is finished by the next start, from the log.

mod compute;
mod input;
mod timer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use millstream_core::{
    BatchId, BatchStamp, ComponentStatus, Error, Reaction, Result, RoomKeeper, StageInfo, StopToken,
};
use millstream_io::{Clock, failpoint};
use parking_lot::RwLock;
use tokio::runtime::Handle;

use crate::commit::log::CommitLog;
use crate::commit::record::{Head, InputRanges, Prepared};
use crate::graph::OutputNode;
use crate::listener::Listeners;
use crate::output::replica::{CommittedBatch, Completion, Replicas};
use crate::pool::Pool;
use crate::receiver::{Committed, Intake};
use crate::stage::{Run, Stage, StateStage};
use compute::{Computed, compute, is_the_programs};
use input::{Input, Poison};
pub(crate) use timer::{Due, Timer};

/// Times that a batch is computed before the events at fault are looked for.
const TRIES: u32 = 3;
const LEAST_PAUSE: Duration = Duration::from_millis(100);
const MOST_PAUSE: Duration = Duration::from_secs(5);

/// What drives a job.
pub(crate) struct Engine {
    pub(crate) stages: Arc<[Box<dyn Stage>]>,
    pub(crate) outputs: Vec<OutputNode>,
    pub(crate) intake: Arc<Intake>,
    pub(crate) log: CommitLog,
    pub(crate) pool: Pool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) timer: Timer,
    pub(crate) budget: Arc<RoomKeeper>,
    pub(crate) replicas: Replicas,
    pub(crate) listeners: Listeners,
    pub(crate) status: Arc<ComponentStatus>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) stop_timeout: Duration,
    /// The job is to end: batches no longer wait for their time, nor without end for a disk.
    pub(crate) hurry: StopToken,
    /// For waiting: the driver is a thread of its own, so that computing and committing may block.
    pub(crate) handle: Handle,
}

/// How far a job has come, for who asks from outside.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The last batch committed.
    pub(crate) last_batch: AtomicU64,
    pub(crate) dead_lettered: AtomicU64,
    /// Events without names committed.
    pub(crate) unnamed: AtomicU64,
    /// Whether a batch is being computed or has been drained and is not answered for yet.
    pub(crate) computing: AtomicBool,
    /// Held for writing while names move from pending to committed, so that a ledger sees both or neither.
    pub(crate) ledger: RwLock<()>,
}

/// What an attempt gave.
struct Outcome {
    stages: Vec<StageInfo>,
    /// `None`: there was nothing to commit.
    batch: Option<u64>,
}

/// With a batch that cannot be committed.
struct Patience {
    /// Until the next try.
    pause: Duration,
    /// When it ends, once the job is asked to stop.
    ends: Option<Duration>,
}

enum Wake {
    Stop,
    Applied,
    Batch(Due),
}

// === impl Engine ===

impl Engine {
    /// Runs batches until `stop`, then what has arrived, and closes the log.
    ///
    /// # Errors
    /// That after which the job cannot go on. Nothing is lost: what was not committed was not acknowledged.
    pub(crate) fn drive(mut self, mut stop: StopToken) -> Result<()> {
        let driven = self.run(&mut stop);
        self.intake.close();
        let closed = self.finish();
        driven.and(closed)
    }

    fn run(&mut self, stop: &mut StopToken) -> Result<()> {
        self.status.ready();
        self.listeners.tell(|listener| listener.on_streaming_started());
        loop {
            let Self { replicas, timer, intake, handle, hurry, .. } = self;
            let wake = handle.block_on(async {
                tokio::select! {
                    biased;
                    () = stop.stopped() => Ok(Wake::Stop),
                    moved = replicas.moved() => moved.map(|()| Wake::Applied),
                    due = timer.due(intake, hurry) => Ok(Wake::Batch(due)),
                }
            });
            match wake? {
                Wake::Stop => break,
                Wake::Applied => self.note_cursors(),
                Wake::Batch(due) => self.batch(due, stop)?,
            }
        }
        while !self.intake.is_empty() {
            let now = Due { at: self.clock.monotonic(), time_ms: self.clock.now_ms() };
            self.batch(now, stop)?;
        }
        Ok(())
    }

    /// One batch: everything that waits.
    fn batch(&mut self, due: Due, stop: &mut StopToken) -> Result<()> {
        let began = self.clock.monotonic();
        self.progress.computing.store(true, Ordering::SeqCst);
        let blocks = self.intake.drain();
        let input = Input::of(&blocks);
        let num_records = input.events();
        if num_records > 0 {
            failpoint::hit("batch.drained")?;
        }
        self.listeners.begins(due.time_ms, num_records, began.saturating_sub(due.at));
        let completion = Completion::new(self.listeners.clone(), Arc::clone(&self.clock), due, began, num_records);
        let done = self.process(input, due, &completion, stop);
        if done.is_ok() {
            for block in blocks.into_iter().flatten() {
                // A receiver whose connection ended does not listen any more.
                let _ = block.done.send(Committed);
            }
            if num_records > 0 {
                failpoint::hit("batch.acknowledged")?;
            }
        } else {
            // The job ends: whoever is told so by the end of the blocks must not ask for more.
            self.intake.close();
        }
        self.progress.computing.store(false, Ordering::SeqCst);
        if done.is_ok() {
            completion.release();
        }
        done
    }

    /// Commits all of `input`, in one batch if it can be computed, else in as many as it takes to find the events at
    /// fault.
    fn process(&mut self, input: Input, due: Due, completion: &Arc<Completion>, stop: &mut StopToken) -> Result<()> {
        let mut poison: Vec<Poison> = Vec::new();
        let mut work = vec![(input, TRIES)];
        let mut patience = Patience { pause: LEAST_PAUSE, ends: None };
        loop {
            let (input, tries) = match work.pop() {
                Some(next) => next,
                None if poison.is_empty() => return Ok(()),
                None => (Input(self.no_chunks()), 1),
            };
            let error = match self.attempt(&input, due, &poison, completion) {
                Ok(outcome) => {
                    if outcome.batch.is_some() {
                        poison.clear();
                    }
                    completion.computed(outcome.batch, &outcome.stages);
                    patience.pause = LEAST_PAUSE;
                    continue;
                }
                Err(error) => error,
            };
            self.status.failed(&error);
            if !is_the_programs(&error) {
                self.wait_out(&error, &mut patience, stop)?;
                work.push((input, tries));
            } else if tries > 1 {
                tracing::warn!(%error, events = input.events(), "batch failed, will try again");
                work.push((input, tries - 1));
            } else if input.events() > 1 {
                let (first, second) = input.halves();
                work.push((second, 1));
                work.push((first, 1));
            } else if let Some(found) = input.into_poison(&error.to_string()) {
                let (name, body) = found.shown();
                tracing::error!(%error, name, body, "event set aside as a dead letter");
                completion.set_aside();
                poison.push(found);
            } else if poison.is_empty() {
                // No event is at fault: nothing can be set aside, and the next batch may be another matter.
                tracing::error!(%error, "a batch without events failed");
                return Ok(());
            } else {
                // Those set aside are acknowledged after this, so they must be in the log.
                match self.commit_letters(due, &poison, completion) {
                    Ok(batch) => completion.computed(Some(batch), &[]),
                    Err(error) => {
                        self.status.failed(&error);
                        self.wait_out(&error, &mut patience, stop)?;
                        continue;
                    }
                }
                return Ok(());
            }
        }
    }

    fn no_chunks(&self) -> Vec<Vec<Arc<millstream_core::Batch>>> {
        vec![Vec::new(); self.intake.streams()]
    }

    /// Computes and commits; on an error nothing has changed.
    fn attempt(&mut self, input: &Input, due: Due, poison: &[Poison], completion: &Arc<Completion>) -> Result<Outcome> {
        let stamp = self.next_stamp(due);
        let computed = compute(&self.stages, &self.outputs, self.pool, input, stamp)?;
        let inputs = input.ranges(poison);
        if input.events() == 0 && poison.is_empty() && computed.is_empty() {
            return Ok(Outcome { stages: computed.stages, batch: None });
        }
        let Computed { run, stages, deltas, staged } = computed;
        let prepared = Prepared { head: self.head(stamp, inputs, poison), deltas, staged };
        let batch = self.commit(stamp, prepared, Some(run), completion)?;
        Ok(Outcome { stages, batch: Some(batch) })
    }

    /// Commits dead letters and nothing else: for a program that fails on a batch without events.
    fn commit_letters(&mut self, due: Due, poison: &[Poison], completion: &Arc<Completion>) -> Result<BatchId> {
        let stamp = self.next_stamp(due);
        let head = self.head(stamp, Input(self.no_chunks()).ranges(poison), poison);
        let prepared = Prepared { head, deltas: Vec::new(), staged: vec![None; self.outputs.len()] };
        self.commit(stamp, prepared, None, completion)
    }

    fn next_stamp(&self, due: Due) -> BatchStamp {
        let batch = self.log.last_batch() + 1;
        BatchStamp { log: self.log.id(), epoch: self.log.epoch(), batch, time_ms: due.time_ms }
    }

    fn head(&self, stamp: BatchStamp, inputs: Vec<InputRanges>, poison: &[Poison]) -> Head {
        Head {
            batch: stamp.batch,
            epoch: stamp.epoch,
            time_ms: stamp.time_ms,
            inputs,
            redelivered: self.intake.with_seen(|seen| seen.redelivered()),
            dead_letters: poison.iter().map(Poison::letter).collect(),
            ..Head::default()
        }
    }

    /// Makes a batch durable, then the states what `run` made of them; on an error nothing has changed.
    fn commit(
        &mut self,
        stamp: BatchStamp,
        prepared: Prepared,
        run: Option<Run<'_>>,
        completion: &Arc<Completion>,
    ) -> Result<BatchId> {
        if let Err(error) = self.log.commit(&prepared) {
            let intake = &self.intake;
            if let Err(error) = self.log.repair(|| intake.with_seen(|seen| seen.snapshot())) {
                tracing::debug!(%error, "the commit log has no new segment yet");
            }
            return Err(error);
        }
        // From here on the batch stands: an error could only be told, so there is none.
        let _ = failpoint::hit("batch.committed");
        if let Some(run) = run {
            states(&self.stages).for_each(|state| state.apply(&run));
        }
        self.committed(&prepared);
        let _ = failpoint::hit("batch.state-applied");
        let bytes = prepared.staged.iter().flatten().map(|bytes| bytes.len() as u64).sum();
        let room = self.budget.seize(0, bytes);
        let Prepared { staged, .. } = prepared;
        self.replicas.hand(CommittedBatch { stamp, staged, _room: room, completion: Some(Arc::clone(completion)) });
        self.shorten_log();
        Ok(stamp.batch)
    }

    fn committed(&self, prepared: &Prepared) {
        let _both = self.progress.ledger.write();
        self.intake.with_seen(|seen| prepared.head.inputs.iter().for_each(|input| seen.commit(&input.names)));
        self.progress.dead_lettered.store(self.log.dead_lettered(), Ordering::SeqCst);
        self.progress.unnamed.store(self.log.unnamed(), Ordering::SeqCst);
        self.progress.last_batch.store(prepared.head.batch, Ordering::SeqCst);
    }

    /// Keeps the log short. What fails here is tried again after the next batch.
    fn shorten_log(&mut self) {
        let states: Vec<&dyn StateStage> = states(&self.stages).collect();
        let intake = &self.intake;
        let rewritten = self.log.rewrite_state(&states);
        let shortened = rewritten.and_then(|()| self.log.shorten(|| intake.with_seen(|seen| seen.snapshot())));
        if let Err(error) = shortened {
            tracing::warn!(%error, "the commit log was not shortened, will try again");
        }
    }

    fn note_cursors(&mut self) {
        if let Err(error) = self.log.applied(self.replicas.cursors()) {
            tracing::debug!(%error, "cursors are noted with the next batch");
        }
        let _ = failpoint::hit("output.noted");
    }

    /// Waits before the same batch is tried again. A job that is asked to stop tries as long as its outputs may take: what it
    /// does not commit is not acknowledged, and comes again.
    fn wait_out(&self, error: &Error, patience: &mut Patience, stop: &mut StopToken) -> Result<()> {
        let Reaction::Retry { after } = error.reaction() else { return Err(error.clone()) };
        let now = self.clock.monotonic();
        if self.hurry.is_stopped() && *patience.ends.get_or_insert(now + self.stop_timeout) <= now {
            tracing::error!(%error, "batch not committed, the job stops without it; its events come again");
            return Err(error.clone());
        }
        tracing::warn!(%error, "batch not committed, will try again");
        let until = now + after.max(patience.pause);
        patience.pause = (patience.pause * 2).min(MOST_PAUSE);
        self.handle.block_on(async {
            tokio::select! {
                () = self.clock.sleep_until(until) => Ok(()),
                () = stop.stopped() => Err(error.clone()),
            }
        })
    }

    /// Lets the outputs finish, notes how far they came, and closes the log with a checkpoint.
    fn finish(mut self) -> Result<()> {
        let deadline = self.clock.monotonic() + self.stop_timeout;
        let applied = self.handle.block_on(self.replicas.finish(deadline));
        self.note_cursors();
        let names = self.intake.with_seen(|seen| seen.snapshot());
        let closed = self.log.close(names);
        applied.and(closed)
    }
}

fn states(stages: &[Box<dyn Stage>]) -> impl Iterator<Item = &dyn StateStage> {
    stages.iter().filter_map(|stage| stage.state())
}
