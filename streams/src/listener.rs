//! Who is told what a job does: Spark's `StreamingListener`.

use std::sync::Arc;
use std::time::Duration;

use millstream_core::{BatchInfo, Status};

/// Is told what a job does. Called on the job's own threads: it must not block. Every method does nothing unless it is
/// written; a closure over `&BatchInfo` is a listener for completed batches.
pub trait StreamingListener: Send + Sync {
    /// The job runs: inputs and outputs begin.
    fn on_streaming_started(&self) {}

    /// A receiver begins, for the first time or again.
    fn on_receiver_started(&self, _receiver: &ReceiverInfo) {}

    /// A receiver ended with an error, told in [`ReceiverInfo::last_error_message`].
    fn on_receiver_error(&self, _receiver: &ReceiverInfo) {}

    /// A receiver ended for good: asked to, or because it cannot go on.
    fn on_receiver_stopped(&self, _receiver: &ReceiverInfo) {}

    /// A batch is due, with so many records.
    fn on_batch_submitted(&self, _info: &BatchInfo) {}

    /// Its computation begins.
    fn on_batch_started(&self, _info: &BatchInfo) {}

    /// It is committed and every output has applied it.
    fn on_batch_completed(&self, _info: &BatchInfo) {}
}

/// What is known of a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverInfo {
    /// Number of the input stream, from 0.
    pub stream_id: usize,
    /// Its name.
    pub name: Arc<str>,
    /// Whether it receives.
    pub active: bool,
    /// Why it ended, if it did so with an error.
    pub last_error_message: Option<String>,
}

impl<F: Fn(&BatchInfo) + Send + Sync> StreamingListener for F {
    fn on_batch_completed(&self, info: &BatchInfo) {
        self(info);
    }
}

/// Everyone who is told, the status first.
#[derive(Clone)]
pub(crate) struct Listeners {
    pub(crate) status: Arc<Status>,
    pub(crate) others: Arc<[Arc<dyn StreamingListener>]>,
}

// === impl Listeners ===

impl Listeners {
    pub(crate) fn tell(&self, tell: impl Fn(&dyn StreamingListener)) {
        self.others.iter().for_each(|listener| tell(listener.as_ref()));
    }

    /// A batch is due, and begins.
    pub(crate) fn begins(&self, batch_time: u64, num_records: u64, scheduling_delay: Duration) {
        if self.others.is_empty() {
            return;
        }
        let submitted = BatchInfo {
            batch: None,
            batch_time,
            num_records,
            dead_letters: 0,
            stages: Vec::new(),
            scheduling_delay: Duration::ZERO,
            processing_delay: Duration::ZERO,
        };
        self.tell(|listener| listener.on_batch_submitted(&submitted));
        let started = BatchInfo { scheduling_delay, ..submitted };
        self.tell(|listener| listener.on_batch_started(&started));
    }

    pub(crate) fn completed(&self, info: BatchInfo) {
        self.tell(|listener| listener.on_batch_completed(&info));
        self.status.batches().push(info);
    }
}
