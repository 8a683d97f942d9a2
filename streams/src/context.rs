//! Describing a job: Spark's `StreamingContext`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millstream_core::Result;
use millstream_io::{Clock, Disk, SystemClock, SystemDisk};
use tokio::runtime::Handle;

use crate::dstream::DStream;
use crate::dstream::event::Event;
use crate::dstream::pipe::InputPipe;
use crate::graph::{Feed, Graph, InputNode};
use crate::job::{self, Job};
use crate::listener::StreamingListener;
use crate::queue::InputQueue;
use crate::receiver::Receiver;

/// A job under construction: inputs, operators, outputs. [`Self::start`] freezes and runs it.
///
/// The graph is rebuilt from the program's code at every start; the checkpoint directory holds what was received,
/// counted and delivered.
pub struct StreamingContext {
    pub(crate) settings: Settings,
    pub(crate) graph: Graph,
    pub(crate) listeners: Vec<Arc<dyn StreamingListener>>,
}

/// How a job runs.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) app_name: String,
    /// Zero: a batch begins as soon as something arrived.
    pub(crate) batch_interval: Duration,
    pub(crate) checkpoint: Option<PathBuf>,
    /// Blocks, the running batch and what outputs have not applied yet.
    pub(crate) memory_bytes: u64,
    pub(crate) threads: usize,
    pub(crate) segment_bytes: u64,
    pub(crate) stop_timeout: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) runtime: Option<Handle>,
}

/// Spark bounds receivers by rate; this bounds all that a job holds, whatever the rate.
const MEMORY_BYTES: u64 = 64 << 20;
/// Small enough that old segments go soon, large enough that opening one is rare.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Long enough for a batch under way, short enough for whoever pressed Ctrl-C.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

// === impl StreamingContext ===

impl StreamingContext {
    /// A job that is called `app_name`, for ever: its directory refuses another one. It computes a batch every
    /// `batch_interval`, from 10 ms on; zero computes whenever something arrived.
    pub fn new(app_name: &str, batch_interval: Duration) -> Self {
        let settings = Settings {
            app_name: app_name.to_owned(),
            batch_interval,
            checkpoint: None,
            memory_bytes: MEMORY_BYTES,
            segment_bytes: SEGMENT_BYTES,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            stop_timeout: STOP_TIMEOUT,
            clock: SystemClock::new(),
            disk: Arc::new(SystemDisk),
            runtime: None,
        };
        Self { settings, graph: Graph::default(), listeners: Vec::new() }
    }

    /// Where the commit log lies: what makes a restarted job go on where it stopped. Must be set.
    pub fn checkpoint(&mut self, directory: impl AsRef<Path>) -> &mut Self {
        self.settings.checkpoint = Some(directory.as_ref().to_owned());
        self
    }

    /// Bytes that blocks, the running batch and results that are not applied yet may take together
    /// (`stream_memory_bytes`, 64 MiB unless set); beyond it the senders wait.
    pub fn memory_bytes(&mut self, bytes: u64) -> &mut Self {
        self.settings.memory_bytes = bytes;
        self
    }

    /// Threads that compute; all cores unless set.
    pub fn threads(&mut self, threads: usize) -> &mut Self {
        self.settings.threads = threads;
        self
    }

    /// Bytes of the commit log after which it begins a new segment and deletes what nobody needs; 64 MiB unless set.
    pub fn commit_log_segment_bytes(&mut self, bytes: u64) -> &mut Self {
        self.settings.segment_bytes = bytes;
        self
    }

    /// How long a stop waits for outputs that cannot apply, and for a commit log that cannot be written, 10 s unless set. What
    /// outputs lack is in the log and is applied at the next start; what was not committed comes again.
    pub fn stop_timeout(&mut self, timeout: Duration) -> &mut Self {
        self.settings.stop_timeout = timeout;
        self
    }

    /// Another clock: for tests that move time.
    pub fn clock(&mut self, clock: Arc<dyn Clock>) -> &mut Self {
        self.settings.clock = clock;
        self
    }

    /// Another disk for the commit log: for tests that break it.
    pub fn disk(&mut self, disk: Arc<dyn Disk>) -> &mut Self {
        self.settings.disk = disk;
        self
    }

    /// Runs the receivers on this runtime instead of one of the job's own.
    pub fn runtime(&mut self, handle: Handle) -> &mut Self {
        self.settings.runtime = Some(handle);
        self
    }

    /// Tells `listener` of every completed batch.
    pub fn add_streaming_listener(&mut self, listener: impl StreamingListener + 'static) -> &mut Self {
        self.listeners.push(Arc::new(listener));
        self
    }

    /// The events that `receiver` brings. `name` is for people.
    pub fn receiver_stream(&self, name: &str, receiver: impl Receiver + 'static) -> DStream<Event> {
        self.input(name, Feed::Receiver(Box::new(receiver)))
    }

    /// The events that the program itself puts into the queue.
    pub fn queue_stream(&self, name: &str) -> (InputQueue, DStream<Event>) {
        let queue = InputQueue::new(name);
        (queue.clone(), self.input(name, Feed::Queue(queue)))
    }

    /// Starts the job. Blocks while the commit log is read.
    ///
    /// # Errors
    /// `Config` without a checkpoint directory or an output; `InUse` when another process runs on it; `Mismatch` when the
    /// directory, a state or an output belongs to something else, with the remedy.
    pub fn start(self) -> Result<Job> {
        job::start(self)
    }

    fn input(&self, name: &str, feed: Feed) -> DStream<Event> {
        let stream = self.graph.add_input(InputNode { name: name.to_owned(), feed });
        DStream::new(self.graph.clone(), Arc::new(InputPipe { stream }))
    }
}

impl std::fmt::Debug for StreamingContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamingContext").field("app_name", &self.settings.app_name).finish_non_exhaustive()
    }
}
