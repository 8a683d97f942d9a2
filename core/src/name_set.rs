//! Which named events were seen: what trims an event that comes again under its name.
//!
//! Sequences are kept as intervals, per incarnation. The sender adds its *low-water marks*: below them everything is
//! acknowledged and cannot come again, so those names are forgotten (ADR 2).

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::interval::IntervalSet;

/// Names, per incarnation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NameSet {
    incarnations: BTreeMap<u128, Known>,
}

/// Names of one incarnation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Everything below is acknowledged at the sender's: it cannot come again.
    pub floor: u64,
    /// Names at or above the floor.
    pub above: IntervalSet,
}

// === impl NameSet ===

impl NameSet {
    /// The parts of `range` that are not in the set.
    pub fn gaps(&self, incarnation: u128, range: Range<u64>) -> Vec<Range<u64>> {
        match self.incarnations.get(&incarnation) {
            Some(known) => known.above.gaps(range.start.max(known.floor)..range.end.max(known.floor)),
            None => vec![range],
        }
    }

    /// How many of `range` are in the set or below the floor.
    pub fn count(&self, incarnation: u128, range: Range<u64>) -> u64 {
        let Some(known) = self.incarnations.get(&incarnation) else { return 0 };
        let below = range.end.min(known.floor).saturating_sub(range.start);
        let above: u64 = known.above.overlaps(range).map(|part| part.end - part.start).sum();
        below + above
    }

    /// Adds names.
    pub fn insert(&mut self, incarnation: u128, range: Range<u64>) {
        let known = self.incarnations.entry(incarnation).or_default();
        known.above.insert(range.start.max(known.floor)..range.end.max(known.floor));
    }

    /// Leaves of `batch` what is not in the set. Events without names always pass.
    pub fn trim(&self, batch: &Batch) -> Batch {
        trim_to(batch, |incarnation, range| self.gaps(incarnation, range))
    }

    /// Forgets everything below these marks, and everything of other openings of the same stores unless `keep` holds
    /// for it.
    pub fn collapse(&mut self, low_water: &[(u128, u64)], keep: impl Fn(u128) -> bool) {
        if low_water.is_empty() {
            return;
        }
        for &(incarnation, low) in low_water {
            let known = self.incarnations.entry(incarnation).or_default();
            if low > known.floor {
                known.above.remove(0..low);
                known.floor = low;
            }
        }
        let store = |incarnation: u128| (incarnation >> 64) as u64;
        self.incarnations.retain(|&incarnation, _| {
            let mut of_the_sender =
                low_water.iter().filter(|(other, _)| store(*other) == store(incarnation)).peekable();
            of_the_sender.peek().is_none() || of_the_sender.any(|&(other, _)| other == incarnation) || keep(incarnation)
        });
    }

    /// Everything in it.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u128, &Known)> + '_ {
        self.incarnations.iter().map(|(incarnation, known)| (*incarnation, known))
    }
}

impl FromIterator<(u128, Known)> for NameSet {
    fn from_iter<I: IntoIterator<Item = (u128, Known)>>(known: I) -> Self {
        Self { incarnations: known.into_iter().collect() }
    }
}

/// Leaves of `batch` the events whose names `gaps` gives back; called for each run of names, in order.
pub fn trim_to(batch: &Batch, mut gaps: impl FnMut(u128, Range<u64>) -> Vec<Range<u64>>) -> Batch {
    let mut fresh = IntervalSet::new();
    let mut row = 0_u64;
    for (incarnation, range) in batch.name_ranges() {
        let base = row;
        row += range.end - range.start;
        for gap in gaps(incarnation, range.clone()) {
            fresh.insert(base + gap.start - range.start..base + gap.end - range.start);
        }
    }
    if row == 0 || fresh.len() == batch.len() as u64 {
        return batch.clone();
    }
    batch.filter(|index| fresh.contains(index as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: u128 = 5 << 64;

    fn batch(first: u64, events: usize) -> Batch {
        Batch::from_bodies((0..events).map(|i| format!("{}", first + i as u64))).named(STORE | 1, first)
    }

    fn bodies(batch: &Batch) -> Vec<String> {
        batch.iter().map(|event| String::from_utf8_lossy(event.body()).into_owned()).collect()
    }

    #[test]
    fn a_batch_is_trimmed_to_what_is_new() {
        let mut set = NameSet::default();
        set.insert(STORE | 1, 10..15);
        assert_eq!(bodies(&set.trim(&batch(8, 10))), ["8", "9", "15", "16", "17"]);
        assert!(set.trim(&batch(11, 3)).is_empty());
        assert_eq!(set.trim(&Batch::from_bodies(["without a name"])).len(), 1);
    }

    #[test]
    fn below_a_low_water_mark_nothing_is_kept_and_nothing_passes() {
        let mut set = NameSet::default();
        set.insert(STORE | 1, 0..100);
        set.insert(STORE | 9, 0..1);
        set.insert(7 << 64, 0..1);
        set.collapse(&[(STORE | 1, 90)], |_| false);
        assert_eq!(set.count(STORE | 1, 80..110), 20);
        assert!(set.trim(&batch(50, 10)).is_empty());
        let left: Vec<u128> = set.iter().map(|(incarnation, _)| incarnation).collect();
        assert_eq!(left, [STORE | 1, 7 << 64], "other openings of the sender's store have nothing that may come again");
        set.collapse(&[], |_| false);
        assert_eq!(set.iter().len(), 2, "who says nothing forgets nothing");
    }
}
