//! Names that events came with: what trims a batch that a peer sends again.

use millstream_core::{Batch, NameSet};

/// Names received, as far as enqueued and as far as stored.
///
/// What is enqueued trims, so that a batch which comes again while its first attempt is under way is not stored twice;
/// puts fail in order, so the second attempt shares the fate of the first.
#[derive(Debug, Default)]
pub(crate) struct Received {
    enqueued: NameSet,
    stored: NameSet,
}

// === impl Received ===

impl Received {
    /// Begins with what was stored earlier.
    pub(crate) fn starting_at(stored: NameSet) -> Self {
        Self { enqueued: stored.clone(), stored }
    }

    /// Leaves of `batch` what is not enqueued yet. Events without names always pass.
    pub(crate) fn trim(&self, batch: Batch) -> Batch {
        if !batch.has_names() {
            return batch;
        }
        let fresh = self.enqueued.trim(&batch);
        if fresh.len() == batch.len() { batch } else { fresh.compact() }
    }

    /// `batch` was enqueued: its names are known.
    pub(crate) fn enqueue(&mut self, batch: &Batch) {
        for (incarnation, range) in batch.name_ranges() {
            self.enqueued.insert(incarnation, range);
        }
        self.forget(batch.low_water());
    }

    /// The sender sends nothing below these marks any more: where there is much, that is forgotten.
    pub(crate) fn forget(&mut self, low_water: &[(u128, u64)]) {
        self.enqueued.collapse(low_water, |_| false);
        self.stored.collapse(low_water, |_| false);
    }

    /// It is stored.
    pub(crate) fn store(&mut self, batch: &Batch) {
        for (incarnation, range) in batch.name_ranges() {
            self.stored.insert(incarnation, range);
        }
    }

    /// Everything that is enqueued and not stored failed.
    pub(crate) fn fail(&mut self) {
        self.enqueued = self.stored.clone();
    }

    /// What is enqueued, for a snapshot.
    pub(crate) fn enqueued(&self) -> &NameSet {
        &self.enqueued
    }
}
