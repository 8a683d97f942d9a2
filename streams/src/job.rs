//! A running job, and how it is started and stopped.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use millstream_core::{
    BatchId, BatchStamp, Committed as CommittedTotals, ComponentStatus, Error, LogId, Output, Reaction, Result, Room,
    RoomKeeper, State, Status, StopToken, Stopper, stop_token,
};
use millstream_io::DirLock;
use parking_lot::Mutex;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;

use crate::commit::log::CommitLog;
use crate::commit::record::Opened;
use crate::commit::recovery::Restored;
use crate::context::{Settings, StreamingContext};
use crate::engine::{Engine, Progress, Timer};
use crate::graph::{Feed, InputNode, OutputNode, Parts};
use crate::listener::{Listeners, ReceiverInfo, StreamingListener};
use crate::output::replica::{CommittedBatch, Replicas, Start};
use crate::output::resume::{Memory, Resume, memories, resume};
use crate::pool::Pool;
use crate::receiver::{Inbox, Intake, Receiver, ReceiverContext};

/// Below the checkpoint directory.
pub(crate) const LOG_DIR: &str = "commit";
/// Below the checkpoint directory: per input stream, counted from 0, what its receiver keeps.
const RECEIVERS_DIR: &str = "receivers";
const LEAST_PAUSE: Duration = Duration::from_millis(100);
const MOST_PAUSE: Duration = Duration::from_secs(5);

/// A running job. Dropped, it is stopped as by [`Self::stop`].
pub struct Job {
    app_name: String,
    log: LogId,
    epoch: u64,
    intake: Arc<Intake>,
    progress: Arc<Progress>,
    status: Arc<Status>,
    slowest_output: Box<dyn Fn() -> BatchId + Send + Sync>,
    receivers: Mutex<Vec<tokio::task::JoinHandle<()>>>,
    stop_receivers: Stopper,
    hurry: Stopper,
    stop_engine: Stopper,
    driver: Mutex<Option<JoinHandle<()>>>,
    ended: watch::Receiver<Option<Result<()>>>,
    handle: Handle,
    /// `None` when the program lent its own, or once the job has ended.
    runtime: Mutex<Option<Runtime>>,
    // Held until the job has ended.
    _lock: DirLock,
}

// === starting ===

pub(crate) fn start(context: StreamingContext) -> Result<Job> {
    let StreamingContext { settings, graph, listeners } = context;
    let Some(checkpoint) = settings.checkpoint.clone() else {
        let problem = "missing; expected a directory for the commit log: call checkpoint(…) before start()";
        return Err(Error::config("StreamingContext.checkpoint", problem));
    };
    let Parts { inputs, stages, outputs } = graph.freeze();
    check(&settings, &inputs, &outputs)?;
    settings.disk.create_dir_all(&checkpoint)?;
    let lock = DirLock::acquire(&checkpoint)?;

    let log_dir = checkpoint.join(LOG_DIR);
    let memories = memories(&outputs, &log_dir, is_new(&settings, &log_dir))?;
    let opened = Opened {
        epoch: 0,
        states: stages.iter().filter_map(|stage| stage.state()).map(|state| state.identity()).collect(),
        outputs: outputs.iter().map(|output| output.name.clone()).collect(),
        inputs: inputs.iter().map(|input| input.name.clone()).collect(),
    };
    let remembered: Vec<BatchId> = memories.iter().map(|memory| memory.map_or(0, |(_, batch)| batch)).collect();
    let (log, restored) = CommitLog::open(&settings, &checkpoint, opened, &stages, &remembered)?;

    let (runtime, handle) = runtime(&settings)?;
    let status = Arc::new(Status::default());
    let budget = RoomKeeper::new(u64::MAX, budget_bytes(&settings, &inputs));
    let intake = Intake::new(Arc::clone(&budget), restored.seen.clone(), inputs.len());
    let feeds = feeds(inputs, &status);
    let driver_status = ComponentStatus::new("job", settings.app_name.as_str().into(), "micro-batch".into());
    status.add(Arc::clone(&driver_status));
    let replicas = replicas(&log, &restored, &outputs, &memories, &status, &settings, &handle)?;

    let progress = Arc::new(Progress::default());
    progress.last_batch.store(log.last_batch(), Ordering::SeqCst);
    progress.dead_lettered.store(log.dead_lettered(), Ordering::SeqCst);
    progress.unnamed.store(log.unnamed(), Ordering::SeqCst);
    let (log_id, epoch) = (log.id(), log.epoch());
    let slowest_output = Box::new(replicas.slowest());
    let listeners = Listeners { status: Arc::clone(&status), others: listeners.into() };
    let (hurry, hurried) = stop_token();
    let engine = Engine {
        stages: stages.into(),
        outputs,
        intake: Arc::clone(&intake),
        pool: Pool::new(settings.threads),
        timer: Timer::new(Arc::clone(&settings.clock), settings.batch_interval, restored.checkpoint.last_time_ms),
        clock: Arc::clone(&settings.clock),
        budget,
        replicas,
        log,
        listeners: listeners.clone(),
        status: driver_status,
        progress: Arc::clone(&progress),
        stop_timeout: settings.stop_timeout,
        hurry: hurried,
        handle: handle.clone(),
    };
    let ((stop_receivers, receivers_stop), (stop_engine, engine_stop)) = (stop_token(), stop_token());
    let (driver, ended) = spawn_driver(engine, engine_stop, &settings.app_name)?;
    let context = |inbox, status, stream: usize| {
        let directory = checkpoint.join(RECEIVERS_DIR).join(stream.to_string()).into();
        ReceiverContext { inbox, status, stop: receivers_stop.clone(), directory, disk: Arc::clone(&settings.disk) }
    };
    let receivers = start_receivers(feeds, &intake, context, &listeners, &handle);
    Ok(Job {
        app_name: settings.app_name,
        log: log_id,
        epoch,
        intake,
        progress,
        status,
        slowest_output,
        receivers: Mutex::new(receivers),
        stop_receivers,
        hurry,
        stop_engine,
        driver: Mutex::new(Some(driver)),
        ended,
        handle,
        runtime: Mutex::new(runtime),
        _lock: lock,
    })
}

