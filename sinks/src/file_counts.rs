//! The files of a sink in its counters: as Flume does, by the names of connections.

use std::sync::{Arc, OnceLock};

use millstream_core::{ComponentStatus, MetricName, Result, SinkContext};

/// Counts the files of one sink, once it is started.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileCounts(Arc<OnceLock<Arc<ComponentStatus>>>);

/// A file that was counted as opened; counted as closed when dropped.
#[derive(Debug)]
pub(crate) struct OpenCount(FileCounts);

// === impl FileCounts ===

impl FileCounts {
    /// From now on files are counted here.
    pub(crate) fn start(&self, cx: &SinkContext) {
        // A sink is started once.
        let _ = self.0.set(Arc::clone(&cx.status));
    }

    /// Counts a file that was to be created.
    pub(crate) fn created<T>(&self, file: Result<T>) -> Result<(T, OpenCount)> {
        match file {
            Ok(file) => {
                self.count(MetricName::ConnectionCreatedCount);
                Ok((file, OpenCount(self.clone())))
            }
            Err(error) => {
                self.failed();
                Err(error)
            }
        }
    }

    /// Counts a file that could not be created or completed.
    pub(crate) fn failed(&self) {
        self.count(MetricName::ConnectionFailedCount);
    }

    fn count(&self, name: MetricName) {
        if let Some(status) = self.0.get() {
            status.count(name, 1);
        }
    }
}

impl Drop for OpenCount {
    fn drop(&mut self) {
        self.0.count(MetricName::ConnectionClosedCount);
    }
}
