//! What was received before: how duplicates end.
//!
//! Every event from a peer of ours has a name (ADR 2). A name is *pending* from its arrival until its batch is
//! committed, then *committed*. What arrives under such a name again is trimmed; it is acknowledged when its batch is,
//! because blocks are acknowledged in the order in which they arrived.

use std::collections::BTreeMap;
use std::ops::Range;

use millstream_core::name_set::trim_to;
use millstream_core::{Batch, IntervalSet, NameSet};
use serde::{Deserialize, Serialize};

/// Sequences of names, per incarnation.
pub(crate) type NameRanges = Vec<(u128, Range<u64>)>;

/// Names seen on one input stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct SeenNames {
    committed: NameSet,
    pending: BTreeMap<u128, IntervalSet>,
    /// Events committed, per store (high half of the incarnation); never forgotten.
    counted: BTreeMap<u64, u64>,
    /// Events trimmed.
    redelivered: u64,
}

/// The durable part, as a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamesSnapshot {
    committed: NameSet,
    counted: BTreeMap<u64, u64>,
    redelivered: u64,
}

// === impl SeenNames ===

impl SeenNames {
    /// Leaves of `batch` what was never seen, and marks it pending. Events without names always pass.
    pub(crate) fn admit(&mut self, batch: &Batch) -> Batch {
        let Self { committed, pending, .. } = self;
        let fresh = trim_to(batch, |incarnation, range| {
            let pending = pending.entry(incarnation).or_default();
            let gaps = committed.gaps(incarnation, range);
            let fresh: Vec<Range<u64>> = gaps.into_iter().flat_map(|gap| pending.gaps(gap)).collect();
            fresh.iter().for_each(|range| _ = pending.insert(range.clone()));
            fresh
        });
        pending.retain(|_, names| !names.is_empty());
        self.redelivered += (batch.len() - fresh.len()) as u64;
        fresh
    }

    /// The names of a committed batch: pending no longer.
    pub(crate) fn commit(&mut self, names: &[(u128, Range<u64>)]) {
        for (incarnation, range) in names {
            if let Some(pending) = self.pending.get_mut(incarnation) {
                pending.remove(range.clone());
                if pending.is_empty() {
                    self.pending.remove(incarnation);
                }
            }
            self.committed.insert(*incarnation, range.clone());
            *self.counted.entry((incarnation >> 64) as u64).or_default() += range.end - range.start;
        }
    }

    /// The sender's channel acknowledged everything below `low` of these incarnations, and everything of other openings
    /// of the same stores: where there is much, that is forgotten.
    pub(crate) fn collapse(&mut self, low_water: &[(u128, u64)]) {
        let pending = &self.pending;
        self.committed.collapse(low_water, |incarnation| pending.contains_key(&incarnation));
    }

    /// Events trimmed so far.
    pub(crate) fn redelivered(&self) -> u64 {
        self.redelivered
    }

    /// Sets the count of trimmed events to what a commit record says.
    pub(crate) fn restore_redelivered(&mut self, redelivered: u64) {
        self.redelivered = redelivered;
    }

    /// Events committed, per store.
    pub(crate) fn counted(&self) -> &BTreeMap<u64, u64> {
        &self.counted
    }

    /// Of `names`, how many are committed: what a channel still holds and the job has counted.
    pub(crate) fn committed_of(&self, incarnation: u128, range: Range<u64>) -> u64 {
        self.committed.count(incarnation, range)
    }

    pub(crate) fn snapshot(&self) -> NamesSnapshot {
        let Self { committed, counted, redelivered, .. } = self.clone();
        NamesSnapshot { committed, counted, redelivered }
    }

    pub(crate) fn restore(snapshot: NamesSnapshot) -> Self {
        let NamesSnapshot { committed, counted, redelivered } = snapshot;
        Self { committed, counted, redelivered, pending: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(first: u64, events: usize) -> Batch {
        Batch::from_bodies((0..events).map(|i| format!("{}", first + i as u64))).named(5 << 64 | 1, first)
    }

    fn bodies(batch: &Batch) -> Vec<String> {
        batch.iter().map(|event| String::from_utf8_lossy(event.body()).into_owned()).collect()
    }

    #[test]
    fn a_take_that_comes_again_with_other_borders_is_trimmed_to_what_is_new() {
        let mut seen = SeenNames::default();
        assert_eq!(seen.admit(&batch(10, 5)).len(), 5);
        assert_eq!(bodies(&seen.admit(&batch(8, 10))), ["8", "9", "15", "16", "17"], "pending names are trimmed");
        seen.commit(&[(5 << 64 | 1, 8..18)]);
        assert_eq!(bodies(&seen.admit(&batch(17, 2))), ["18"], "committed names are trimmed");
        assert_eq!(seen.redelivered(), 6);
        assert_eq!(seen.counted().get(&5), Some(&10));
    }

    #[test]
    fn events_without_names_always_pass() {
        let mut seen = SeenNames::default();
        let foreign = Batch::from_bodies(["a", "b"]);
        assert_eq!(seen.admit(&foreign).len(), 2);
        assert_eq!(seen.admit(&foreign).len(), 2);
    }

    #[test]
    fn a_snapshot_brings_back_what_was_committed_and_not_what_was_pending() {
        let mut seen = SeenNames::default();
        seen.admit(&batch(0, 4));
        seen.commit(&[(5 << 64 | 1, 0..2)]);
        let mut restored = SeenNames::restore(seen.snapshot());
        assert_eq!(bodies(&restored.admit(&batch(0, 4))), ["2", "3"]);
    }
}