fn check(settings: &Settings, inputs: &[InputNode], outputs: &[OutputNode]) -> Result<()> {
    let place = format!("job {:?}", settings.app_name);
    if inputs.is_empty() {
        return Err(Error::config(place, "has no input; create a stream first"));
    }
    if outputs.is_empty() {
        return Err(Error::config(place, "has no output; call print(), save(…) or for_each_batch(…) on a stream"));
    }
    let mut names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::config(place, format_args!("has two outputs named {:?}; give each its own name", twice[0])));
    }
    Ok(())
}

fn is_new(settings: &Settings, log_dir: &Path) -> bool {
    match settings.disk.list(log_dir) {
        Ok(names) => names.is_empty(),
        // One that cannot be listed for another reason is told when the log is opened.
        Err(error) => matches!(error, Error::Io { error, .. } if error.kind() == std::io::ErrorKind::NotFound),
    }
}

fn runtime(settings: &Settings) -> Result<(Option<Runtime>, Handle)> {
    if let Some(handle) = &settings.runtime {
        return Ok((None, handle.clone()));
    }
    let built =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("receivers").enable_all().build();
    let runtime = built.map_err(|error| Error::io("start the runtime of job", &settings.app_name, error))?;
    let handle = runtime.handle().clone();
    Ok((Some(runtime), handle))
}

/// Starts the outputs and gives each what it lacks.
fn replicas(
    log: &CommitLog,
    restored: &Restored,
    outputs: &[OutputNode],
    memories: &[Memory],
    status: &Status,
    settings: &Settings,
    handle: &Handle,
) -> Result<Replicas> {
    let mut starts = Vec::with_capacity(outputs.len());
    let mut refills = Vec::new();
    for (index, (node, memory)) in outputs.iter().zip(memories).enumerate() {
        let Resume { mut applied, brought, refill } = resume(node, *memory, log.id(), restored)?;
        let component = ComponentStatus::new("output", node.name.as_str().into(), node.output.describe().into());
        status.add(Arc::clone(&component));
        if let (true, Some(rows)) = (refill, &node.refill) {
            let rows = rows();
            tracing::warn!(output = %node.output.describe(), rows = rows.len(), "filled again from the state");
            let (batch, time_ms) = (restored.checkpoint.last_batch, restored.checkpoint.last_time_ms);
            let stamp = BatchStamp { log: log.id(), epoch: log.epoch(), batch, time_ms };
            let mut staged = vec![None; outputs.len()];
            staged[index] = Some(node.output.stage(stamp, &rows)?.bytes);
            refills.push((index, CommittedBatch { stamp, staged, _room: Room::unbounded(), completion: None }));
            applied = batch - 1;
        }
        let (name, output) = (node.name.clone(), Arc::clone(&node.output) as Arc<dyn Output>);
        starts.push(Start { name, output, status: component, applied, brought });
    }
    let lowest = starts.iter().map(|start| start.applied).min().unwrap_or(BatchId::MAX);
    let replicas = Replicas::start(starts, Arc::clone(&settings.clock), handle)?;
    for (index, batch) in refills {
        replicas.hand_to(index, batch);
    }
    for batch in restored.replay.iter().filter(|batch| batch.stamp.batch > lowest) {
        let staged = batch.staged.clone();
        replicas.hand(CommittedBatch { stamp: batch.stamp, staged, _room: Room::unbounded(), completion: None });
    }
    Ok(replicas)
}

