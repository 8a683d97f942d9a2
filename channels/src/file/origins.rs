//! How far each origin is stored: what trims a batch that comes again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use millstream_core::{Batch, Coverage, Error, Result};

/// Positions of origins, and events dropped on the way in, as far as enqueued and as far as stored.
///
/// What is enqueued trims, so that a batch which is repeated while the first attempt is under way is not stored twice.
/// What is stored is what a source may rely on.
#[derive(Debug, Default)]
pub(super) struct Origins {
    pub(super) enqueued: Positions,
    pub(super) stored: Positions,
    /// Origins of which a put failed: until it comes again, nothing behind it is accepted, so that the order is kept and
    /// the gap is not taken for stored.
    broken: HashMap<Arc<str>, Broken>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Positions {
    pub(super) ends: HashMap<Arc<str>, u64>,
    pub(super) dropped: BTreeMap<Arc<str>, u64>,
}

#[derive(Debug)]
struct Broken {
    /// First position that was not stored.
    from: u64,
    error: Error,
}

// === impl Origins ===

impl Origins {
    /// Begins with what was stored earlier.
    pub(super) fn starting_at(stored: Positions) -> Self {
        Self { enqueued: stored.clone(), stored, broken: HashMap::new() }
    }

    /// How far an origin is stored.
    pub(super) fn covered(&self, origin: &str) -> Option<u64> {
        self.stored.ends.get(origin).copied()
    }

    /// Leaves of `batch` what is not enqueued yet.
    ///
    /// # Errors
    /// Why an earlier put of the origin failed, while that one did not come again.
    pub(super) fn trim(&self, batch: Batch) -> Result<Batch> {
        let Some(coverage) = batch.coverage() else { return Ok(batch) };
        if let Some(broken) = self.broken.get(&coverage.origin)
            && coverage.start > broken.from
        {
            return Err(broken.error.clone());
        }
        match self.enqueued.ends.get(&coverage.origin) {
            Some(end) if coverage.end <= *end => Ok(batch.filter(|_| false)),
            Some(end) if coverage.start < *end => Ok(batch.without_covered(*end).compact()),
            _ => Ok(batch),
        }
    }

    /// Whether storing `coverage` would change anything.
    pub(super) fn is_new(&self, coverage: &Coverage) -> bool {
        // A failed put may yet be found by the next start, unless something is stored behind it.
        let may_come_back = coverage.retire && self.broken.contains_key(&coverage.origin);
        may_come_back || self.enqueued.is_new(coverage)
    }

    /// A put with this coverage was enqueued.
    pub(super) fn enqueue(&mut self, coverage: &Coverage) {
        self.broken.remove(&coverage.origin);
        self.enqueued.apply(coverage);
    }

    /// It is stored.
    pub(super) fn store(&mut self, coverage: &Coverage) {
        self.stored.apply(coverage);
    }

    /// A put failed, and everything enqueued behind it will.
    pub(super) fn fail(&mut self, coverage: Option<&Coverage>, error: &Error) {
        self.enqueued = self.stored.clone();
        if let Some(coverage) = coverage {
            self.refuse_behind(coverage, error);
        }
    }

    /// A put with this coverage was not even enqueued.
    pub(super) fn refuse_behind(&mut self, coverage: &Coverage, error: &Error) {
        // No retry helps: whoever put it goes on behind it.
        if matches!(error, Error::Rejected { .. } | Error::Stopped { .. }) {
            return;
        }
        // A source may also go on where the channel says that it is.
        let from = coverage.start.max(self.covered(&coverage.origin).unwrap_or_default());
        let broken = self.broken.entry(Arc::clone(&coverage.origin));
        let broken = broken.or_insert_with(|| Broken { from, error: error.clone() });
        broken.from = broken.from.min(from);
    }
}

// === impl Positions ===

impl Positions {
    fn is_new(&self, coverage: &Coverage) -> bool {
        let known = self.ends.get(&coverage.origin);
        if coverage.retire { known.is_some() } else { known.is_none_or(|end| *end < coverage.end) }
    }

    pub(super) fn apply(&mut self, coverage: &Coverage) {
        if !self.is_new(coverage) {
            return;
        }
        if coverage.retire {
            self.ends.remove(&coverage.origin);
        } else {
            self.ends.insert(Arc::clone(&coverage.origin), coverage.end);
        }
        // A range that reaches beyond what is stored is counted whole: the drops have no positions of their own.
        for (rule, events) in &coverage.dropped {
            *self.dropped.entry(Arc::clone(rule)).or_default() += events;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use bytes::Bytes;
    use millstream_core::SlabBuilder;

    fn coverage(start: u64, end: u64) -> Coverage {
        Coverage::new("o".into(), start, end)
    }

    /// Two events, which end at 10 and at 20.
    fn batch() -> Batch {
        let mut builder = SlabBuilder::new(Bytes::from_static(b"ab"));
        builder.row_ending_at(0..1, 10);
        builder.row_ending_at(1..2, 20);
        builder.finish().with_coverage(coverage(0, 20))
    }

    fn failure() -> Error {
        Error::io("fdatasync", "/d", std::io::Error::other("gone"))
    }

    #[test]
    fn what_is_enqueued_is_trimmed_and_counted_once() {
        let mut origins = Origins::default();
        assert_eq!(origins.trim(batch()).unwrap().len(), 2);
        let mut first = coverage(0, 10);
        first.drop_by("rule", 3);
        origins.enqueue(&first);
        origins.enqueue(&first);
        assert_eq!(origins.enqueued.dropped.get("rule"), Some(&3));
        assert_eq!(origins.trim(batch()).unwrap().len(), 1);
        origins.enqueue(&coverage(10, 20));
        assert_eq!(origins.trim(batch()).unwrap().len(), 0);
        assert!(!origins.is_new(&coverage(0, 20)));
    }

    #[test]
    fn behind_a_failed_put_nothing_is_accepted_until_it_comes_again() {
        let mut origins = Origins::default();
        origins.enqueue(&coverage(0, 10));
        origins.store(&coverage(0, 10));
        origins.enqueue(&coverage(10, 20));
        origins.fail(Some(&coverage(10, 20)), &failure());
        assert!(origins.trim(Batch::empty().with_coverage(coverage(20, 30))).is_err());
        assert_eq!(origins.trim(batch()).unwrap().len(), 1, "only what was stored is trimmed");
        origins.refuse_behind(&coverage(0, 20), &failure());
        assert!(origins.trim(Batch::empty().with_coverage(coverage(10, 20))).is_ok(), "behind what is stored");
        origins.enqueue(&coverage(10, 20));
        assert!(origins.trim(Batch::empty().with_coverage(coverage(20, 30))).is_ok());
    }

    #[test]
    fn a_batch_that_no_retry_helps_breaks_nothing() {
        let mut origins = Origins::default();
        origins.refuse_behind(&coverage(0, 10), &Error::Rejected { reason: "too long".into() });
        assert!(origins.trim(Batch::empty().with_coverage(coverage(10, 20))).is_ok());
    }

    #[test]
    fn a_retired_origin_begins_anew() {
        let mut origins = Origins::default();
        origins.enqueue(&coverage(0, 20));
        assert!(origins.is_new(&Coverage::retired("o".into())));
        origins.enqueue(&Coverage::retired("o".into()));
        assert!(!origins.is_new(&Coverage::retired("o".into())));
        assert_eq!(origins.trim(batch()).unwrap().len(), 2);
        origins.refuse_behind(&coverage(0, 20), &failure());
        assert!(origins.is_new(&Coverage::retired("o".into())), "what failed must not come back for another file");
    }
}
