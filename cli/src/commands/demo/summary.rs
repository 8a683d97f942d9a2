//! What a run of the demo did: counted as it goes, told at its end.

use std::time::Duration;

use millstream_core::{BatchInfo, Ledger};
use serde::Serialize;

/// Bounds of the histogram's buckets grow by this factor: a percentile is at most 2 % too high.
const STEP: f64 = 1.02;

/// Counts of this run.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) batches: u64,
    pub(super) words: u64,
    /// Total delays in microseconds, by power of [`STEP`].
    delays: Vec<u64>,
}

/// The JSON document.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// Events, over the lifetime of the directory.
    pub(super) ledger: Ledger,
    /// Batches of this run that brought something.
    pub(super) batches: u64,
    /// Words counted in this run.
    pub(super) words: u64,
    /// The largest totals.
    pub(super) top: Vec<(String, i64)>,
    pub(super) delay_ms: Delay,
}

/// Total delay of the batches of this run that brought something: from when they were due until every output had them.
#[derive(Debug, Serialize)]
pub(super) struct Delay {
    pub(super) p50: f64,
    pub(super) p99: f64,
}

// === impl Run ===

impl Run {
    /// Counts a batch in.
    pub(super) fn add(&mut self, info: &BatchInfo) {
        if info.num_records == 0 {
            return;
        }
        self.batches += 1;
        self.words += words(info);
        let bucket = bucket(info.total_delay());
        if self.delays.len() <= bucket {
            self.delays.resize(bucket + 1, 0);
        }
        self.delays[bucket] += 1;
    }

    pub(super) fn delay(&self) -> Delay {
        Delay { p50: self.percentile(50), p99: self.percentile(99) }
    }

    /// In milliseconds; 0 when there was no batch.
    fn percentile(&self, percent: u64) -> f64 {
        let wanted = (self.batches * percent).div_ceil(100);
        let mut seen = 0;
        for (bucket, count) in self.delays.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return (STEP.powi(bucket as i32) / 10.0).round() / 100.0;
            }
        }
        0.0
    }
}

/// Words that a batch counted.
pub(super) fn words(info: &BatchInfo) -> u64 {
    info.records_into("reduce_by_key")
}

fn bucket(delay: Duration) -> usize {
    let micros = (delay.as_micros() as f64).max(1.0);
    micros.log(STEP).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(millis: u64) -> BatchInfo {
        BatchInfo {
            batch: Some(1),
            batch_time: 0,
            num_records: 1,
            dead_letters: 0,
            stages: Vec::new(),
            scheduling_delay: Duration::ZERO,
            processing_delay: Duration::from_millis(millis),
        }
    }

    #[test]
    fn percentiles_are_at_most_two_percent_too_high() {
        let mut run = Run::default();
        assert_eq!(run.delay().p99, 0.0);
        (1..=100).for_each(|millis| run.add(&info(millis)));
        let delay = run.delay();
        assert!((50.0..=51.1).contains(&delay.p50) && (99.0..=101.1).contains(&delay.p99), "{delay:?}");
    }
}