/// What of the job's memory is handed out: without what may arrive unasked for, but never less than half.
fn budget_bytes(settings: &Settings, inputs: &[InputNode]) -> u64 {
    let unreserved: u64 = inputs.iter().map(|input| input.feed.unreserved_bytes()).sum();
    let half = settings.memory_bytes / 2;
    if unreserved > half {
        tracing::warn!(
            job = settings.app_name,
            stream_memory_bytes = settings.memory_bytes,
            questions_bytes = unreserved,
            "answers to all open questions at once may exceed stream_memory_bytes: raise it to twice that, or lower the parallelism"
        );
    }
    settings.memory_bytes - unreserved.min(half)
}

/// How long receivers of a job that has ended may take to tell their peers.
const LAST_WORDS: Duration = Duration::from_secs(3);

type Ended = watch::Receiver<Option<Result<()>>>;

fn spawn_driver(engine: Engine, stop: StopToken, app_name: &str) -> Result<(JoinHandle<()>, Ended)> {
    let (sender, ended) = watch::channel(None);
    let status = Arc::clone(&engine.status);
    let name = app_name.to_owned();
    let spawned = std::thread::Builder::new().name("driver".into()).spawn(move || {
        let drive = std::panic::AssertUnwindSafe(|| engine.drive(stop));
        let outcome = std::panic::catch_unwind(drive).unwrap_or_else(|_| {
            let message = "the driver panicked; its text is above".to_owned();
            Err(Error::Panicked { place: format!("job {name:?}"), message })
        });
        if let Err(error) = &outcome {
            tracing::error!(%error, job = name, "job ended");
            status.failed(error);
        }
        status.enter(if outcome.is_ok() { State::Stopped } else { State::Failed });
        sender.send_replace(Some(outcome));
    });
    let driver = spawned.map_err(|error| Error::io("start the driver of job", app_name, error))?;
    Ok((driver, ended))
}

/// Gives every input its status, the first of the path.
fn feeds(inputs: Vec<InputNode>, status: &Status) -> Vec<(Feed, Arc<ComponentStatus>)> {
    let with_status = |input: InputNode| {
        let type_name = if matches!(input.feed, Feed::Queue(_)) { "queue" } else { "receiver" };
        let component = ComponentStatus::new("receiver", input.name.into(), type_name.into());
        status.add(Arc::clone(&component));
        (input.feed, component)
    };
    inputs.into_iter().map(with_status).collect()
}

fn start_receivers(
    feeds: Vec<(Feed, Arc<ComponentStatus>)>,
    intake: &Arc<Intake>,
    context: impl Fn(Arc<Inbox>, Arc<ComponentStatus>, usize) -> ReceiverContext,
    listeners: &Listeners,
    handle: &Handle,
) -> Vec<tokio::task::JoinHandle<()>> {
    let mut running = Vec::new();
    for (stream, (feed, status)) in feeds.into_iter().enumerate() {
        let inbox = intake.inbox(stream);
        match feed {
            Feed::Queue(queue) => {
                queue.attach(inbox);
                status.ready();
            }
            Feed::Receiver(receiver) => {
                let told = Told { listeners: listeners.clone(), stream_id: stream, name: Arc::clone(&status.name) };
                running.push(handle.spawn(keep_running(receiver, context(inbox, status, stream), told)));
            }
        }
    }
    running
}

/// Who is told of a receiver.
struct Told {
    listeners: Listeners,
    stream_id: usize,
    name: Arc<str>,
}

impl Told {
    fn tell(&self, event: fn(&dyn StreamingListener, &ReceiverInfo), active: bool, error: Option<&Error>) {
        let last_error_message = error.map(ToString::to_string);
        let info = ReceiverInfo { stream_id: self.stream_id, name: Arc::clone(&self.name), active, last_error_message };
        self.listeners.tell(|listener| event(listener, &info));
    }

    fn started(&self) {
        self.tell(|listener, info| listener.on_receiver_started(info), true, None);
    }

    fn failed(&self, error: &Error) {
        self.tell(|listener, info| listener.on_receiver_error(info), false, Some(error));
    }

    fn stopped(&self, error: Option<&Error>) {
        self.tell(|listener, info| listener.on_receiver_stopped(info), false, error);
    }
}

