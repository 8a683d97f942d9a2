//! Who is told of completed batches: Spark's `StreamingListener`.

use std::sync::Arc;

use millstream_core::{BatchInfo, Status};

/// Is told what a job does. Called on the job's own threads: it must not block.
pub trait StreamingListener: Send + Sync {
    /// A batch is committed and every output has applied it.
    fn on_batch_completed(&self, info: &BatchInfo);
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

impl Listeners {
    pub(crate) fn completed(&self, info: BatchInfo) {
        for listener in self.others.iter() {
            listener.on_batch_completed(&info);
        }
        self.status.batches().push(info);
    }
}
