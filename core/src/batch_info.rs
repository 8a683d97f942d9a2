//! What is known of a completed micro-batch: Spark's `BatchInfo`.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Serialize, Serializer};

use crate::output::BatchId;

/// Batches that are kept to be shown: what Spark's streaming page shows by default.
const KEPT: usize = 1000;

/// A batch that was computed, committed and applied to every output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchInfo {
    /// Its number in the commit log; `None` for a batch that brought nothing to commit.
    pub batch: Option<BatchId>,
    /// When it was due, milliseconds since 1970 UTC.
    pub batch_time: u64,
    /// Events received.
    pub num_records: u64,
    /// Of these, events set aside because no retry could help.
    pub dead_letters: u64,
    /// The materialising operators, in order of travel.
    pub stages: Vec<StageInfo>,
    /// From when it was due until it began, in milliseconds.
    #[serde(serialize_with = "millis")]
    pub scheduling_delay: Duration,
    /// From its beginning until every output had applied it, in milliseconds.
    #[serde(serialize_with = "millis")]
    pub processing_delay: Duration,
}

/// What one operator did in one batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StageInfo {
    /// The operator's name: `reduce_by_key`, …
    pub operator: &'static str,
    /// Elements that came in.
    pub records_in: u64,
    /// Elements that went out.
    pub records_out: u64,
}

/// The last completed batches, oldest first.
#[derive(Debug, Default)]
pub struct BatchHistory(Mutex<VecDeque<BatchInfo>>);

// === impl BatchInfo ===

impl BatchInfo {
    /// From when it was due until every output had applied it.
    pub fn total_delay(&self) -> Duration {
        self.scheduling_delay + self.processing_delay
    }

    /// Elements that came into the operator `name`, over all operators of that name.
    pub fn records_into(&self, name: &str) -> u64 {
        self.stages.iter().filter(|stage| stage.operator == name).map(|stage| stage.records_in).sum()
    }
}

// === impl BatchHistory ===

impl BatchHistory {
    /// Adds a batch; the oldest one goes when there are many.
    pub fn push(&self, info: BatchInfo) {
        let mut kept = self.0.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(info);
    }

    /// The last `most` of them, oldest first.
    pub fn last(&self, most: usize) -> Vec<BatchInfo> {
        let kept = self.0.lock();
        kept.iter().skip(kept.len().saturating_sub(most)).cloned().collect()
    }
}

fn millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64() * 1000.0)
}