/// Starts a receiver again for as long as its errors may pass.
async fn keep_running(mut receiver: Box<dyn Receiver>, cx: ReceiverContext, told: Told) {
    let mut pause = LEAST_PAUSE;
    let mut stop = cx.stop.clone();
    loop {
        told.started();
        let Err(error) = receiver.run(cx.clone()).await else {
            cx.status.enter(State::Stopped);
            return told.stopped(None);
        };
        cx.status.failed(&error);
        told.failed(&error);
        let Reaction::Retry { after } = error.reaction() else {
            tracing::error!(%error, receiver = %cx.status.name, "receiver cannot go on");
            cx.status.enter(State::Failed);
            return told.stopped(Some(&error));
        };
        cx.status.enter(State::Retrying);
        tracing::warn!(%error, receiver = %cx.status.name, "receiver ended, will start again");
        tokio::select! {
            () = tokio::time::sleep(after.max(pause)) => pause = (pause * 2).min(MOST_PAUSE),
            () = stop.stopped() => return told.stopped(Some(&error)),
        }
    }
}

// === impl Job ===

impl Job {
    /// Waits until the job has ended by itself, or until SIGINT or SIGTERM asks for it; then it is stopped as by
    /// [`Self::stop`]. Not to be called from async code.
    ///
    /// # Errors
    /// That which ended the job.
    pub fn await_termination(self) -> Result<()> {
        let mut ended = self.ended.clone();
        self.handle.block_on(async {
            tokio::select! {
                // The sender lives in the driver.
                _ = ended.wait_for(Option::is_some) => {}
                () = asked_to_end() => tracing::info!(job = self.app_name, "stopping"),
            }
        });
        self.stop()
    }

    /// Stops the job: receivers first, then what they brought is computed, committed, acknowledged and applied. Blocks;
    /// not to be called from async code. A second call gives the same outcome.
    ///
    /// # Errors
    /// That which ended the job, or kept an output from applying everything (the log keeps what it lacks).
    pub fn stop(&self) -> Result<()> {
        self.hurry.stop();
        self.stop_receivers.stop();
        let receivers = std::mem::take(&mut *self.receivers.lock());
        let mut ended = self.ended.clone();
        self.handle.block_on(async {
            let all = async {
                for receiver in receivers {
                    // One that panicked has nothing left to stop.
                    let _ = receiver.await;
                }
            };
            // Where nothing can be committed any more they have peers to tell so, but nothing to wait for.
            let too_late = async {
                let _ = ended.wait_for(Option::is_some).await;
                tokio::time::sleep(LAST_WORDS).await;
            };
            tokio::select! {
                () = all => {}
                () = too_late => {}
            }
        });
        self.stop_engine.stop();
        if let Some(driver) = self.driver.lock().take() {
            // The driver catches its panics.
            let _ = driver.join();
        }
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
        self.ended.borrow().clone().unwrap_or(Ok(()))
    }

    /// Resolves once the job has ended, by itself or by [`Self::stop`].
    pub async fn ended(&self) -> Result<()> {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Ok(())),
            Err(_) => Ok(()),
        }
    }

    /// Its components and its last batches.
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Identity of its commit log, and how often that was opened.
    pub fn log(&self) -> (LogId, u64) {
        (self.log, self.epoch)
    }

    /// The last batch committed.
    pub fn last_batch(&self) -> BatchId {
        self.progress.last_batch.load(Ordering::SeqCst)
    }

    /// Whether everything that was received is committed, and every output has it.
    pub fn is_idle(&self) -> bool {
        self.intake.is_empty()
            && !self.progress.computing.load(Ordering::SeqCst)
            && (self.slowest_output)() >= self.last_batch()
    }

    /// What the job has counted, for the ledger. `waiting` are the names of what a channel holds: see
    /// [`millstream_core::Channel::waiting_names`]; ask the channel first.
    pub fn committed(&self, waiting: &[(u128, std::ops::Range<u64>)]) -> CommittedTotals {
        let _both = self.progress.ledger.read();
        self.intake.with_seen(|seen| CommittedTotals {
            counted: seen.counted().clone(),
            unnamed: self.unnamed_events(),
            dead_lettered: self.progress.dead_lettered.load(Ordering::SeqCst),
            redelivered: seen.redelivered(),
            unacknowledged: waiting.iter().map(|(id, range)| seen.committed_of(*id, range.clone())).sum(),
        })
    }

    /// Events without names that were committed: from peers that give none, and from queues.
    pub fn unnamed_events(&self) -> u64 {
        self.progress.unnamed.load(Ordering::SeqCst)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let Some(driver) = self.driver.lock().take() else { return };
        // Not waited for as `stop` does: a drop may happen on a runtime's thread.
        self.hurry.stop();
        self.stop_receivers.stop();
        self.stop_engine.stop();
        let _ = driver.join();
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("app_name", &self.app_name)
            .field("last_batch", &self.last_batch())
            .finish_non_exhaustive()
    }
}

async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
